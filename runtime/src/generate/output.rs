//! What a generation hands out: an event per token while it runs, an [`Output`] at its end.

use serde::Serialize;
use std::time::Duration;

/// Why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model wrote one of `eos_token_id`; it is the row's last token.
    EosToken,
    /// One of `stop_strings` appeared; it stands at the end of the row's text.
    StopString,
    /// One of the request's stopping criteria was met.
    StoppingCriterion,
    /// `max_new_tokens`, `max_length` or the context was reached.
    Length,
    /// `max_time` was over.
    MaxTime,
    /// The caller stopped the generation.
    Cancelled,
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FinishReason::EosToken => "eos_token",
            FinishReason::StopString => "stop_string",
            FinishReason::StoppingCriterion => "stopping_criterion",
            FinishReason::Length => "length",
            FinishReason::MaxTime => "max_time",
            FinishReason::Cancelled => "cancelled",
        })
    }
}

/// One new token of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenEvent {
    /// Row of the output.
    pub row: usize,
    /// The token.
    pub id: u32,
    /// The text that this token completes: may be empty, may hold characters that earlier tokens began. Empty without a tokenizer.
    pub text: String,
    /// Set on the row's last token.
    pub finish_reason: Option<FinishReason>,
}

/// A finished row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowOutput {
    /// The new tokens, the end token included.
    pub token_ids: Vec<u32>,
    /// Their text; none without a tokenizer.
    pub text: Option<String>,
    /// Why the row ended.
    pub finish_reason: FinishReason,
    /// With beams, the sum of its tokens' log-probabilities over its length to the power `length_penalty`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// How long it took. Time that the caller spends between two tokens is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Tokens of all prompts, padding left out.
    pub prompt_tokens: usize,
    /// New tokens of all rows.
    pub new_tokens: usize,
    /// Seconds from the start until the first new tokens were there.
    pub time_to_first_token: f64,
    /// Seconds in all.
    pub total: f64,
    /// Prompt tokens per second, up to the first new tokens.
    pub prefill_tokens_per_second: f64,
    /// New tokens per second after the first of each row; 0 where there was no more than that.
    pub decode_tokens_per_second: f64,
}

/// What is measured on the way to [`Timings`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    pub prompt_tokens: usize,
    pub prefill: Duration,
    pub decode: Duration,
}

impl Clock {
    pub fn timings(&self, rows: &[RowOutput]) -> Timings {
        let rate = |tokens: usize, time: Duration| {
            if tokens == 0 || time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
        };
        let new_tokens = rows.iter().map(|row| row.token_ids.len()).sum();
        let first_tokens = rows.iter().filter(|row| !row.token_ids.is_empty()).count();
        Timings {
            prompt_tokens: self.prompt_tokens,
            new_tokens,
            time_to_first_token: self.prefill.as_secs_f64(),
            total: (self.prefill + self.decode).as_secs_f64(),
            prefill_tokens_per_second: rate(self.prompt_tokens, self.prefill),
            decode_tokens_per_second: rate(new_tokens - first_tokens, self.decode),
        }
    }
}

/// All that a generation gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// The rows, in the order of the prompts; `num_return_sequences` for each, with beams the best one first.
    pub rows: Vec<RowOutput>,
    /// The seed that was used where sampling was on: the same call with this seed gives the same tokens.
    pub seed: Option<u64>,
    /// How long it took.
    pub timings: Timings,
}
