//! Calls of the model: sources, prompts in chunks, then one token per row, and copies of slots.

use super::error::GenerateError;
use super::{CausalLm, StepError};
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
}

/// The newest token of a row: where it goes.
pub(super) struct NewToken {
    pub slot: usize,
    pub position: usize,
    pub id: u32,
}

impl<'a> Stepper<'a> {
    pub fn new(model: &'a mut dyn CausalLm, cancel: Option<Arc<AtomicBool>>) -> Self {
        Stepper { model, cancel, done: 0, tokens: Vec::new(), slots: Vec::new(), starts: Vec::new() }
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

    /// Runs prompts, each into its slot, at most `max_chunk` columns at a time; gives the logits that follow, a row for each prompt, or
    /// nothing where it was cancelled. All prompts end at the last column; those that are all padding in a chunk sit it out.
    pub fn prefill(&mut self, prompts: &[(usize, &[u32])]) -> Result<Option<&mut [f32]>, GenerateError> {
        let chunk = self.model.max_chunk().max(1);
        let width = prompts.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        let last = width.saturating_sub(1) / chunk * chunk;
        for column in (0..last).step_by(chunk) {
            if self.is_cancelled() {
                return Ok(None);
            }
            self.fill(prompts, width, column..column + chunk);
            self.call(chunk)?;
        }
        if self.is_cancelled() {
            return Ok(None);
        }
        self.fill(prompts, width, last..width);
        self.call(width - last).map(Some)
    }

    /// Runs the newest token of every row; gives the logits that follow, or nothing where it was cancelled.
    pub fn decode(&mut self, rows: impl Iterator<Item = NewToken>) -> Result<Option<&mut [f32]>, GenerateError> {
        if self.is_cancelled() {
            return Ok(None);
        }
        self.done += 1;
        self.clear();
        for row in rows {
            self.tokens.push(row.id.into());
            self.slots.push(row.slot as i64);
            self.starts.push(row.position as i64);
        }
        self.call(1).map(Some)
    }

    /// Copies the first `len` tokens of a slot to another one.
    pub fn copy(&mut self, from: usize, to: usize, len: usize) -> Result<(), GenerateError> {
        self.model.copy_slot(from, to, len).map_err(|source| self.failed(source))
    }

    fn fill(&mut self, prompts: &[(usize, &[u32])], width: usize, columns: Range<usize>) {
        self.clear();
        for &(slot, prompt) in prompts {
            let pad = width - prompt.len();
            if pad >= columns.end {
                continue;
            }
            // The id under padding is never looked at.
            self.tokens.extend((columns.start..columns.end.min(pad)).map(|_| 0));
            let tokens = &prompt[columns.start.max(pad) - pad..columns.end - pad];
            self.tokens.extend(tokens.iter().map(|&id| i64::from(id)));
            self.slots.push(slot as i64);
            self.starts.push(columns.start as i64 - pad as i64);
        }
    }

    fn call(&mut self, seq: usize) -> Result<&mut [f32], GenerateError> {
        let (rows, vocab_size, done) = (self.slots.len(), self.model.vocab_size(), self.done);
        let logits = self.model.step(&self.tokens, seq, &self.slots, &self.starts);
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
    }

    fn failed(&self, source: StepError) -> GenerateError {
        GenerateError::Step { done: self.done, source }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}
