//! A program that runs a compiled model: `embed MODEL.kiln "The capital of France is"`, or token ids, `embed MODEL.kiln 1,2,3`.
//!
//! To put the artifact into the program instead, so that it is one file:
//! `Model::from_bytes(kiln_runtime::include_artifact!("model.kiln"), &LoadOptions::default())`.

use kiln_runtime::generate::{GenerationConfig, Prompt, Request, generate};
use kiln_runtime::{CacheOptions, CausalSession, LoadOptions, Model};
use std::{error::Error, io::Write, ops::ControlFlow, sync::Arc};

/// Continues `prompt` by at most 16 tokens, and writes text as it comes, or token ids where the prompt is ids.
pub fn continue_prompt(model: &Arc<Model>, prompt: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let tokenizer = model.artifact().tokenizer()?;
    let ids: Option<Vec<u32>> = prompt.split(',').map(|id| id.parse().ok()).collect();
    let prompts = [Prompt::new(match (&ids, &tokenizer) {
        (Some(ids), _) => ids.clone(),
        (None, Some(tokenizer)) => tokenizer.encode(prompt, true)?,
        (None, None) => return Err("the artifact has no tokenizer: give token ids, 1,2,3".into()),
    })];
    let config = GenerationConfig { max_new_tokens: Some(16), ..GenerationConfig::default() };
    let mut request = Request::new(&prompts, &config);
    request.detokenizer = tokenizer.as_ref().map(|t| t as _);
    let mut session = CausalSession::new(model, &CacheOptions::default())?;
    let mut written = Ok(());
    generate(&mut session, request, |token| {
        written = if ids.is_some() { write!(out, "{} ", token.id) } else { out.write_all(token.text.as_bytes()) };
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(written.and_then(|()| writeln!(out))?)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [artifact, prompt] = arguments.as_slice() else {
        return Err("usage: embed MODEL.kiln PROMPT".into());
    };
    let model = Model::open(artifact, &LoadOptions::default())?;
    continue_prompt(&model, prompt, &mut std::io::stdout())
}
