//! The error of the facade: whatever a station of the road says, as it says it.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong. The command adds errors of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] kiln_models::Error),
    /// The graph.
    #[error(transparent)]
    Ir(#[from] kiln_ir::IrError),
    /// Rewriting and lowering.
    #[error(transparent)]
    Pass(#[from] kiln_passes::PassError),
    /// Machine code.
    #[error(transparent)]
    Codegen(#[from] kiln_codegen::CodegenError),
    /// The artifact, loading, running.
    #[error(transparent)]
    Runtime(#[from] kiln_runtime::Error),
    /// Generating.
    #[error(transparent)]
    Generate(#[from] kiln_runtime::generate::GenerateError),
    /// The model's generation config.
    #[error("generation_config.json: {0}")]
    GenerationConfig(#[from] kiln_runtime::generate::ConfigError),
    /// The command line's part of generating.
    #[cfg(feature = "cli")]
    #[error(transparent)]
    Cli(#[from] kiln_runtime::cli::CliError),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] kiln_runtime::text::TextError),
    /// A file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of tensors that does not fit.
    #[error("{}: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// A model without a tokenizer, where texts go in or out.
    #[error(
        "`{model}` has no tokenizer: expected tokenizer.json, vocab.txt, vocab.json with merges.txt, or a SentencePiece model \
         among its files; give a model with one, or token ids to its Auto class (`generate_ids`, `forward`)"
    )]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// A chat with a model that has no template for one.
    #[error("`{model}` has no chat template: write the prompt as the model expects it, and give that to `generate`")]
    NoChatTemplate {
        /// The model.
        model: String,
    },
    /// A GPU as the machine to compile for.
    #[error(
        "nothing is compiled for the GPU `{target}` yet: its rates serve the cost model alone; compile for a CPU, such as \
         `TargetSpec::x86_64_v3()`"
    )]
    Gpu {
        /// The target's name.
        target: String,
    },
    /// A pipeline's input that does not fit.
    #[error("{pipeline}: {reason}")]
    Pipeline {
        /// The pipeline's name.
        pipeline: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// Options that make no sense.
    #[error("{0}")]
    Option(String),
    /// Compiled and interpreted results differ.
    #[error("{0}")]
    Verify(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
