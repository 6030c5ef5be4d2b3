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
//! The prompts of an encoder-decoder go to its encoder, once, and a row begins with `decoder_start_token_id` instead.
//!
//! Rows that end leave the batch, so that the cost falls with them. With beams, a prompt has several rows: a token is one of the best
//! continuations of them all, and which slot of the cache a row has changes from step to step; only rows that go on in more than one
//! way are copied. Nothing here knows about tokenizers: text comes in through
//! [`Detokenizer`], which the `text` module implements. The module calls no other module of the runtime,
//! but for the floating-point environment that it computes in.

pub mod config;
pub mod error;
pub mod output;
pub mod processors;
pub mod prompt;
pub mod sample;
mod start;
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

/// The encoder of an encoder-decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    /// Most tokens of a source.
    pub max_source: usize,
    /// What the decoder begins with, as the model's own config says; the generation config's goes over it.
    pub decoder_start_token_id: Option<u32>,
}

/// The tokens of one call of a model, and where they go. Every slice has the rows in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// Token ids `[rows, seq]`, row by row. The last token of a row never is padding.
    pub tokens: &'a [i64],
    /// Tokens of each row.
    pub seq: usize,
    /// `slots[r]` names row `r`'s slot; a call names a slot at most once.
    pub slots: &'a [i64],
    /// `starts[r]` is the position of the row's first token, which is the number of tokens its slot already holds. It is negative while
    /// the row begins with padding: tokens at negative positions are neither stored nor attended to, whatever their id. A start of zero
    /// or below begins the slot anew.
    pub starts: &'a [i64],
    /// `lengths[r]` is the number of tokens of the row's sequence: its tokens up to this step's last one, and those that further steps of
    /// the same prompt bring. Models whose rotary embedding follows the length look at it.
    pub lengths: &'a [i64],
}

/// One language model that continues token by token, with its state. A row of the state (its cache) is called a slot.
pub trait CausalLm {
    /// Number of logits per row; token ids are below it.
    fn vocab_size(&self) -> usize;

    /// Most tokens that a slot holds.
    fn max_context(&self) -> usize;

    /// Number of slots, and so the most rows per call.
    fn max_rows(&self) -> usize;

    /// Most tokens per row and call.
    fn max_chunk(&self) -> usize;

    /// How long a sequence may become on what its slot holds; one that grows beyond it is run anew from its first token. By default
    /// there is no such length.
    fn cache_limit(&self) -> Option<usize> {
        None
    }

    /// Runs tokens and returns the logits `[rows, vocab_size]` that follow each row's last one; the caller may overwrite them.
    fn step(&mut self, step: Step<'_>) -> Result<&mut [f32], StepError>;

    /// Copies the first `len` tokens that slot `from` holds to slot `to`, which then holds these.
    fn copy_slot(&mut self, from: usize, to: usize, len: usize) -> Result<(), StepError>;

    /// The encoder of an encoder-decoder: prompts are its sources, and steps run the decoder. By default there is none.
    fn encoder(&self) -> Option<Encoder> {
        None
    }

    /// Runs the encoder on `tokens`, `[rows, seq]` row by row; `mask`, of that shape, is 1 for a token and 0 for padding, on the right.
    /// The steps of `slots[r]` then read row `r`'s source, until the slot gets another one.
    fn encode(&mut self, _tokens: &[i64], _mask: &[i64], _seq: usize, _slots: &[i64]) -> Result<(), StepError> {
        Err(NO_ENCODER.into())
    }

    /// Gives slot `to` the source of slot `from`; the tokens of their steps stay as they are.
    fn copy_source(&mut self, _from: usize, _to: usize) -> Result<(), StepError> {
        Err(NO_ENCODER.into())
    }
}

const NO_ENCODER: &str = "the model has no encoder";

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
