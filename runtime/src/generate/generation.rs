//! The loop: prompts in, token events out.

use super::beams::Beams;
use super::error::GenerateError;
use super::output::{Clock, Output, RowOutput, TokenEvent};
use super::processors::{LogitsProcessor, processors};
use super::rows::Rows;
use super::sample::fresh_seed;
use super::start::{Options, Start};
use super::stepper::Stepper;
use super::stop::{Endings, StoppingCriterion};
use super::{CausalLm, Detokenizer, Encoder, GenerationConfig, Prompt};
use crate::device::cpu::Usual;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What to generate, and how.
pub struct Request<'a> {
    /// `num_return_sequences` rows of the output each. An encoder-decoder's encoder takes them, without their padding.
    pub prompts: &'a [Prompt],
    /// The options.
    pub config: &'a GenerationConfig,
    /// Makes the text of events and outputs. Stop strings need it.
    pub detokenizer: Option<&'a dyn Detokenizer>,
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// Processors of the caller's own: after the config's, before those of sampling.
    pub processors: Vec<Box<dyn LogitsProcessor>>,
    /// Criteria of the caller's own that end rows, besides the config's.
    pub stopping_criteria: Vec<Box<dyn StoppingCriterion>>,
    /// Set it to true, from any thread, to stop before the next step.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl<'a> Request<'a> {
    /// `prompts` under `config`: tokens without text.
    pub fn new(prompts: &'a [Prompt], config: &'a GenerationConfig) -> Self {
        Request {
            prompts,
            config,
            detokenizer: None,
            skip_special_tokens: true,
            processors: Vec::new(),
            stopping_criteria: Vec::new(),
            cancel: None,
        }
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

/// A generation under way: an iterator over the new tokens of all rows, step by step and in each step by row. With beams, which row a
/// token belongs to shows only at the end: then the tokens come row by row. It may be left at any time.
pub struct Generation<'a> {
    stepper: Stepper<'a>,
    /// What an encoder-decoder's encoder takes, each with the slots of its rows. None for a decoder alone.
    sources: Option<Vec<(Range<usize>, &'a [u32])>>,
    search: Search<'a>,
    prefilled: bool,
    /// Finished, cancelled or failed.
    over: bool,
    seed: Option<u64>,
    events: VecDeque<TokenEvent>,
    clock: Clock,
}

enum Search<'a> {
    Rows(Rows<'a>),
    Beams(Beams<'a>),
}

impl<'a> Generation<'a> {
    /// Checks the request. The model first runs when the first token is asked for.
    pub fn new(model: &'a mut dyn CausalLm, request: Request<'a>) -> Result<Self, GenerateError> {
        let Request { prompts, config, detokenizer, .. } = request;
        config.validate()?;
        config.check_vocabulary(model.vocab_size())?;
        check_rows(prompts.len(), config.rows_per_prompt(), model.max_rows())?;
        if detokenizer.is_none() && !config.stop_strings().is_empty() {
            return Err(GenerateError::StopStringsWithoutText);
        }
        let seed = config.do_sample().then(|| config.seed.unwrap_or_else(fresh_seed));
        let (vocab_size, max_context, encoder) = (model.vocab_size(), model.max_context(), model.encoder());
        let decoder_start = encoder.map(|encoder| decoder_start(&encoder, config)).transpose()?;
        let pad = config.pad_token_id();
        let widest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let mut starts = Vec::with_capacity(prompts.len());
        let mut prompt_tokens = 0;
        for (index, prompt) in prompts.iter().enumerate() {
            // Out of nothing a decoder goes on from bos, as in transformers.
            let begun = config.bos_token_id.filter(|_| prompt.ids.is_empty() && encoder.is_none());
            let prompt = match begun {
                Some(bos) => &Prompt { ids: vec![bos], ..prompt.clone() },
                None => prompt,
            };
            prompt.check(index, vocab_size, encoder.map_or(max_context, |encoder| encoder.max_source))?;
            prompt_tokens += prompt.tokens().len();
            let (ids, padding) = match decoder_start {
                Some(id) => (vec![id], 0),
                None => (prompt.ids.clone(), prompt.padding),
            };
            // The last new token need not enter the cache.
            let limit = max_context + 1 - (ids.len() - padding);
            let stream = prompt.stream.unwrap_or(index as u64);
            // transformers pads what an encoder takes on the right, and what a decoder continues on the left.
            let filling = std::iter::repeat_n(pad, widest.saturating_sub(prompt.ids.len()));
            let source = match encoder {
                Some(_) => prompt.ids.iter().copied().chain(filling).collect(),
                None => filling.chain(prompt.ids.iter().copied()).collect(),
            };
            starts.push(Start { limit, ids, padding, missing: 0, pad, source, stream });
        }
        // As in transformers, lengths count the padding that makes all rows as long as the longest.
        let longest = starts.iter().map(|start| start.ids.len()).max().unwrap_or(0);
        let new_tokens = config.new_tokens(longest)?;
        for start in &mut starts {
            start.limit = start.limit.min(new_tokens);
            start.missing = longest - start.ids.len();
        }
        let each = config.rows_per_prompt();
        let source = |(index, prompt): (usize, &'a Prompt)| (index * each..(index + 1) * each, prompt.tokens());
        let sources = encoder.map(|_| prompts.iter().enumerate().map(source).collect());
        let options = Options {
            config,
            seed,
            processors: processors(config, request.processors),
            endings: Endings::new(config, request.stopping_criteria),
            detokenizer,
            skip_special_tokens: request.skip_special_tokens,
        };
        let search = if config.num_beams() > 1 {
            Search::Beams(Beams::new(starts, options))
        } else {
            Search::Rows(Rows::new(starts, options)?)
        };
        Ok(Generation {
            stepper: Stepper::new(model, request.cancel),
            sources,
            search,
            prefilled: false,
            over: false,
            seed,
            events: VecDeque::new(),
            clock: Clock { prompt_tokens, ..Clock::default() },
        })
    }

    /// Ends it, and gives what there is. Rows that have not ended count as cancelled.
    pub fn into_output(self) -> Output {
        let rows: Vec<RowOutput> = match self.search {
            Search::Rows(rows) => rows.into_output(),
            Search::Beams(beams) => beams.into_output(),
        };
        Output { timings: self.clock.timings(&rows), rows, seed: self.seed }
    }

    /// One token for every row that runs. False where it was cancelled.
    fn advance(&mut self) -> Result<bool, GenerateError> {
        let started = Instant::now();
        // Probabilities are rounded as everywhere, whatever the caller's thread does.
        let _usual = Usual::set();
        let (stepper, events) = (&mut self.stepper, &mut self.events);
        if let Some(sources) = self.sources.take()
            && !stepper.encode(&sources)?
        {
            return Ok(false);
        }
        let goes_on = match &mut self.search {
            Search::Rows(rows) => rows.advance(stepper, events)?,
            Search::Beams(beams) => beams.advance(stepper, events)?,
        };
        let time = if self.prefilled { &mut self.clock.decode } else { &mut self.clock.prefill };
        *time += started.elapsed();
        self.prefilled = true;
        Ok(goes_on)
    }

    fn is_done(&self) -> bool {
        match &self.search {
            Search::Rows(rows) => rows.is_done(),
            Search::Beams(beams) => beams.is_done(),
        }
    }
}

/// The token that an encoder-decoder's rows begin with.
fn decoder_start(encoder: &Encoder, config: &GenerationConfig) -> Result<u32, GenerateError> {
    let own = config.decoder_start_token_id.or(encoder.decoder_start_token_id);
    own.or(config.bos_token_id).ok_or(GenerateError::NoDecoderStart)
}

fn check_rows(prompts: usize, each: usize, max_rows: usize) -> Result<(), GenerateError> {
    let needed = prompts.saturating_mul(each);
    if prompts == 0 || (each == 1 && prompts > max_rows) {
        Err(GenerateError::Rows { found: prompts, max_rows })
    } else if needed > max_rows {
        Err(GenerateError::RowsPerPrompt { prompts, each, needed, max_rows })
    } else {
        Ok(())
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<TokenEvent, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.events.is_empty() && !self.over {
            if self.is_done() {
                self.over = true;
                break;
            }
            match self.advance() {
                Ok(goes_on) => self.over = !goes_on,
                Err(error) => {
                    self.over = true;
                    self.events.clear();
                    return Some(Err(error));
                }
            }
        }
        self.events.pop_front().map(Ok)
    }
}
