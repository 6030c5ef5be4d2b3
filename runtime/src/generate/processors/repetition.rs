//! Against repetition.

use super::{History, LogitsProcessor};

/// Which tokens must not come again, or must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Those of the row.
    Row,
    /// Those of [`History::source`].
    Source,
}

/// `score < 0 -> score * penalty, else score / penalty`, once for every distinct token: of the row, padding left out, or of the source.
#[derive(Debug)]
pub struct RepetitionPenalty {
    tokens: Tokens,
    penalty: f32,
    /// One bit per vocabulary entry: already penalised in this call.
    seen: Vec<u64>,
}

impl RepetitionPenalty {
    /// `penalty` is positive; 1 does nothing.
    pub fn new(penalty: f32) -> Self {
        RepetitionPenalty { tokens: Tokens::Row, penalty, seen: Vec::new() }
    }

    /// Above 1, tokens of the source become likelier.
    pub fn of_source(penalty: f64) -> Self {
        RepetitionPenalty { tokens: Tokens::Source, penalty: (1.0 / penalty) as f32, seen: Vec::new() }
    }
}

impl LogitsProcessor for RepetitionPenalty {
    fn name(&self) -> &'static str {
        match self.tokens {
            Tokens::Row => "`repetition_penalty`",
            Tokens::Source => "`encoder_repetition_penalty`",
        }
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        self.seen.clear();
        self.seen.resize(logits.len().div_ceil(64), 0);
        let ids = match self.tokens {
            Tokens::Row => history.ids.get(history.padding..).unwrap_or_default(),
            Tokens::Source => history.source,
        };
        for &id in ids {
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

/// Removes every token that would complete an n-gram which the row, padding included, or the source already holds.
#[derive(Debug, Clone)]
pub struct NoRepeatNgram {
    /// Whose n-grams.
    pub tokens: Tokens,
    /// The n of n-gram, at least 1.
    pub size: usize,
}

impl LogitsProcessor for NoRepeatNgram {
    fn name(&self) -> &'static str {
        match self.tokens {
            Tokens::Row => "`no_repeat_ngram_size`",
            Tokens::Source => "`encoder_no_repeat_ngram_size`",
        }
    }

    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let Some(prefix_len) = self.size.checked_sub(1) else { return };
        // Further padding holds no other n-gram.
        let ids = history.padded_ids(self.size);
        let Some(prefix) = ids.len().checked_sub(prefix_len).map(|start| &ids[start..]) else { return };
        let tokens = match self.tokens {
            Tokens::Row => &*ids,
            Tokens::Source => history.source,
        };
        for ngram in tokens.windows(self.size) {
            if let Some((&last, start)) = ngram.split_last()
                && start == prefix
                && let Some(score) = logits.get_mut(last as usize)
            {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
