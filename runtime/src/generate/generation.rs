//! The loop: prompts in, token events out.

use super::error::GenerateError;
use super::output::{Clock, FinishReason, Output, RowOutput, TokenEvent};
use super::processors::{History, LogitsProcessor, processors};
use super::sample::{RandomStream, argmax, fresh_seed, multinomial};
use super::stop::StopStrings;
use super::{CausalLm, Detokenizer, GenerationConfig, Prompt, TextStream};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What to generate, and how.
pub struct Request<'a> {
    /// One row each.
    pub prompts: &'a [Prompt],
    /// The options.
    pub config: &'a GenerationConfig,
    /// Makes the text of events and outputs. Stop strings need it.
    pub detokenizer: Option<&'a dyn Detokenizer>,
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// Processors of the caller's own: after the config's, before those of sampling.
    pub processors: Vec<Box<dyn LogitsProcessor>>,
    /// Set it to true, from any thread, to stop before the next step.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl<'a> Request<'a> {
    /// `prompts` under `config`: tokens without text.
    pub fn new(prompts: &'a [Prompt], config: &'a GenerationConfig) -> Self {
        Request { prompts, config, detokenizer: None, skip_special_tokens: true, processors: Vec::new(), cancel: None }
    }
}

/// Generates to the end, showing every token to `on_token`, which may stop it.
pub fn generate(
    model: &mut dyn CausalLm,
    request: Request<'_>,
    mut on_token: impl FnMut(&TokenEvent) -> ControlFlow<()>,
) -> Result<Output, GenerateError> {
    let mut generation = Generation::new(model, request)?;
    for event in generation.by_ref() {
        if on_token(&event?).is_break() {
            break;
        }
    }
    Ok(generation.into_output())
}

/// A generation under way: an iterator over the new tokens of all rows, step by step and in each step by row. It may be left at any time.
pub struct Generation<'a> {
    model: &'a mut dyn CausalLm,
    rows: Vec<Row<'a>>,
    /// Rows that still run, ascending.
    active: Vec<usize>,
    /// Tokens of the longest prompt; every prompt ends at this column of the batch.
    width: usize,
    prefilled: bool,
    steps: usize,
    processors: Vec<Box<dyn LogitsProcessor>>,
    eos: Vec<u32>,
    seed: Option<u64>,
    cancel: Option<Arc<AtomicBool>>,
    batch: Batch,
    events: VecDeque<TokenEvent>,
    clock: Clock,
}

/// The arguments of a step, kept from one to the next.
#[derive(Default)]
struct Batch {
    tokens: Vec<i64>,
    slots: Vec<i64>,
    starts: Vec<i64>,
}

impl Batch {
    fn clear(&mut self) {
        self.tokens.clear();
        self.slots.clear();
        self.starts.clear();
    }
}

struct Row<'a> {
    /// Prompt and new tokens.
    ids: Vec<u32>,
    prompt_len: usize,
    padding: usize,
    /// Most new tokens.
    limit: usize,
    random: Option<RandomStream>,
    text: Option<RowText<'a>>,
    finish_reason: Option<FinishReason>,
}

struct RowText<'a> {
    text: String,
    stream: Box<dyn TextStream + 'a>,
    /// A second stream, with special tokens visible, and what it is searched for.
    stop: Option<(Box<dyn TextStream + 'a>, StopStrings)>,
    /// Space for a piece of it.
    piece: String,
}

