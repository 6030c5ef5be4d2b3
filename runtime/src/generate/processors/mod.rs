//! What happens to the logits of a row before a token is chosen.
//!
//! In come a row's tokens so far and its logits `[vocab]`; the processors edit the logits in place, in transformers' order
//! ([`processors`] lists it). A processor keeps scratch space but no memory of a row, so that one list serves all rows of a batch and
//! a row's result does not depend on its neighbours. A removed token gets the logit minus infinity. NaN passes through untouched (but
//! for [`RemoveInvalid`]): the sampler reports it. With beams, what is processed are log-probabilities.

mod processor;
mod repetition;
mod sampling;
mod tokens;

pub use processor::{History, LogitsProcessor};
pub use repetition::{NoRepeatNgram, RepetitionPenalty, Tokens};
pub use sampling::{Cutoff, MinP, Temperature, TopH, TopK, TopP, Typical};
pub use tokens::{ExponentialDecay, ForcedBos, ForcedEos, MinLength, Normalize, RemoveInvalid, SequenceBias, Suppress};

use super::config::GenerationConfig;
use super::logits::max;
use super::sample::SampleError;

/// The processors that a config asks for, in transformers' order. Processors of the caller's own, `custom`, belong after those that
/// always apply and before those of sampling.
pub fn processors(config: &GenerationConfig, custom: Vec<Box<dyn LogitsProcessor>>) -> Vec<Box<dyn LogitsProcessor>> {
    let mut list = Vec::new();
    penalties(config, &mut list);
    constraints(config, &mut list);
    list.extend(custom);
    if config.do_sample() {
        sampling(config, &mut list);
    }
    if config.renormalize_logits == Some(true) {
        list.push(Box::new(Normalize));
    }
    list
}

/// Runs the processors in their order.
///
/// # Errors
/// When in the end no token is left, or one has infinity, and it was a processor that did it.
pub(super) fn process(
    processors: &mut [Box<dyn LogitsProcessor>],
    history: History<'_>,
    logits: &mut [f32],
) -> Result<(), SampleError> {
    if processors.is_empty() {
        return Ok(());
    }
    let mut best = max(logits);
    let mut error = None;
    for processor in processors {
        processor.process(history, logits);
        let before = std::mem::replace(&mut best, max(logits));
        let option = processor.name();
        error = match best {
            // What comes later may force a token, or make numbers of infinities.
            f32::NEG_INFINITY | f32::INFINITY if best == before => error,
            f32::NEG_INFINITY => Some(SampleError::Removed { option }),
            f32::INFINITY => Some(SampleError::Overflow { option }),
            _ => None,
        };
    }
    // NaN is found when the token is chosen.
    match error {
        Some(error) if !logits.iter().any(|score| score.is_nan()) => Err(error),
        _ => Ok(()),
    }
}

fn penalties(config: &GenerationConfig, list: &mut Vec<Box<dyn LogitsProcessor>>) {
    if let Some(bias) = &config.sequence_bias {
        list.push(Box::new(SequenceBias::new(bias.iter().cloned())));
    }
    if let Some(penalty) = config.encoder_repetition_penalty.filter(|penalty| *penalty != 1.0) {
        list.push(Box::new(RepetitionPenalty::of_source(penalty)));
    }
    if config.repetition_penalty() != 1.0 {
        list.push(Box::new(RepetitionPenalty::new(config.repetition_penalty())));
    }
    if config.no_repeat_ngram_size() > 0 {
        list.push(Box::new(NoRepeatNgram { tokens: Tokens::Row, size: config.no_repeat_ngram_size() }));
    }
    if let Some(size) = config.encoder_no_repeat_ngram_size.filter(|size| *size > 0) {
        list.push(Box::new(NoRepeatNgram { tokens: Tokens::Source, size }));
    }
    if let Some(words) = &config.bad_words_ids {
        list.push(Box::new(SequenceBias::bad_words(words, config.eos_token_ids())));
    }
}

fn constraints(config: &GenerationConfig, list: &mut Vec<Box<dyn LogitsProcessor>>) {
    let eos = config.eos_token_ids();
    let (min_length, min_new_tokens) = match config.min_new_tokens {
        Some(new) => (0, new),
        None => (config.min_length.unwrap_or(0), 0),
    };
    if !eos.is_empty() && (min_length > 0 || min_new_tokens > 0) {
        list.push(Box::new(MinLength { min_length, min_new_tokens, eos: eos.to_vec() }));
    }
    if let Some(id) = config.forced_bos_token_id {
        list.push(Box::new(ForcedBos { id }));
    }
    if let Some(ids) = &config.forced_eos_token_id {
        list.push(Box::new(ForcedEos { ids: ids.as_slice().to_vec() }));
    }
    if config.remove_invalid_values == Some(true) {
        list.push(Box::new(RemoveInvalid));
    }
    if let Some((start, factor)) = config.exponential_decay_length_penalty {
        list.push(Box::new(ExponentialDecay { start, factor, eos: eos.to_vec() }));
    }
    if let Some(tokens) = &config.suppress_tokens {
        list.push(Box::new(Suppress::new(tokens, None)));
    }
    if let Some(tokens) = &config.begin_suppress_tokens {
        // After a prompt of one token comes the forced one; the first that is chosen follows it.
        list.push(Box::new(Suppress::new(tokens, Some(config.forced_bos_token_id.is_some()))));
    }
}

fn sampling(config: &GenerationConfig, list: &mut Vec<Box<dyn LogitsProcessor>>) {
    // Beams have to go on when all end tokens are chosen.
    let keep = if config.num_beams() > 1 { 1 + config.eos_token_ids().len().max(1) } else { 1 };
    if config.temperature() != 1.0 {
        list.push(Box::new(Temperature { temperature: config.temperature() }));
    }
    if let Some(top_h) = config.top_h {
        list.push(Box::new(TopH::new(top_h)));
    }
    if config.top_k() > 0 {
        list.push(Box::new(TopK::new(config.top_k().max(keep))));
    }
    if config.top_p() < 1.0 {
        list.push(Box::new(TopP::new(config.top_p(), keep)));
    }
    if let Some(min_p) = config.min_p {
        list.push(Box::new(MinP::new(min_p, keep)));
    }
    if let Some(mass) = config.typical_p.filter(|mass| *mass < 1.0) {
        list.push(Box::new(Typical::new(mass, keep)));
    }
    let cutoff = |cutoff: Option<f64>| cutoff.filter(|c| *c > 0.0);
    if let Some(epsilon) = cutoff(config.epsilon_cutoff) {
        list.push(Box::new(Cutoff::epsilon(epsilon, keep)));
    }
    if let Some(epsilon) = cutoff(config.eta_cutoff) {
        list.push(Box::new(Cutoff::eta(epsilon, keep)));
    }
}

#[cfg(test)]
mod tests;
