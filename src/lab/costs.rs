//! How well the cost model foresees what a choice of terms costs: alternative forms of each block, compiled and measured.
//!
//! The alternatives are those that rewriting knows: the chosen form, the block as it was written, the greedy choice without moves of groups, the chosen
//! form when a table of rules is left out, and what extraction chooses by distorted costs. The model is not there to foresee seconds but to tell the better of two
//! forms, so what counts is the share of pairs that it orders as the clock does.
//!
//! A form's time is the sum of its steps, each of the fastest of all rounds: what else the machine does only adds. It is taken of two
//! copies of the form, which lie elsewhere in memory (that alone makes some percent): the clock tells two forms apart where both times of the one are below
//! both of the other.

use super::bench::{self, BenchOptions, Case};
use crate::compile::{CompileOptions, build};
use crate::{Error, LoadOptions, Model, Result};
use kiln_ir::{Function, Module, Op};
use kiln_passes::egraph::{self, Point};
use kiln_passes::rules::{TABLES, up_to};
use serde::Serialize;
use std::sync::Arc;

/// Forms whose measured times differ by less than this share are equally fast, however often they are measured.
const NOISE: f64 = 0.03;

/// How many forms are chosen by distorted costs.
const DISTORTED: u64 = 6;

/// Rows of one sequence, and positions of the cache, where forms are measured: a token, and a prompt that is short enough for a step to end before the system gives its core to someone else.
const POINTS: [(i64, i64); 2] = [(1, 512), (64, 512)];

/// A form of a block at a point.
#[derive(Clone, Debug, Serialize)]
pub struct Alternative {
    /// How it was chosen: `chosen`, `as written`, `greedy`, `without norm`, `distorted 1`; several where they choose the same.
    pub name: String,
    /// Seconds by the cost model.
    pub predicted: f64,
    /// Seconds of its steps, each at its fastest.
    pub measured: f64,
    /// The greater of the two times.
    pub again: f64,
}

/// The forms of a block at a point.
#[derive(Clone, Debug, Serialize)]
pub struct BlockCosts {
    /// The block's name.
    pub block: String,
    /// Rows of one sequence.
    pub rows: i64,
    /// Positions of the cache.
    pub context: i64,
    /// Its forms.
    pub alternatives: Vec<Alternative>,
}

/// Pairs of forms of one block at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// Those that the clock tells apart.
    pub distinct: usize,
    /// Those of them that the model orders as the clock does.
    pub right: usize,
    /// Those that it doesn't tell apart.
    pub equal: usize,
}

impl BlockCosts {
    /// How the model ordered the pairs.
    pub fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::default();
        for (i, a) in self.alternatives.iter().enumerate() {
            for b in &self.alternatives[i + 1..] {
                let faster = |a: &Alternative, b: &Alternative| a.again * (1.0 + NOISE) < b.measured;
                if faster(a, b) || faster(b, a) {
                    pairs.distinct += 1;
                    pairs.right += usize::from((a.predicted < b.predicted) == faster(a, b));
                } else {
                    pairs.equal += 1;
                }
            }
        }
        pairs
    }
}

/// The forms of every block of a module, predicted and measured by `rounds` in turns. A block is a function that calls no other and has a
/// product; it runs with weights of zeros.
///
/// # Errors
/// Whatever compiling and running give.
pub fn costs(
    module: &Module,
    block: Option<&str>,
    options: &CompileOptions,
    load: &LoadOptions,
    rounds: usize,
) -> Result<Vec<BlockCosts>> {
    let is_block = |f: &&Function| {
        f.nodes().all(|(_, n)| !matches!(n.op, Op::Call(_)))
            && f.nodes().any(|(_, n)| matches!(n.op, Op::DotGeneral(_)))
            && block.is_none_or(|name| name == &*f.name)
    };
    let mut out = vec![];
    for f in module.functions.iter().filter(is_block) {
        let mut entry = f.clone();
        entry.entry = true;
        let forms = forms(&Module { symbols: module.symbols.clone(), functions: vec![entry] }, options)?;
        let loaded = forms.iter().map(|(_, form)| run_alone(form, options, load)).collect::<Result<Vec<_>>>()?;
        for (rows, context) in POINTS {
            let point = Point::at(&module.symbols, rows, context);
            let measured = measure(&loaded, &f.name, &point, rounds)?;
            let alternative = |((name, form), [measured, again]): (&(String, Module), [f64; 2])| {
                let points = std::slice::from_ref(&point);
                let predicted = egraph::cost_of(form, &form.functions[0], &options.target, points);
                Alternative { name: name.clone(), predicted: predicted.unwrap_or(f64::NAN), measured, again }
            };
            let alternatives = forms.iter().zip(measured).map(alternative).collect();
            out.push(BlockCosts { block: f.name.to_string(), rows, context, alternatives });
        }
    }
    Ok(out)
}

