//! What a config may say: transformers' ranges, and the fields that are not implemented.

use super::{ConfigError, GenerationConfig, OneOrMany};
use serde_json::Value;

impl GenerationConfig {
    /// Refuses values that transformers refuses, and fields that would change the text and are not supported here.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_always()?;
        self.validate_tokens()?;
        self.validate_rows()?;
        if self.do_sample() {
            self.validate_sampling()?;
        }
        self.validate_unsupported()
    }

    fn validate_always(&self) -> Result<(), ConfigError> {
        if self.max_new_tokens == Some(0) {
            return Err(value("max_new_tokens", "greater than 0", 0, "leave it out for the default of 20"));
        }
        let penalty = self.repetition_penalty();
        if !(penalty > 0.0 && penalty.is_finite()) {
            return Err(value("repetition_penalty", "a finite number above 0", penalty, "1.0 is no penalty"));
        }
        if let Some(penalty) = self.encoder_repetition_penalty
            && !(penalty > 0.0 && penalty.is_finite())
        {
            return Err(value("encoder_repetition_penalty", "a finite number above 0", penalty, "1.0 is no penalty"));
        }
        if self.stop_strings().iter().any(String::is_empty) {
            return Err(value("stop_strings", "texts of at least one character", "\"\"", "remove the empty one"));
        }
        if let Some(seconds) = self.max_time
            && !(seconds >= 0.0 && seconds.is_finite())
        {
            return Err(value("max_time", "a finite number of seconds", seconds, "leave it out for no limit"));
        }
        if let Some((_, factor)) = self.exponential_decay_length_penalty
            && !(factor > 0.0 && factor.is_finite())
        {
            let advice = "write [tokens, factor], such as [15, 1.1]";
            return Err(value("exponential_decay_length_penalty", "a factor above 0", factor, advice));
        }
        Ok(())
    }

    fn validate_tokens(&self) -> Result<(), ConfigError> {
        if self.bad_words_ids.iter().flatten().any(Vec::is_empty) {
            return Err(value("bad_words_ids", "lists of at least one token", "[]", "remove the empty one"));
        }
        for (ids, bias) in self.sequence_bias.iter().flatten() {
            if ids.is_empty() || bias.is_nan() {
                let advice = "write a list of [tokens, bias], such as [[[5, 6], -2.0]]";
                return Err(value("sequence_bias", "tokens with a number", format!("[{ids:?}, {bias}]"), advice));
            }
        }
        let suppressed = |id: &u32| self.suppress_tokens.iter().flatten().any(|s| *s == i64::from(*id));
        let bos = self.forced_bos_token_id.as_ref().map(std::slice::from_ref);
        let eos = self.forced_eos_token_id.as_ref().map(OneOrMany::as_slice);
        for (field, ids) in [("forced_bos_token_id", bos), ("forced_eos_token_id", eos)] {
            if let Some(ids) = ids
                && !ids.is_empty()
                && ids.iter().all(suppressed)
            {
                let advice = "against an early end token there is `min_new_tokens`";
                return Err(value(field, "a token that `suppress_tokens` does not hold", format!("{ids:?}"), advice));
            }
        }
        Ok(())
    }

    fn validate_rows(&self) -> Result<(), ConfigError> {
        let (beams, sequences) = (self.num_beams(), self.num_return_sequences());
        if beams == 0 {
            return Err(value("num_beams", "at least 1", 0, "1 is no beam search"));
        }
        if sequences == 0 {
            return Err(value("num_return_sequences", "at least 1", 0, "leave it out for one per prompt"));
        }
        if sequences > 1 && beams == 1 && !self.do_sample() {
            let advice = "greedy search has one result: set `do_sample` or `num_beams`";
            return Err(value("num_return_sequences", "1", sequences, advice));
        }
        if beams > 1 && sequences > beams {
            let found = format!("{sequences}, with {beams} beams");
            return Err(value("num_return_sequences", "at most `num_beams`", found, "raise `num_beams`"));
        }
        if let Some(penalty) = self.length_penalty
            && !penalty.is_finite()
        {
            return Err(value("length_penalty", "a finite number", penalty, "1.0 is the default"));
        }
        Ok(())
    }

    fn validate_sampling(&self) -> Result<(), ConfigError> {
        let temperature = self.temperature();
        if !(temperature > 0.0 && temperature.is_finite()) {
            let advice = "for the best token at every step set `do_sample` to false";
            return Err(value("temperature", "a finite number above 0", temperature, advice));
        }
        let top_p = self.top_p();
        if !(0.0..=1.0).contains(&top_p) {
            return Err(value("top_p", "between 0 and 1", top_p, "1.0 keeps every token"));
        }
        if let Some(min_p) = self.min_p
            && !(0.0..=1.0).contains(&min_p)
        {
            return Err(value("min_p", "between 0 and 1", min_p, "0.0 keeps every token"));
        }
        for (field, share) in [("typical_p", self.typical_p), ("top_h", self.top_h)] {
            if let Some(share) = share
                && !(share > 0.0 && share <= 1.0)
            {
                return Err(value(field, "above 0 and at most 1", share, "leave it out to keep every token"));
            }
        }
        for (field, cutoff) in [("epsilon_cutoff", self.epsilon_cutoff), ("eta_cutoff", self.eta_cutoff)] {
            if let Some(cutoff) = cutoff
                && !(0.0..1.0).contains(&cutoff)
            {
                return Err(value(field, "at least 0 and below 1", cutoff, "0.0 keeps every token"));
            }
        }
        Ok(())
    }

    fn validate_unsupported(&self) -> Result<(), ConfigError> {
        for &(field, neutral) in UNSUPPORTED {
            let Some(found) = self.other.get(field) else { continue };
            if !is_neutral(found, neutral) && self.reads(field) {
                return Err(ConfigError::Unsupported { field, found: found.to_string(), neutral });
            }
        }
        Ok(())
    }

    /// Whether a field counts, with what the others say: contrastive search is greedy search with `penalty_alpha` and `top_k`, and what
    /// takes less memory, transformers refuses in beam search and does not look at elsewhere.
    fn reads(&self, field: &str) -> bool {
        match field {
            "penalty_alpha" => !self.do_sample() && self.num_beams() == 1 && self.top_k() > 1,
            "low_memory" => self.num_beams() > 1,
            _ => true,
        }
    }

    /// Refuses tokens that the model has not, in the fields that name tokens to write or to score.
    pub(in crate::generate) fn check_vocabulary(&self, vocab_size: usize) -> Result<(), ConfigError> {
        let check = |field: &'static str, ids: &[u32]| match ids.iter().find(|id| **id as usize >= vocab_size) {
            Some(id) => {
                let found = format!("{id}, where the vocabulary's size is {vocab_size}");
                Err(value(field, "tokens of the model", found, "does the config belong to this model?"))
            }
            None => Ok(()),
        };
        check("decoder_start_token_id", self.decoder_start_token_id.as_slice())?;
        check("forced_bos_token_id", self.forced_bos_token_id.as_slice())?;
        check("forced_eos_token_id", self.forced_eos_token_id.as_ref().map_or(&[], OneOrMany::as_slice))?;
        self.bad_words_ids.iter().flatten().try_for_each(|ids| check("bad_words_ids", ids))?;
        self.sequence_bias.iter().flatten().try_for_each(|(ids, _)| check("sequence_bias", ids))
    }
}

