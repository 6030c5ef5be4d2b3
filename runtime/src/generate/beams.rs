//! Beam search: a prompt's rows together, as transformers searches.
//!
//! A prompt has `num_beams` running beams. At each step the log-probabilities of all their continuations are added to the beams' own,
//! and the best are looked at, more than there are beams, so that enough are left when some end. Those that end among the first
//! `num_beams` compete for the places of the finished beams, by their score over their length to the power `length_penalty`; the best
//! of those that go on are the running beams of the next step. A prompt's result does not depend on its neighbours.
//!
//! Slots are a table: a beam that continues keeps its parent's slot, and where a parent has several, the others get copies in slots of
//! beams that were given up.

use super::error::GenerateError;
use super::logits::log_softmax;
use super::output::{FinishReason, RowOutput, TokenEvent};
use super::processors::{self, History, LogitsProcessor};
use super::sample::{RandomStream, SampleError, best_of, draw_without_replacement};
use super::start::{Options, Start};
use super::stepper::{Sequence, Stepper};
use super::stop::Endings;
use super::text::{RowText, StopSearch};
use super::{Detokenizer, EarlyStopping};
use std::collections::VecDeque;
use std::sync::Arc;

/// The score of what should not be chosen while there is anything else; minus infinity is for what cannot be.
const UNWANTED: f32 = -1e9;

/// The search of a batch.
pub(super) struct Beams<'a> {
    prompts: Vec<Search>,
    prefilled: bool,
    rules: Rules<'a>,
    outputs: Vec<RowOutput>,
}

/// What is the same for all prompts, and space for a step of one.
struct Rules<'a> {
    num_beams: usize,
    /// Continuations looked at per step.
    keep: usize,
    length_penalty: f64,
    early_stopping: EarlyStopping,
    num_return_sequences: usize,
    processors: Vec<Box<dyn LogitsProcessor>>,
    endings: Endings,
    detokenizer: Option<&'a dyn Detokenizer>,
    skip_special_tokens: bool,
    stop_strings: &'a [String],
    candidates: Vec<Candidate>,
}

/// The search from one prompt.
struct Search {
    index: usize,
    prompt_len: usize,
    padding: usize,
    /// Most new tokens.
    limit: usize,
    /// How many tokens the prompt is shorter than the longest of the batch.
    missing: usize,
    pad: u32,
    source: Arc<[u32]>,
    random: Option<RandomStream>,
    /// The best one first.
    running: Vec<Beam>,
    /// Space for the next step's.
    next: Vec<Beam>,
    /// The best one first.
    finished: Vec<Finished>,
    done: bool,
}

struct Beam {
    /// Prompt and new tokens.
    ids: Vec<u32>,
    /// Sum of the new tokens' log-probabilities.
    score: f32,
    slot: usize,
}

struct Finished {
    /// New tokens.
    ids: Vec<u32>,
    score: f32,
    reason: FinishReason,
}

/// A continuation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub score: f32,
    /// Number of the running beam.
    pub beam: usize,
    pub id: u32,
    reason: Option<FinishReason>,
}