/// The forms of a module of one function, each with its name; equal ones once.
fn forms(module: &Module, options: &CompileOptions) -> Result<Vec<(String, Module)>> {
    let all = options.passes.rewriting();
    let mut asked = vec![
        ("chosen".to_string(), Some(all.clone())),
        ("as written".to_string(), None),
        ("greedy".to_string(), Some(egraph::Options { moves: false, ..all.clone() })),
    ];
    for (table, _) in TABLES {
        let without = egraph::Options { without: vec![table.to_string()], ..all.clone() };
        asked.push((format!("without {table}"), Some(without)));
    }
    let mut forms: Vec<(String, Module)> = vec![];
    let mut add = |name: String, form: Module| match forms.iter_mut().find(|(_, known)| *known == form) {
        Some((names, _)) => *names = format!("{names}, {name}"),
        None => forms.push((name, form)),
    };
    for (name, passes) in asked {
        let form = match &passes {
            Some(p) => egraph::optimize_with(module, &options.target, p, &up_to(p.numerics, &p.without))?.0,
            None => module.clone(),
        };
        add(name, form);
    }
    let rules = up_to(all.numerics, &all.without);
    let distorted = egraph::alternatives(module, &module.functions[0], &options.target, &all, &rules, DISTORTED)?;
    for (i, f) in distorted.into_iter().enumerate() {
        add(format!("distorted {}", i + 1), Module { symbols: module.symbols.clone(), functions: vec![f] });
    }
    Ok(forms)
}

/// A module, compiled as it is and loaded twice with weights of zeros.
fn run_alone(module: &Module, options: &CompileOptions, load: &LoadOptions) -> Result<[Arc<Model>; 2]> {
    let args = &module.functions[0].args;
    let options = options.as_written();
    let zeros = |name: &str, out: &mut dyn std::io::Write| {
        let bytes = args.iter().find(|a| *a.name == *name).and_then(|a| a.ty.bytes().as_const()).unwrap_or(0);
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes as u64), out).map(|_| ())
    };
    let program = build(module, &options)?;
    Ok([program.clone().load(&options, load, zeros)?, program.load(&options, load, zeros)?])
}

/// Seconds of the steps of each, at a point: of its two copies, the lesser first.
fn measure(models: &[[Arc<Model>; 2]], block: &str, point: &Point, rounds: usize) -> Result<Vec<[f64; 2]>> {
    let case = |model: &Arc<Model>| {
        let known = |(n, _): &(String, i64)| model.plan().symbols.contains_key(n.as_str());
        let sizes = point.sizes().into_iter().filter(known).collect();
        let options = BenchOptions { signature: Some(block.to_string()), sizes, rounds };
        bench::cases(model, &options)?.pop().ok_or_else(|| Error::Option(format!("`{block}` can't be called")))
    };
    let models = models.as_flattened();
    let cases: Vec<Case> = models.iter().map(case).collect::<Result<_>>()?;
    let mut sessions = cases.iter().zip(models).map(|(c, m)| c.session(m)).collect::<Result<Vec<_>>>()?;
    // The first call binds.
    cases.iter().zip(&mut sessions).try_for_each(|(case, session)| case.call(session))?;
    let mut best: Vec<Vec<u64>> = vec![vec![]; models.len()];
    for _ in 0..rounds.max(1) {
        for ((case, session), best) in cases.iter().zip(&mut sessions).zip(&mut best) {
            let steps = case.call_profiled(session)?;
            best.resize(steps.len(), u64::MAX);
            best.iter_mut().zip(&steps).for_each(|(best, step)| *best = step.nanoseconds.min(*best));
        }
    }
    let seconds = |steps: &Vec<u64>| steps.iter().sum::<u64>() as f64 * 1e-9;
    let copies = best.as_chunks::<2>().0.iter().map(|[a, b]| (seconds(a), seconds(b)));
    Ok(copies.map(|(a, b)| [a.min(b), a.max(b)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_ordered_or_too_close_to_tell() {
        let form = |predicted, measured, again| Alternative { name: String::new(), predicted, measured, again };
        let alternatives = vec![form(1.0, 2.0, 2.1), form(3.0, 4.0, 4.0), form(2.0, 3.9, 4.1), form(4.0, 1.0, 1.5)];
        let block = BlockCosts { block: "b".into(), rows: 1, context: 1, alternatives };
        assert_eq!(block.pairs(), Pairs { distinct: 5, right: 2, equal: 1 });
    }
}
