//! `generate` on the command line: the options that `kiln generate` and `kiln-run` share, and what they print.

mod args;
mod error;

pub use args::{ChatArgs, ConfigArgs, GenerateArgs, TokenIds};
pub use error::CliError;

use crate::generate::{Output, Request};
use crate::{CausalSession, Model};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

#[derive(Serialize)]
struct JsonTimings {
    #[serde(skip_serializing_if = "Option::is_none")]
    compile_seconds: Option<f64>,
    load_seconds: f64,
    #[serde(flatten)]
    generate: crate::generate::Timings,
}

/// Generates, and prints the text as it comes, or one JSON object.
///
/// # Errors
/// Whatever is wrong with the request or the artifact.
pub fn generate(
    model: &Arc<Model>,
    args: &GenerateArgs,
    load_seconds: f64,
    compile_seconds: Option<f64>,
) -> Result<Output, CliError> {
    let config = model.artifact().generation_config().map_err(CliError::Config)?;
    let config = config.overridden_by(&args.options.config().map_err(CliError::Given)?);
    let tokenizer = model.artifact().tokenizer()?;
    let prompts = args.prompts(model, tokenizer.as_ref())?;
    let mut session = CausalSession::for_prompts(model, &prompts, &config)?;
    let mut request = Request::new(&prompts, &config);
    request.detokenizer = tokenizer.as_ref().map(|t| t as _);
    let stream = !args.json && prompts.len() == 1 && config.num_return_sequences() == 1;
    let mut stdout = std::io::stdout().lock();
    let mut written = Ok(());
    let output = crate::generate::generate(&mut session, request, |event| {
        if !stream {
            return ControlFlow::Continue(());
        }
        let piece = if tokenizer.is_some() { event.text.clone() } else { format!("{} ", event.id) };
        written = stdout.write_all(piece.as_bytes()).and_then(|()| stdout.flush());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    if args.json {
        let timings = JsonTimings { compile_seconds, load_seconds, generate: output.timings };
        let mut object = match output.rows.as_slice() {
            [row] => serde_json::to_value(row),
            rows => serde_json::to_value(rows).map(|rows| serde_json::json!({ "rows": rows })),
        }
        .map_err(std::io::Error::from)?;
        object["timings"] = serde_json::to_value(timings).map_err(std::io::Error::from)?;
        if let Some(seed) = output.seed {
            object["seed"] = seed.into();
        }
        writeln!(stdout, "{object}")?;
    } else if stream {
        writeln!(stdout)?;
    } else {
        for (i, row) in output.rows.iter().enumerate() {
            match &row.text {
                Some(text) => writeln!(stdout, "[{i}] {text}")?,
                None => writeln!(stdout, "[{i}] {:?}", row.token_ids)?,
            }
        }
    }
    Ok(output)
}