impl<'a> Beams<'a> {
    pub fn new(starts: Vec<Start>, options: Options<'a>) -> Self {
        let config = options.config;
        let num_beams = config.num_beams();
        let search = |(index, start): (usize, Start)| Search::new(index, start, num_beams, options.seed);
        Beams {
            prompts: starts.into_iter().enumerate().map(search).collect(),
            prefilled: false,
            rules: Rules {
                num_beams,
                keep: num_beams * (1 + options.endings.end_tokens().max(1)),
                length_penalty: config.length_penalty.unwrap_or(1.0),
                early_stopping: config.early_stopping.unwrap_or_default(),
                num_return_sequences: config.num_return_sequences(),
                processors: options.processors,
                endings: options.endings,
                detokenizer: options.detokenizer,
                skip_special_tokens: options.skip_special_tokens,
                stop_strings: config.stop_strings(),
                candidates: Vec::new(),
            },
            outputs: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.prompts.iter().all(|p| p.done)
    }

    /// A step of every search that goes on; after the last one, the tokens of the best beams. False where it was cancelled.
    pub fn advance(
        &mut self,
        stepper: &mut Stepper<'_>,
        events: &mut VecDeque<TokenEvent>,
    ) -> Result<bool, GenerateError> {
        let goes_on = if self.prefilled { self.decode(stepper)? } else { self.prefill(stepper)? };
        self.prefilled = true;
        if self.is_done() {
            self.finish(events)?;
        }
        Ok(goes_on)
    }

    /// Runs each prompt once: all its beams begin with it.
    fn prefill(&mut self, stepper: &mut Stepper<'_>) -> Result<bool, GenerateError> {
        let vocab_size = stepper.vocab_size();
        let prompts: Vec<Sequence> = self.prompts.iter().map(|p| p.running[0].sequence(p.padding)).collect();
        let Some(logits) = stepper.prefill(&prompts)? else { return Ok(false) };
        for (search, logits) in self.prompts.iter_mut().zip(logits.chunks_exact_mut(vocab_size)) {
            search.step(logits, vocab_size, &mut self.rules)?;
        }
        self.reorder(stepper)
    }

    /// Runs the newest token of every beam.
    fn decode(&mut self, stepper: &mut Stepper<'_>) -> Result<bool, GenerateError> {
        let vocab_size = stepper.vocab_size();
        let going = self.prompts.iter().filter(|p| !p.done);
        let beams = going.flat_map(|p| p.running.iter().map(|beam| beam.sequence(p.padding)));
        let Some(logits) = stepper.decode(beams)? else { return Ok(false) };
        let going = self.prompts.iter_mut().filter(|p| !p.done);
        for (search, logits) in going.zip(logits.chunks_exact_mut(vocab_size * self.rules.num_beams)) {
            search.step(logits, vocab_size, &mut self.rules)?;
        }
        self.reorder(stepper)
    }

    /// Brings the cache where the beams of the next step look for it.
    fn reorder(&mut self, stepper: &mut Stepper<'_>) -> Result<bool, GenerateError> {
        for search in self.prompts.iter_mut().filter(|p| !p.done) {
            search.reorder(stepper)?;
        }
        Ok(true)
    }

    /// Makes outputs and events of the best beams.
    fn finish(&mut self, events: &mut VecDeque<TokenEvent>) -> Result<(), GenerateError> {
        let mut outputs = self.best();
        for (row, output) in outputs.iter_mut().enumerate() {
            let Rules { detokenizer, skip_special_tokens, .. } = self.rules;
            let mut text = detokenizer.map(|d| RowText::new(d, skip_special_tokens, &[], &[], row)).transpose()?;
            for (place, &id) in output.token_ids.iter().enumerate() {
                let is_last = place + 1 == output.token_ids.len();
                let mut piece = String::new();
                if let Some(text) = &mut text {
                    text.push(row, id, &mut piece)?;
                    if is_last {
                        text.finish(row, id, &mut piece)?;
                    }
                    text.text.push_str(&piece);
                }
                let finish_reason = is_last.then_some(output.finish_reason);
                events.push_back(TokenEvent { row, id, text: piece, finish_reason });
            }
            output.text = text.map(|t| t.text);
        }
        self.outputs = outputs;
        Ok(())
    }

    /// The best beams of every prompt, running ones where too few have finished; without text.
    fn best(&self) -> Vec<RowOutput> {
        let best = |search: &Search| -> Vec<RowOutput> {
            let finished = search.finished.iter().map(|f| RowOutput {
                token_ids: f.ids.clone(),
                text: None,
                finish_reason: f.reason,
                score: Some(f.score),
            });
            let running = search.running.iter().map(|beam| RowOutput {
                token_ids: beam.ids[search.prompt_len..].to_vec(),
                text: None,
                finish_reason: FinishReason::Cancelled,
                score: None,
            });
            finished.chain(running).take(self.rules.num_return_sequences).collect()
        };
        self.prompts.iter().flat_map(best).collect()
    }

    pub fn into_output(mut self) -> Vec<RowOutput> {
        if self.outputs.is_empty() {
            // Left before the end. Text that cannot be made is no reason to withhold the tokens.
            let mut unseen = VecDeque::new();
            if self.finish(&mut unseen).is_err() {
                return self.best();
            }
        }
        self.outputs
    }
}

impl Beam {
    fn sequence(&self, padding: usize) -> Sequence<'_> {
        Sequence { slot: self.slot, ids: &self.ids, padding }
    }
}

