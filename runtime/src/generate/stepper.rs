//! Calls of the model: sources, prompts in chunks, then one token per row, and copies of slots.

use super::error::GenerateError;
use super::{CausalLm, Step, StepError};
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The model, with the arguments of its steps, which are kept from one to the next.
pub(super) struct Stepper<'a> {
    model: &'a mut dyn CausalLm,
    cancel: Option<Arc<AtomicBool>>,
    /// Steps that gave every row a token.
    done: usize,
    tokens: Vec<i64>,
    slots: Vec<i64>,
    starts: Vec<i64>,
    lengths: Vec<i64>,
    /// Tokens of the longest sequence, without padding. As in transformers it is the length of all sequences of the batch, and grows with
    /// each step, also where the longest one has ended.
    length: usize,
    /// Tokens of the longest sequence, with padding.
    width: usize,
}

/// A row so far: its prompt and what followed.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'s> {
    pub slot: usize,
    /// Tokens, left padding included.
    pub ids: &'s [u32],
    pub padding: usize,
}

impl<'s> Sequence<'s> {
    fn tokens(&self) -> &'s [u32] {
        &self.ids[self.padding..]
    }
}

impl<'a> Stepper<'a> {
    pub fn new(model: &'a mut dyn CausalLm, cancel: Option<Arc<AtomicBool>>) -> Self {
        Stepper {
            model,
            cancel,
            done: 0,
            tokens: Vec::new(),
            slots: Vec::new(),
            starts: Vec::new(),
            lengths: Vec::new(),
            length: 0,
            width: 0,
        }
    }

    pub fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    /// Runs the encoder on sources, each of which serves a range of slots; false where it was cancelled.
    pub fn encode(&mut self, sources: &[(Range<usize>, &[u32])]) -> Result<bool, GenerateError> {
        if self.is_cancelled() {
            return Ok(false);
        }
        let seq = sources.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        let mut mask = Vec::with_capacity(sources.len() * seq);
        self.clear();
        for (slots, ids) in sources {
            let padding = seq - ids.len();
            self.tokens.extend(ids.iter().map(|&id| i64::from(id)).chain(repeat_n(0, padding)));
            mask.extend(repeat_n(1, ids.len()).chain(repeat_n(0, padding)));
            self.slots.push(slots.start as i64);
        }
        let encoded = self.model.encode(&self.tokens, &mask, seq, &self.slots);
        encoded.map_err(|source| self.failed(source))?;
        for (slots, _) in sources {
            for slot in slots.clone().skip(1) {
                self.model.copy_source(slots.start, slot).map_err(|source| self.failed(source))?;
            }
        }
        Ok(true)
    }

    /// Runs prompts, each into its slot; gives the logits that follow, a row for each prompt, or nothing where it was cancelled.
    pub fn prefill(&mut self, prompts: &[Sequence]) -> Result<Option<&mut [f32]>, GenerateError> {
        self.length = prompts.iter().map(|p| p.tokens().len()).max().unwrap_or(0);
        self.width = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        self.read(prompts)
    }

    /// Runs sequences from their first tokens, at most `max_chunk` columns at a time. All end at the last column; those that are all
    /// padding in a chunk sit it out.
    fn read(&mut self, sequences: &[Sequence]) -> Result<Option<&mut [f32]>, GenerateError> {
        let chunk = self.model.max_chunk().max(1);
        let width = sequences.iter().map(|s| s.tokens().len()).max().unwrap_or(0);
        let last = width.saturating_sub(1) / chunk * chunk;
        for column in (0..last).step_by(chunk) {
            if self.is_cancelled() {
                return Ok(None);
            }
            self.fill(sequences, width, column..column + chunk);
            self.call(chunk)?;
        }
        if self.is_cancelled() {
            return Ok(None);
        }
        self.fill(sequences, width, last..width);
        self.call(width - last).map(Some)
    }

    /// Runs the newest token of every row; gives the logits that follow, or nothing where it was cancelled.
    pub fn decode<'s>(
        &mut self,
        rows: impl Iterator<Item = Sequence<'s>>,
    ) -> Result<Option<&mut [f32]>, GenerateError> {
        if self.is_cancelled() {
            return Ok(None);
        }
        self.done += 1;
        (self.length, self.width) = (self.length + 1, self.width + 1);
        // transformers counts padding here.
        if self.model.cache_limit().is_some_and(|limit| self.width == limit + 1) {
            return self.read(&rows.collect::<Vec<_>>());
        }
        self.clear();
        for row in rows {
            let Some((newest, before)) = row.tokens().split_last() else { continue };
            self.tokens.push(i64::from(*newest));
            self.slots.push(row.slot as i64);
            self.starts.push(before.len() as i64);
        }
        self.call(1).map(Some)
    }

    /// Copies the first `len` tokens of a slot to another one.
    pub fn copy(&mut self, from: usize, to: usize, len: usize) -> Result<(), GenerateError> {
        self.model.copy_slot(from, to, len).map_err(|source| self.failed(source))
    }

    fn fill(&mut self, sequences: &[Sequence], width: usize, columns: Range<usize>) {
        self.clear();
        for sequence in sequences {
            let all = sequence.tokens();
            let pad = width - all.len();
            if pad >= columns.end {
                continue;
            }
            // The id under padding is never looked at.
            self.tokens.extend((columns.start..columns.end.min(pad)).map(|_| 0));
            let tokens = &all[columns.start.max(pad) - pad..columns.end - pad];
            self.tokens.extend(tokens.iter().map(|&id| i64::from(id)));
            self.slots.push(sequence.slot as i64);
            self.starts.push(columns.start as i64 - pad as i64);
        }
    }

    fn call(&mut self, seq: usize) -> Result<&mut [f32], GenerateError> {
        let (rows, vocab_size, done) = (self.slots.len(), self.model.vocab_size(), self.done);
        self.lengths.resize(rows, self.length as i64);
        let Stepper { model, tokens, slots, starts, lengths, .. } = self;
        let logits = model.step(Step { tokens, seq, slots, starts, lengths });
        let logits = logits.map_err(|source| GenerateError::Step { done, source })?;
        if logits.len() != rows * vocab_size || logits.is_empty() {
            return Err(GenerateError::Logits { found: logits.len(), rows, vocab_size });
        }
        Ok(logits)
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.slots.clear();
        self.starts.clear();
        self.lengths.clear();
    }

    fn failed(&self, source: StepError) -> GenerateError {
        GenerateError::Step { done: self.done, source }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}
