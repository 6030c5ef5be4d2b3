//! What can go wrong while generating.

use super::config::ConfigError;
use super::sample::SampleError;
use thiserror::Error;

/// What a model's step may report: any error of the executor.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// What turning tokens into text may report.
pub type TextStreamError = Box<dyn std::error::Error + Send + Sync>;

/// Why a generation does not start or go on.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// The options are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No prompt, or a prompt without tokens.
    #[error(
        "prompt {row} is empty, expected at least one token: give one, or a generation config with a `bos_token_id` to begin with"
    )]
    EmptyPrompt {
        /// Row of the batch.
        row: usize,
    },
    /// The prompt does not fit the cache.
    #[error(
        "prompt {row} has {found} tokens, more than the context of {max_context}: shorten it, or compile the model for longer \
         sequences (`max_seq`)"
    )]
    PromptTooLong {
        /// Row of the batch.
        row: usize,
        /// Tokens of the prompt, padding left out.
        found: usize,
        /// Tokens that a row of the cache holds.
        max_context: usize,
    },
    /// A token id that the model does not know.
    #[error(
        "prompt {row}: token id {id} at position {position}, expected less than the vocabulary's size {vocab_size}: does the tokenizer belong to this model?"
    )]
    TokenOutOfVocabulary {
        /// Row of the batch.
        row: usize,
        /// Index in the prompt.
        position: usize,
        /// The id.
        id: u32,
        /// The model's number of tokens.
        vocab_size: usize,
    },
    /// More prompts than cache rows.
    #[error(
        "{found} prompts in one batch, expected 1 to {max_rows}: split the batch, or compile the model for more rows"
    )]
    Rows {
        /// Prompts given.
        found: usize,
        /// Rows of the cache.
        max_rows: usize,
    },
    /// More beams or sequences than cache rows.
    #[error(
        "{prompts} prompts with {each} rows each (`num_beams` or `num_return_sequences`) need {needed} rows of the cache, expected at most {max_rows}: split the batch, or lower them"
    )]
    RowsPerPrompt {
        /// Prompts given.
        prompts: usize,
        /// Rows that each takes.
        each: usize,
        /// The product.
        needed: usize,
        /// Rows of the cache.
        max_rows: usize,
    },
    /// An attention mask that is not padding on the left.
    #[error("attention mask of prompt {row}: {problem}; expected {expected} numbers, zeros (padding) and then ones")]
    Mask {
        /// Row of the batch.
        row: usize,
        /// What is wrong.
        problem: String,
        /// Tokens of the row.
        expected: usize,
    },
    /// An encoder-decoder whose decoder has nothing to begin with.
    #[error(
        "the model is an encoder-decoder, and neither its generation config nor its `config.json` says what its decoder begins with: set `decoder_start_token_id`"
    )]
    NoDecoderStart,
    /// Stop strings cannot be seen without text.
    #[error("`stop_strings` are set, but there is no tokenizer to decode with: give one, or stop by `eos_token_id`")]
    StopStringsWithoutText,
    /// The model failed.
    #[error("the model failed after {done} new tokens: {source}")]
    Step {
        /// Steps that came through before.
        done: usize,
        /// The executor's report.
        source: StepError,
    },
    /// The model's answer has the wrong size.
    #[error(
        "the model returned {found} logits for {rows} rows, expected {rows} x {vocab_size}: the artifact is not a causal language model"
    )]
    Logits {
        /// Numbers returned.
        found: usize,
        /// Rows of the call.
        rows: usize,
        /// The model's number of tokens.
        vocab_size: usize,
    },
    /// No token can be chosen.
    #[error("row {row}, new token {position}: {source}")]
    Sample {
        /// Row of the batch.
        row: usize,
        /// Index of the new token.
        position: usize,
        /// What the sampler found.
        source: SampleError,
    },
    /// The tokenizer failed on a token that the model chose.
    #[error("row {row}: token {id} cannot be decoded: {source}")]
    Text {
        /// Row of the batch.
        row: usize,
        /// The token.
        id: u32,
        /// The tokenizer's report.
        source: TextStreamError,
    },
}
