//! What is wrong with a generation config.

use std::path::PathBuf;
use thiserror::Error;

/// What is wrong with a generation config.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ConfigError {
    /// The text is not a JSON object.
    #[error(
        "generation config: expected a JSON object, {0}; compare it with the model's generation_config.json on the hub"
    )]
    Json(String),
    /// A field holds another type of value.
    #[error("generation config: `{field}`: expected {expected}, found {found}; correct it or leave it out")]
    Type {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The value given.
        found: String,
        /// What was expected instead.
        expected: &'static str,
    },
    /// A value outside its range.
    #[error("generation config: `{field}` must be {expected}, but is {found}; {advice}")]
    Value {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The values allowed.
        expected: &'static str,
        /// The value given.
        found: String,
        /// What to write instead.
        advice: &'static str,
    },
    /// A field that would change the text and that this version does not implement.
    #[error("generation config: `{field}` = {found} is not supported yet; remove it, or set it to {neutral}")]
    Unsupported {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The value given.
        found: String,
        /// The value under which it does nothing.
        neutral: &'static str,
    },
    /// The file cannot be read or written.
    #[error("generation config: cannot {action} {}: {reason}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason, or what is wrong with the text.
        reason: String,
    },
}
