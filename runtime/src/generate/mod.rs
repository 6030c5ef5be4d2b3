//! Generation: from prompts to new tokens, for any model that can take a step.
//!
//! In come a [`CausalLm`] (the executor implements it), [`Prompt`]s and a [`GenerationConfig`]; out go [`TokenEvent`]s one by one, and an
//! [`Output`] at the end. [`Generation`] is an iterator over the events; [`generate`] is a loop over it with a callback.
//!
//! ```text
//! prompts -> prefill in chunks -> logits -> processors -> sampler -> token -> stop? -> event
//!                                   ^                                  |
//!                                   +---- step of the rows that run <--+
//! ```
//!
//! Rows that end leave the batch, so that the cost falls with them. With beams, a prompt has several rows: a token is one of the best
//! continuations of them all, and which slot of the cache a row has changes from step to step; only rows that go on in more than one
//! way are copied. Nothing here knows about tokenizers: text comes in through
//! [`Detokenizer`], which the `text` module implements. The module calls no other module of the runtime.

pub mod config;
pub mod error;
pub mod output;
pub mod processors;
pub mod prompt;
pub mod sample;
pub mod stop;

mod beams;
mod generation;
mod logits;
mod rows;
mod stepper;
mod text;

pub use config::{ConfigError, EarlyStopping, GenerationConfig, OneOrMany};
pub use error::{GenerateError, StepError, TextStreamError};
pub use generation::{Generation, Request, generate};
pub use output::{FinishReason, Output, RowOutput, Timings, TokenEvent};
pub use processors::{History, LogitsProcessor};
pub use prompt::Prompt;
pub use stop::StoppingCriterion;

/// One causal language model with its state. A row of the state (its cache) is called a slot.
pub trait CausalLm {
    /// Number of logits per row; token ids are below it.
    fn vocab_size(&self) -> usize;

    /// Most tokens that a slot holds.
    fn max_context(&self) -> usize;

    /// Number of slots, and so the most rows per call.
    fn max_rows(&self) -> usize;

    /// Most tokens per row and call.
    fn max_chunk(&self) -> usize;

    /// Runs `tokens`, `[rows, seq]` row by row, and returns the logits `[rows, vocab_size]` that follow each row's last token; the caller
    /// may overwrite them. `slots[r]` names row `r`'s slot; a call names a slot at most once.
    ///
    /// `starts[r]` is the position of the row's first token, which is the number of tokens its slot already holds. It is negative while
    /// the row begins with padding: tokens at negative positions are neither stored nor attended to, whatever their id. A start of zero
    /// or below begins the slot anew. The last token of a row never is padding.
    fn step(&mut self, tokens: &[i64], seq: usize, slots: &[i64], starts: &[i64]) -> Result<&mut [f32], StepError>;

    /// Copies the first `len` tokens that slot `from` holds to slot `to`, which then holds these.
    fn copy_slot(&mut self, from: usize, to: usize, len: usize) -> Result<(), StepError>;
}

/// Makes text out of tokens.
pub trait Detokenizer {
    /// Begins the text of a row. Special tokens are left out where `skip_special_tokens` says so.
    fn text_stream(&self, skip_special_tokens: bool) -> Box<dyn TextStream + '_>;
}

/// The text of one row, token by token. Joined, the pieces are the text; a piece never ends inside a character.
pub trait TextStream {
    /// Takes a token and appends to `text` what it completes.
    fn push(&mut self, id: u32, text: &mut String) -> Result<(), TextStreamError>;

    /// Appends what was held back; no token follows.
    fn finish(&mut self, text: &mut String) -> Result<(), TextStreamError>;
}