impl<'a> Generation<'a> {
    /// Checks the request. The model first runs when the first token is asked for.
    pub fn new(model: &'a mut dyn CausalLm, request: Request<'a>) -> Result<Self, GenerateError> {
        let Request { prompts, config, detokenizer, skip_special_tokens, processors: custom, cancel } = request;
        config.validate()?;
        let (found, max_rows) = (prompts.len(), model.max_rows());
        if found == 0 || found > max_rows {
            return Err(GenerateError::Rows { found, max_rows });
        }
        if detokenizer.is_none() && !config.stop_strings().is_empty() {
            return Err(GenerateError::StopStringsWithoutText);
        }
        let seed = config.do_sample().then(|| config.seed.unwrap_or_else(fresh_seed));
        let (vocab_size, max_context) = (model.vocab_size(), model.max_context());
        let mut rows = Vec::with_capacity(found);
        for (index, prompt) in prompts.iter().enumerate() {
            prompt.check(index, vocab_size, max_context)?;
            let mut ids = prompt.ids.clone();
            // The last new token need not enter the cache.
            let room = max_context - prompt.tokens().len() + 1;
            let limit = config.new_tokens(ids.len())?.min(room);
            ids.reserve_exact(limit);
            let text = match detokenizer {
                Some(d) => Some(RowText::new(d, skip_special_tokens, config.stop_strings(), prompt.tokens(), index)?),
                None => None,
            };
            rows.push(Row {
                prompt_len: ids.len(),
                ids,
                padding: prompt.padding,
                limit,
                random: seed.map(|seed| RandomStream::new(seed, prompt.stream.unwrap_or(index as u64))),
                text,
                finish_reason: None,
            });
        }
        let width = prompts.iter().map(|p| p.tokens().len()).max().unwrap_or(0);
        let chunk = model.max_chunk().clamp(1, width);
        let batch = Batch {
            tokens: Vec::with_capacity(found * chunk),
            slots: Vec::with_capacity(found),
            starts: Vec::with_capacity(found),
        };
        let prompt_tokens = prompts.iter().map(|p| p.tokens().len()).sum();
        Ok(Generation {
            model,
            active: (0..found).collect(),
            rows,
            width,
            prefilled: false,
            steps: 0,
            processors: processors(config, custom),
            eos: config.eos_token_ids().to_vec(),
            seed,
            cancel,
            batch,
            events: VecDeque::with_capacity(found),
            clock: Clock { prompt_tokens, ..Clock::default() },
        })
    }

    /// Ends it, and gives what there is. Rows that have not ended count as cancelled.
    pub fn into_output(self) -> Output {
        let timings = self.clock.timings();
        let rows = self.rows.into_iter().map(Row::into_output).collect();
        Output { rows, seed: self.seed, timings }
    }

    /// One token for every row that runs. False where it was cancelled.
    fn advance(&mut self) -> Result<bool, GenerateError> {
        let started = Instant::now();
        let done = if self.prefilled { self.decode()? } else { self.prefill()? };
        let elapsed = started.elapsed();
        if self.prefilled {
            self.clock.decode += elapsed;
            self.clock.later_tokens += self.events.len();
        } else {
            self.clock.prefill += elapsed;
            self.clock.first_tokens += self.events.len();
            self.prefilled = true;
        }
        Ok(done)
    }

    /// Runs the prompts, at most `max_chunk` columns at a time; the last columns give every row its first token. Rows that are all
    /// padding in a chunk sit it out.
    fn prefill(&mut self) -> Result<bool, GenerateError> {
        let chunk = self.model.max_chunk().max(1);
        let mut column = 0;
        while column < self.width {
            if self.is_cancelled() {
                return Ok(false);
            }
            let end = (column + chunk).min(self.width);
            self.batch.clear();
            for &index in &self.active {
                let row = &self.rows[index];
                let prompt = &row.ids[row.padding..row.prompt_len];
                let pad = self.width - prompt.len();
                if pad >= end {
                    continue;
                }
                // The id under padding is never looked at.
                self.batch.tokens.extend((column..end.min(pad)).map(|_| 0));
                self.batch.tokens.extend(prompt[column.max(pad) - pad..end - pad].iter().map(|&id| i64::from(id)));
                self.batch.slots.push(index as i64);
                self.batch.starts.push(column as i64 - pad as i64);
            }
            self.step(end - column, end == self.width)?;
            column = end;
        }
        Ok(true)
    }

    /// Runs the newest token of every row.
    fn decode(&mut self) -> Result<bool, GenerateError> {
        if self.is_cancelled() {
            return Ok(false);
        }
        self.batch.clear();
        for &index in &self.active {
            let row = &self.rows[index];
            let position = row.ids.len() - row.padding - 1;
            self.batch.tokens.extend(row.ids.last().map(|&id| i64::from(id)));
            self.batch.slots.push(index as i64);
            self.batch.starts.push(position as i64);
        }
        self.step(1, true)?;
        Ok(true)
    }

