//! What single tokens, and sequences of them, must or must not do.

use super::super::logits::log_softmax;
use super::{History, LogitsProcessor};
use std::collections::BTreeMap;

/// Adds to the logit of a sequence's last token where the sequence's other tokens are the row's newest.
#[derive(Debug, Clone)]
pub struct SequenceBias {
    /// (the tokens before, the last one, the bias).
    sequences: Vec<(Vec<u32>, u32, f32)>,
    /// The option that asked for it.
    option: &'static str,
}

impl SequenceBias {
    /// Of a sequence that is given twice, the later bias counts; an empty one has no last token.
    pub fn new(sequences: impl IntoIterator<Item = (Vec<u32>, f32)>) -> Self {
        let unique: BTreeMap<Vec<u32>, f32> = sequences.into_iter().collect();
        let split =
            |(ids, bias): (Vec<u32>, f32)| ids.split_last().map(|(last, before)| (before.to_vec(), *last, bias));
        SequenceBias { sequences: unique.into_iter().filter_map(split).collect(), option: "`sequence_bias`" }
    }

    /// Bans the sequences, but for an end token alone.
    pub fn bad_words(words: &[Vec<u32>], eos: &[u32]) -> Self {
        let ends = |word: &[u32]| matches!(word, [id] if eos.contains(id));
        let banned = words.iter().filter(|word| !ends(word)).map(|word| (word.clone(), f32::NEG_INFINITY));
        SequenceBias { option: "`bad_words_ids`", ..Self::new(banned) }
    }
}

impl LogitsProcessor for SequenceBias {
    fn name(&self) -> &'static str {
        self.option
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let longest = self.sequences.iter().map(|(before, ..)| before.len()).max().unwrap_or(0);
        let ids = history.padded_ids(longest.saturating_sub(history.ids.len()));
        for (before, last, bias) in &self.sequences {
            if ids.ends_with(before)
                && let Some(score) = logits.get_mut(*last as usize)
            {
                *score += bias;
            }
        }
    }
}

/// No end token in a row that is shorter.
#[derive(Debug, Clone)]
pub struct MinLength {
    /// Fewest tokens, prompt and padding included.
    pub min_length: usize,
    /// Fewest new tokens.
    pub min_new_tokens: usize,
    /// The end tokens.
    pub eos: Vec<u32>,
}

impl LogitsProcessor for MinLength {
    fn name(&self) -> &'static str {
        if self.min_new_tokens > 0 { "`min_new_tokens`" } else { "`min_length`" }
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        if history.padded_len() < self.min_length || history.new_ids().len() < self.min_new_tokens {
            remove(&self.eos, logits);
        }
    }
}

/// The one token that may follow a prompt of one token.
#[derive(Debug, Clone)]
pub struct ForcedBos {
    /// The token.
    pub id: u32,
}

impl LogitsProcessor for ForcedBos {
    fn name(&self) -> &'static str {
        "`forced_bos_token_id`"
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        if history.padded_len() == 1 {
            force(&[self.id], logits);
        }
    }
}

/// The tokens, one of which is the last of a row that reaches its limit.
#[derive(Debug, Clone)]
pub struct ForcedEos {
    /// The tokens.
    pub ids: Vec<u32>,
}

impl LogitsProcessor for ForcedEos {
    fn name(&self) -> &'static str {
        "`forced_eos_token_id`"
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        if history.ids.len() + 1 == history.max_len {
            force(&self.ids, logits);
        }
    }
}

/// NaN becomes 0, infinities the largest and the least number.
#[derive(Debug, Clone)]
pub struct RemoveInvalid;

impl LogitsProcessor for RemoveInvalid {
    fn name(&self) -> &'static str {
        "`remove_invalid_values`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        for score in logits {
            *score = if score.is_nan() { 0.0 } else { score.clamp(f32::MIN, f32::MAX) };
        }
    }
}

/// After `start` new tokens, end tokens gain `|score| * (factor^n - 1)`, n being the number of tokens since.
#[derive(Debug, Clone)]
pub struct ExponentialDecay {
    /// New tokens without a change.
    pub start: usize,
    /// Above 1, end tokens become likelier.
    pub factor: f64,
    /// The end tokens.
    pub eos: Vec<u32>,
}

impl LogitsProcessor for ExponentialDecay {
    fn name(&self) -> &'static str {
        "`exponential_decay_length_penalty`"
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let Some(since) = history.new_ids().len().checked_sub(self.start).filter(|n| *n > 0) else { return };
        let gain = self.factor.powf(since as f64) - 1.0;
        for &id in &self.eos {
            if let Some(score) = logits.get_mut(id as usize)
                && score.is_finite()
            {
                *score += score.abs() * gain as f32;
            }
        }
    }
}

/// Removes tokens, everywhere or only from the first new place.
#[derive(Debug, Clone)]
pub struct Suppress {
    ids: Vec<u32>,
    /// Only at the beginning; there, whether a forced token stands between a prompt of one token and it.
    at_begin: Option<bool>,
}

impl Suppress {
    /// Removes those of `tokens` that are ids at all; `at_begin` says to do so only for the first new token, and whether one token is
    /// forced before it where the prompt has one token.
    pub fn new(tokens: &[i64], at_begin: Option<bool>) -> Self {
        Suppress { ids: tokens.iter().filter_map(|&id| u32::try_from(id).ok()).collect(), at_begin }
    }
}

impl LogitsProcessor for Suppress {
    fn name(&self) -> &'static str {
        if self.at_begin.is_some() { "`begin_suppress_tokens`" } else { "`suppress_tokens`" }
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let applies = match self.at_begin {
            None => true,
            Some(forced) => history.new_ids().len() == usize::from(forced && history.prompt_len + history.missing <= 1),
        };
        if applies {
            remove(&self.ids, logits);
        }
    }
}

/// Makes log-probabilities of the logits.
#[derive(Debug, Clone)]
pub struct Normalize;

impl LogitsProcessor for Normalize {
    fn name(&self) -> &'static str {
        "`renormalize_logits`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        log_softmax(logits);
    }
}

fn remove(ids: &[u32], logits: &mut [f32]) {
    for &id in ids {
        if let Some(score) = logits.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn force(ids: &[u32], logits: &mut [f32]) {
    logits.fill(f32::NEG_INFINITY);
    for &id in ids {
        if let Some(score) = logits.get_mut(id as usize) {
            *score = 0.0;
        }
    }
}
