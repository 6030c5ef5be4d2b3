//! Against repetition.

use super::{History, LogitsProcessor};

/// `score < 0 -> score * penalty, else score / penalty`, once for every distinct token of the row, padding left out.
#[derive(Debug)]
pub struct RepetitionPenalty {
    penalty: f32,
    /// One bit per vocabulary entry: already penalised in this call.
    seen: Vec<u64>,
}

impl RepetitionPenalty {
    /// `penalty` is positive; 1 does nothing.
    pub fn new(penalty: f32) -> Self {
        RepetitionPenalty { penalty, seen: Vec::new() }
    }
}

impl LogitsProcessor for RepetitionPenalty {
    fn name(&self) -> &'static str {
        "`repetition_penalty`"
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        self.seen.clear();
        self.seen.resize(logits.len().div_ceil(64), 0);
        for &id in history.ids.get(history.padding..).unwrap_or_default() {
            let id = id as usize;
            let Some(score) = logits.get_mut(id) else { continue };
            let (word, bit) = (&mut self.seen[id / 64], 1 << (id % 64));
            if *word & bit == 0 {
                *word |= bit;
                *score = if *score < 0.0 { *score * self.penalty } else { *score / self.penalty };
            }
        }
    }
}

/// Removes every token that would complete an n-gram which the row, padding included, already holds.
#[derive(Debug, Clone)]
pub struct NoRepeatNgram {
    /// The n of n-gram, at least 1.
    pub size: usize,
}

impl LogitsProcessor for NoRepeatNgram {
    fn name(&self) -> &'static str {
        "`no_repeat_ngram_size`"
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let Some(prefix_len) = self.size.checked_sub(1) else { return };
        // Further padding holds no other n-gram.
        let ids = history.padded_ids(self.size);
        if ids.len() < self.size {
            return;
        }
        let prefix = &ids[ids.len() - prefix_len..];
        for ngram in ids.windows(self.size) {
            if let Some((&last, start)) = ngram.split_last()
                && start == prefix
                && let Some(score) = logits.get_mut(last as usize)
            {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
