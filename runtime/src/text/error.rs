//! What is wrong with a tokenizer or a text.

use thiserror::Error;

/// What is wrong with a tokenizer or a text.
#[derive(Debug, Error)]
pub enum TextError {
    /// The bytes are no tokenizer.
    #[error("tokenizer.json: {0}; expected the file of a Hugging Face fast tokenizer: is it complete?")]
    Parse(String),
    /// An expression that the engine does not have.
    #[error(
        "tokenizer.json: the expression `{pattern}` is not one that kiln's regular expressions (those of fancy-regex) have: {reason}; write it in another way"
    )]
    Regex {
        /// The expression.
        pattern: String,
        /// What the engine says.
        reason: String,
    },
    /// The config is none.
    #[error("tokenizer_config.json: {0}; expected the file that transformers' save_pretrained writes")]
    Config(String),
    /// A file that cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// Padding without a token for it.
    #[error("the tokenizer has no padding token: name one as `pad_token` in tokenizer_config.json, or do not pad")]
    NoPadToken,
    /// A text that the tokenizer cannot split.
    #[error("the tokenizer cannot encode a text of {bytes} bytes: {reason}")]
    Encode {
        /// The text's length.
        bytes: usize,
        /// The tokenizer's report.
        reason: String,
    },
    /// A length that leaves no room for text.
    #[error(
        "cannot cut a text to {max_length} tokens: {taken} are special ones or the other text's, and {stride} are repeated from piece to piece; \
         expected a length above their sum"
    )]
    Truncation {
        /// The length asked for.
        max_length: usize,
        /// Tokens that pieces share.
        stride: usize,
        /// Special tokens, and those of the other text of a pair.
        taken: usize,
    },
    /// Texts that do not become short enough.
    #[error("cannot cut a text to {max_length} tokens: {reason}; try `longest_first`")]
    TooShort {
        /// The length asked for.
        max_length: usize,
        /// The tokenizer's report.
        reason: String,
    },
    /// A length that texts are both cut and padded to, and that is no multiple of what they are padded to.
    #[error(
        "texts are cut to {max_length} tokens and padded to a multiple of {multiple}: expected a length that is one"
    )]
    Multiple {
        /// The length asked for.
        max_length: usize,
        /// `pad_to_multiple_of`.
        multiple: usize,
    },
    /// Messages, tools or templates that are none.
    #[error("{0}")]
    Chat(String),
    /// A template that the model has not.
    #[error("the model has no chat template `{name}`; it has {known}")]
    UnknownTemplate {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A template that does not parse, or refuses the chat.
    #[error("chat template `{name}`{line}: {reason}")]
    Template {
        /// The template's name.
        name: String,
        /// `, line 3`, where that is known.
        line: String,
        /// What is wrong.
        reason: String,
    },
    /// Ids that the tokenizer cannot join.
    #[error("the tokenizer cannot decode {tokens} tokens: {reason}")]
    Decode {
        /// Number of ids.
        tokens: usize,
        /// The tokenizer's report.
        reason: String,
    },
}