/// Fields that change the text and are not implemented, each with the value under which it does nothing.
#[rustfmt::skip]
const UNSUPPORTED: &[(&str, &str)] = &[
    ("num_beam_groups",                   "1"),
    ("low_memory",                        "false"),
    ("penalty_alpha",                     "0.0"),
    ("dola_layers",                       "null"),
    ("token_healing",                     "false"),
    ("guidance_scale",                    "1.0"),
    ("watermarking_config",               "null"),
    ("constraints",                       "null"),
    ("force_words_ids",                   "null"),
];

/// Whether that is a field which changes the text and is not implemented.
pub(super) fn is_unsupported(field: &str) -> bool {
    UNSUPPORTED.iter().any(|(name, _)| *name == field)
}

fn value(field: &'static str, expected: &'static str, found: impl ToString, advice: &'static str) -> ConfigError {
    ConfigError::Value { field, expected, found: found.to_string(), advice }
}

/// Whether `found` does nothing: null, an empty list, or the neutral value. Numbers compare as numbers, and below a neutral 0 there is nothing
/// either.
fn is_neutral(found: &Value, neutral: &str) -> bool {
    match found {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(b) => neutral == if *b { "true" } else { "false" },
        Value::Number(n) => match (n.as_f64(), neutral.parse()) {
            (Some(n), Ok(0.0)) => n <= 0.0,
            (Some(n), Ok(neutral)) => n == neutral,
            _ => false,
        },
        Value::String(_) | Value::Object(_) => false,
    }
}
