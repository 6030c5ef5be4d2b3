//! Greedy search and sampling: every row by itself.

use super::error::GenerateError;
use super::output::{FinishReason, RowOutput, TokenEvent};
use super::processors::{self, History, LogitsProcessor};
use super::sample::{RandomStream, argmax, multinomial};
use super::start::{Options, Start};
use super::stepper::{Sequence, Stepper};
use super::stop::Endings;
use super::text::RowText;
use std::collections::VecDeque;
use std::sync::Arc;

/// The rows of a batch. Row `r` has slot `r`; a prompt's rows stand side by side.
pub(super) struct Rows<'a> {
    rows: Vec<Row<'a>>,
    /// Rows per prompt.
    each: usize,
    /// Rows that still run, ascending.
    active: Vec<usize>,
    prefilled: bool,
    processors: Vec<Box<dyn LogitsProcessor>>,
    endings: Endings,
    /// Space for the logits of a prompt with several rows.
    logits: Vec<f32>,
}

struct Row<'a> {
    /// Prompt and new tokens.
    ids: Vec<u32>,
    prompt_len: usize,
    padding: usize,
    max_len: usize,
    missing: usize,
    pad: u32,
    source: Arc<[u32]>,
    random: Option<RandomStream>,
    text: Option<RowText<'a>>,
    finish_reason: Option<FinishReason>,
}

impl<'a> Rows<'a> {
    pub fn new(starts: Vec<Start>, options: Options<'a>) -> Result<Self, GenerateError> {
        let each = options.config.num_return_sequences();
        let mut rows = Vec::with_capacity(starts.len() * each);
        for start in starts {
            for copy in 0..each {
                rows.push(Row::new(rows.len(), &start, copy, each, &options)?);
            }
        }
        Ok(Rows {
            active: (0..rows.len()).collect(),
            rows,
            each,
            prefilled: false,
            processors: options.processors,
            endings: options.endings,
            logits: Vec::new(),
        })
    }

    pub fn is_done(&self) -> bool {
        self.active.is_empty()
    }

    /// One token for every row that runs. False where it was cancelled.
    pub fn advance(
        &mut self,
        stepper: &mut Stepper<'_>,
        events: &mut VecDeque<TokenEvent>,
    ) -> Result<bool, GenerateError> {
        let goes_on = if self.prefilled { self.decode(stepper, events)? } else { self.prefill(stepper, events)? };
        self.prefilled = true;
        let rows = &self.rows;
        self.active.retain(|&index| rows[index].finish_reason.is_none());
        Ok(goes_on)
    }

    /// Runs each prompt in the slot of its first row, and copies it to those of the others.
    fn prefill(&mut self, stepper: &mut Stepper<'_>, events: &mut VecDeque<TokenEvent>) -> Result<bool, GenerateError> {
        let vocab_size = stepper.vocab_size();
        let firsts = self.rows.iter().enumerate().step_by(self.each);
        let prompts: Vec<Sequence> = firsts.map(|(slot, row)| row.sequence(slot)).collect();
        let Some(logits) = stepper.prefill(&prompts)? else { return Ok(false) };
        for (prompt, logits) in logits.chunks_exact_mut(vocab_size).enumerate() {
            let first = prompt * self.each;
            for index in first..first + self.each - 1 {
                self.logits.clear();
                self.logits.extend_from_slice(logits);
                let row = &mut self.rows[index];
                events.push_back(row.choose(index, &mut self.logits, &mut self.processors, &mut self.endings)?);
            }
            let last = first + self.each - 1;
            events.push_back(self.rows[last].choose(last, logits, &mut self.processors, &mut self.endings)?);
        }
        for (index, row) in self.rows.iter().enumerate() {
            let first = index / self.each * self.each;
            if index != first && row.finish_reason.is_none() {
                stepper.copy(first, index, row.prompt_len - row.padding)?;
            }
        }
        Ok(true)
    }

    /// Runs the newest token of every row.
    fn decode(&mut self, stepper: &mut Stepper<'_>, events: &mut VecDeque<TokenEvent>) -> Result<bool, GenerateError> {
        let vocab_size = stepper.vocab_size();
        let rows = &self.rows;
        let active = self.active.iter().map(|&slot| rows[slot].sequence(slot));
        let Some(logits) = stepper.decode(active)? else { return Ok(false) };
        for (&index, logits) in self.active.iter().zip(logits.chunks_exact_mut(vocab_size)) {
            let row = &mut self.rows[index];
            events.push_back(row.choose(index, logits, &mut self.processors, &mut self.endings)?);
        }
        Ok(true)
    }

    pub fn into_output(self) -> Vec<RowOutput> {
        self.rows.into_iter().map(Row::into_output).collect()
    }
}

impl<'a> Row<'a> {
    /// Row `index`, the one numbered `copy` of `each` rows of a prompt.
    fn new(
        index: usize,
        start: &Start,
        copy: usize,
        each: usize,
        options: &Options<'a>,
    ) -> Result<Self, GenerateError> {
        let stop_strings = options.config.stop_strings();
        let text = match options.detokenizer {
            Some(d) => {
                let prompt = &start.ids[start.padding..];
                Some(RowText::new(d, options.skip_special_tokens, stop_strings, prompt, index)?)
            }
            None => None,
        };
        let mut ids = Vec::with_capacity(start.ids.len() + start.limit);
        ids.extend_from_slice(&start.ids);
        let stream = start.stream.wrapping_mul(each as u64).wrapping_add(copy as u64);
        Ok(Row {
            prompt_len: ids.len(),
            max_len: ids.len() + start.limit,
            ids,
            padding: start.padding,
            missing: start.missing,
            pad: start.pad,
            source: start.source.clone(),
            random: options.seed.map(|seed| RandomStream::new(seed, stream)),
            text,
            finish_reason: None,
        })
    }

    fn sequence(&self, slot: usize) -> Sequence<'_> {
        Sequence { slot, ids: &self.ids, padding: self.padding }
    }

    fn history(&self) -> History<'_> {
        let Row { ref ids, padding, prompt_len, max_len, missing, pad, ref source, .. } = *self;
        History { ids, padding, prompt_len, max_len, missing, pad, source }
    }

    fn choose(
        &mut self,
        index: usize,
        logits: &mut [f32],
        processors: &mut [Box<dyn LogitsProcessor>],
        endings: &mut Endings,
    ) -> Result<TokenEvent, GenerateError> {
        let position = self.ids.len() - self.prompt_len;
        let processed = processors::process(processors, self.history(), logits);
        let id = processed.and_then(|()| match &mut self.random {
            Some(random) => multinomial(logits, random.uniform(position as u64)),
            None => argmax(logits),
        });
        let id = id.map_err(|source| GenerateError::Sample { row: index, position, source })?;
        self.ids.push(id);
        let mut piece = String::new();
        let stopped = match &mut self.text {
            Some(text) => text.push(index, id, &mut piece)?,
            None => false,
        };
        self.finish_reason = endings.reason(self.history(), stopped);
        if let Some(text) = &mut self.text {
            if self.finish_reason.is_some() {
                text.finish(index, id, &mut piece)?;
            }
            text.text.push_str(&piece);
        }
        Ok(TokenEvent { row: index, id, text: piece, finish_reason: self.finish_reason })
    }

    fn into_output(self) -> RowOutput {
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Cancelled);
        let mut ids = self.ids;
        ids.drain(..self.prompt_len);
        RowOutput { token_ids: ids, text: self.text.map(|t| t.text), finish_reason, score: None }
    }
}
