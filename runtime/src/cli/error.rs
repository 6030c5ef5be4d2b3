//! What can go wrong on the command line.

use crate::generate::GenerateError;
use crate::text::TextError;
use std::path::PathBuf;

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
