//! How an engine is timed: it loads once, then answers one line of stdin at a time with one line of JSON on stdout. So a driver
//! can let several engines take turns, run by run, and whatever else the machine is doing meets all of them.
//!
//! | line | what is run | answer |
//! |---|---|---|
//! | `prefill N` | a prompt of N tokens, to the most likely next one | `{"seconds": …}` |
//! | `decode N NEW` | a prompt of N tokens, untimed, then NEW greedy tokens one by one | `{"seconds": …}` |
//! | `greedy NEW ID,ID,…` | the greedy continuation of these tokens | `{"ids": […]}` |
//!
//! Both kinds of run start from an empty cache, and both include finding the largest logit.

use serde_json::{Value, json};
use std::io::{self, BufRead, Write};
use std::time::Instant;

/// Whatever an engine fails with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A causal language model that keeps the cache of one sequence.
pub trait Engine {
    /// Name and version, for the table.
    fn name(&self) -> String;

    /// Forgets the sequence.
    ///
    /// # Errors
    /// Whatever the engine fails with.
    fn reset(&mut self) -> Result<(), Error>;

    /// Appends tokens to the sequence, and gives the id with the largest logit after the last of them.
    ///
    /// # Errors
    /// Whatever the engine fails with.
    fn feed(&mut self, ids: &[u32]) -> Result<u32, Error>;
}

/// Answers stdin until it ends. A request that fails is answered with `{"error": …}`.
///
/// # Errors
/// When stdin cannot be read or stdout cannot be written.
pub fn serve(engine: &mut dyn Engine) -> io::Result<()> {
    serve_with(&engine.name(), |line| answer(engine, line))
}

/// As [`serve`], for a program with requests of its own.
///
/// # Errors
/// The same.
pub fn serve_with(name: &str, mut answer: impl FnMut(&str) -> Result<Value, Error>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut say = |value: Value| writeln!(out, "{value}").and_then(|()| out.flush());
    say(json!({ "name": name }))?;
    for line in io::stdin().lock().lines() {
        say(answer(&line?).unwrap_or_else(|e| json!({ "error": e.to_string() })))?;
    }
    Ok(())
}

fn answer(engine: &mut dyn Engine, line: &str) -> Result<Value, Error> {
    let words: Vec<&str> = line.split_whitespace().collect();
    engine.reset()?;
    match words[..] {
        ["prefill", n] => {
            let ids = prompt(n.parse()?);
            let start = Instant::now();
            engine.feed(&ids)?;
            Ok(json!({ "seconds": start.elapsed().as_secs_f64() }))
        }
        ["decode", n, new] => {
            let new: usize = new.parse()?;
            let mut last = engine.feed(&prompt(n.parse()?))?;
            let start = Instant::now();
            for _ in 0..new {
                last = engine.feed(&[last])?;
            }
            Ok(json!({ "seconds": start.elapsed().as_secs_f64() }))
        }
        ["greedy", new, ids] => {
            let new: usize = new.parse()?;
            let ids: Vec<u32> = ids.split(',').map(str::parse).collect::<Result<_, _>>()?;
            let mut out = vec![engine.feed(&ids)?];
            while out.len() < new {
                out.push(engine.feed(&out[out.len() - 1..])?);
            }
            Ok(json!({ "ids": out }))
        }
        _ => Err(format!("expected `prefill N`, `decode N NEW` or `greedy NEW IDS`, found `{line}`").into()),
    }
}

/// Tokens without a pattern, the same for every engine, of a vocabulary of at least 32768.
pub fn prompt(tokens: usize) -> Vec<u32> {
    let next = |x: &u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1), next).map(|x| x >> 17).take(tokens).collect()
}

/// The place of the largest value, the first of several.
pub fn argmax(values: &[f32]) -> u32 {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best as u32
}