impl Search {
    fn new(index: usize, start: Start, num_beams: usize, seed: Option<u64>) -> Self {
        let beam = |score| {
            let mut ids = Vec::with_capacity(start.ids.len() + start.limit);
            ids.extend_from_slice(&start.ids);
            Beam { ids, score, slot: index * num_beams }
        };
        // All beams begin alike, in one slot: the first one counts.
        let running = (0..num_beams).map(|number| beam(if number == 0 { 0.0 } else { UNWANTED }));
        Search {
            index,
            prompt_len: start.ids.len(),
            padding: start.padding,
            limit: start.limit,
            missing: start.missing,
            pad: start.pad,
            source: start.source,
            random: seed.map(|seed| RandomStream::new(seed, start.stream)),
            running: running.collect(),
            next: (0..num_beams).map(|_| beam(0.0)).collect(),
            finished: Vec::with_capacity(num_beams + 1),
            done: false,
        }
    }

    /// New tokens of the running beams.
    fn new_tokens(&self) -> usize {
        self.running[0].ids.len() - self.prompt_len
    }

    /// Goes on by one token. `logits` are `[beams, vocab]`, or `[1, vocab]` for all of them alike.
    fn step(&mut self, logits: &mut [f32], vocab_size: usize, rules: &mut Rules<'_>) -> Result<(), GenerateError> {
        let Search { prompt_len, padding, missing, pad, .. } = *self;
        let source = &*self.source.clone();
        let max_len = prompt_len + self.limit;
        // Why a beam has no continuation; others may have some.
        let mut nothing_left = SampleError::NothingLeft;
        for (beam, logits) in self.running.iter().zip(logits.chunks_exact_mut(vocab_size)) {
            log_softmax(logits);
            let history = History { ids: &beam.ids, padding, prompt_len, max_len, missing, pad, source };
            match processors::process(&mut rules.processors, history, logits) {
                Err(error @ SampleError::Removed { .. }) => nothing_left = error,
                other => other.map_err(|source| self.failed(source))?,
            }
        }
        self.choose(logits, vocab_size, rules, nothing_left)?;
        for candidate in &mut rules.candidates {
            let ids = &mut self.running[candidate.beam].ids;
            let stopped = match rules.detokenizer {
                Some(d) if !rules.stop_strings.is_empty() => {
                    StopSearch::after(d, rules.stop_strings, &ids[padding..], self.index)?
                        .push(self.index, candidate.id)?
                }
                _ => false,
            };
            ids.push(candidate.id);
            candidate.reason =
                rules.endings.reason(History { ids, padding, prompt_len, max_len, missing, pad, source }, stopped);
            ids.pop();
        }
        self.finish(rules);
        self.go_on(rules);
        self.done = self.is_decided(rules);
        Ok(())
    }

    fn failed(&self, source: SampleError) -> GenerateError {
        GenerateError::Sample { row: self.index, position: self.new_tokens(), source }
    }