    /// One call of the model; where `choose`, a new token for every row that runs, and rows that end leave.
    fn step(&mut self, seq: usize, choose: bool) -> Result<(), GenerateError> {
        let Batch { tokens, slots, starts } = &self.batch;
        let vocab_size = self.model.vocab_size();
        let logits = self
            .model
            .step(tokens, seq, slots, starts)
            .map_err(|source| GenerateError::Step { done: self.steps, source })?;
        if logits.len() != slots.len() * vocab_size || logits.is_empty() {
            return Err(GenerateError::Logits { found: logits.len(), rows: slots.len(), vocab_size });
        }
        if choose {
            for (&index, logits) in self.active.iter().zip(logits.chunks_exact_mut(vocab_size)) {
                let event = self.rows[index].choose(index, logits, &mut self.processors, &self.eos)?;
                self.events.push_back(event);
            }
            self.steps += 1;
            let rows = &self.rows;
            self.active.retain(|&index| rows[index].finish_reason.is_none());
        }
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<TokenEvent, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.events.is_empty() && !self.active.is_empty() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => self.active.clear(),
                Err(error) => {
                    self.active.clear();
                    self.events.clear();
                    return Some(Err(error));
                }
            }
        }
        self.events.pop_front().map(Ok)
    }
}

impl Row<'_> {
    fn choose(
        &mut self,
        index: usize,
        logits: &mut [f32],
        processors: &mut [Box<dyn LogitsProcessor>],
        eos: &[u32],
    ) -> Result<TokenEvent, GenerateError> {
        let position = self.ids.len() - self.prompt_len;
        for processor in processors {
            processor.process(History { ids: &self.ids, padding: self.padding }, logits);
        }
        let id = match &mut self.random {
            Some(random) => multinomial(logits, random.uniform(position as u64)),
            None => argmax(logits),
        };
        let id = id.map_err(|source| GenerateError::Sample { row: index, position, source })?;
        self.ids.push(id);
        let mut text = String::new();
        let mut stopped = false;
        if let Some(row_text) = &mut self.text {
            stopped = row_text.push(index, id, &mut text)?;
        }
        self.finish_reason = if eos.contains(&id) {
            Some(FinishReason::EosToken)
        } else if stopped {
            Some(FinishReason::StopString)
        } else if position + 1 >= self.limit {
            Some(FinishReason::Length)
        } else {
            None
        };
        if let Some(row_text) = &mut self.text {
            if self.finish_reason.is_some() {
                row_text.stream.finish(&mut text).map_err(|source| GenerateError::Text { row: index, id, source })?;
            }
            row_text.text.push_str(&text);
        }
        Ok(TokenEvent { row: index, id, text, finish_reason: self.finish_reason })
    }

    fn into_output(self) -> RowOutput {
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Cancelled);
        let mut ids = self.ids;
        ids.drain(..self.prompt_len);
        RowOutput { token_ids: ids, text: self.text.map(|t| t.text), finish_reason }
    }
}

impl<'a> RowText<'a> {
    /// The text after `prompt`, whose end a stop string may begin in.
    fn new(
        detokenizer: &'a dyn Detokenizer,
        skip_special_tokens: bool,
        stop_strings: &[String],
        prompt: &[u32],
        row: usize,
    ) -> Result<Self, GenerateError> {
        let mut stop = None;
        if !stop_strings.is_empty() {
            let mut stream = detokenizer.text_stream(false);
            let mut stops = StopStrings::new(stop_strings);
            let mut text = String::new();
            // A token is a byte of text or more, but for a few that are none: twice as many tokens hold enough of it.
            for &id in &prompt[prompt.len().saturating_sub(2 * stops.context())..] {
                stream.push(id, &mut text).map_err(|source| GenerateError::Text { row, id, source })?;
            }
            stops.push(&text);
            stop = Some((stream, stops));
        }
        let stream = detokenizer.text_stream(skip_special_tokens);
        Ok(RowText { text: String::new(), stream, stop, piece: String::new() })
    }

    /// Appends to `text` what `id` completes; true where a stop string does.
    fn push(&mut self, row: usize, id: u32, text: &mut String) -> Result<bool, GenerateError> {
        let failed = |source| GenerateError::Text { row, id, source };
        self.stream.push(id, text).map_err(failed)?;
        let Some((stream, stops)) = &mut self.stop else { return Ok(false) };
        self.piece.clear();
        stream.push(id, &mut self.piece).map_err(failed)?;
        Ok(stops.push(&self.piece))
    }
}
