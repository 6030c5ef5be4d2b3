//! `generate` on the command line: the options that `kiln generate` and `kiln-run` share, and what they print.

mod args;

pub use args::{ChatArgs, ConfigArgs, GenerateArgs, TokenIds};

use crate::generate::{GenerateError, Output, Request};
use crate::text::TextError;
use crate::{CausalSession, Model};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Loading or running the model.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    /// The request.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The generation config in the artifact.
    #[error("the artifact's generation config: {0}")]
    Config(crate::generate::ConfigError),
    /// The generation config that was given.
    #[error(transparent)]
    Given(crate::generate::ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A prompt without a tokenizer.
    #[error("--prompt needs a tokenizer, and the artifact has none: give token ids with --input-ids")]
    NoTokenizer,
    /// A chat without a template.
    #[error("--chat needs a chat template, and the model has none: write the prompt as the model expects it")]
    NoChatTemplate,
    /// A file of messages or tools.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Writing to stdout.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] std::io::Error),
}

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