    /// The continuations to look at: the best ones in order, or as they are drawn. Where there are none, `nothing_left` is why.
    fn choose(
        &mut self,
        logits: &[f32],
        vocab_size: usize,
        rules: &mut Rules<'_>,
        nothing_left: SampleError,
    ) -> Result<(), GenerateError> {
        let position = self.new_tokens();
        let rows = logits.chunks_exact(vocab_size).cycle();
        let continuations = self.running.iter().zip(rows).enumerate().flat_map(|(beam, (parent, logits))| {
            let score = parent.score;
            (0..).zip(logits).map(move |(id, logit)| Candidate { score: logit + score, beam, id, reason: None })
        });
        let chosen = match &mut self.random {
            None => best_of(continuations, rules.keep, &mut rules.candidates, |c| c.score),
            Some(random) => {
                let mut numbers = (position as u64 * rules.keep as u64..).map(|n| random.uniform(n));
                draw_without_replacement(continuations, rules.keep, &mut numbers, &mut rules.candidates, |c| c.score)
            }
        };
        chosen.map_err(|source| self.failed(source))?;
        match rules.candidates.iter().any(|c| c.score > f32::NEG_INFINITY) {
            true => Ok(()),
            false => Err(self.failed(nothing_left)),
        }
    }

    /// Gives those that end among the first candidates a place among the finished, if they earn one.
    fn finish(&mut self, rules: &Rules<'_>) {
        let length = (self.new_tokens() + 1) as f64;
        for candidate in &rules.candidates[..rules.num_beams.min(rules.candidates.len())] {
            let Some(reason) = candidate.reason else { continue };
            let score = candidate.score / length.powf(rules.length_penalty) as f32;
            let place = self.finished.partition_point(|f| f.score >= score);
            if place < rules.num_beams {
                let parent = &self.running[candidate.beam].ids[self.prompt_len..];
                let ids = parent.iter().copied().chain([candidate.id]).collect();
                self.finished.insert(place, Finished { ids, score, reason });
                self.finished.truncate(rules.num_beams);
            }
        }
    }

    /// The running beams of the next step, in the slots of their parents.
    fn go_on(&mut self, rules: &mut Rules<'_>) {
        for candidate in &mut rules.candidates {
            if candidate.reason.is_some() {
                candidate.score += UNWANTED;
            }
        }
        rules.candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        // Where there are too few, what is left over cannot be chosen.
        let none = rules.candidates.last().map(|last| Candidate { score: f32::NEG_INFINITY, ..*last });
        let candidates = rules.candidates.iter().copied().chain(none.into_iter().cycle());
        for (beam, candidate) in self.next.iter_mut().zip(candidates) {
            let parent = &self.running[candidate.beam];
            beam.ids.clear();
            beam.ids.extend_from_slice(&parent.ids);
            beam.ids.push(candidate.id);
            beam.score = candidate.score;
            beam.slot = parent.slot;
        }
        std::mem::swap(&mut self.running, &mut self.next);
    }

    /// Whether nothing that follows can change the result, or shall.
    fn is_decided(&self, rules: &Rules<'_>) -> bool {
        let is_full = self.finished.len() == rules.num_beams;
        if rules.candidates.iter().all(|c| c.reason.is_some())
            || (is_full && rules.early_stopping == EarlyStopping::WhenFull)
        {
            return true;
        }
        let hopes_for_length = rules.early_stopping == EarlyStopping::Never && rules.length_penalty > 0.0;
        let length = if hopes_for_length { self.limit } else { self.new_tokens() } as f64;
        let attainable = self.running[0].score / length.powf(rules.length_penalty) as f32;
        is_full && self.finished.last().is_some_and(|worst| attainable <= worst.score)
    }

    /// Gives every running beam a slot of its own that holds its tokens but the newest.
    fn reorder(&mut self, stepper: &mut Stepper<'_>) -> Result<(), GenerateError> {
        let len = self.running[0].ids.len() - self.padding - 1;
        let slots = self.index * self.running.len()..(self.index + 1) * self.running.len();
        for at in 0..self.running.len() {
            let parent = self.running[at].slot;
            if self.running[..at].iter().all(|beam| beam.slot != parent) {
                continue;
            }
            let is_free = |slot: &usize| self.running.iter().all(|beam| beam.slot != *slot);
            if let Some(free) = slots.clone().find(is_free) {
                stepper.copy(parent, free, len)?;
                self.running[at].slot = free;
            }
        }
        Ok(())
    }
}
