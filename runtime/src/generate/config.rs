//! How to generate: the options of one call, in the words of `generation_config.json`.
//!
//! In comes the file's JSON, or options set by hand; out goes a [`GenerationConfig`] whose unset fields mean transformers' defaults.
//! Layers combine with [`GenerationConfig::overridden_by`] (what the caller says over what the checkpoint says), and
//! [`GenerationConfig::validate`] refuses what transformers refuses, and also what would change the text but is not supported here:
//! an option is never ignored silently.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// New tokens when neither `max_new_tokens` nor `max_length` is given.
pub const DEFAULT_NEW_TOKENS: usize = 20;
/// `top_k` when it is not given: sampling looks at the 50 best tokens.
pub const DEFAULT_TOP_K: usize = 50;

/// What is wrong with a generation config.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ConfigError {
    /// The text is not a JSON object.
    #[error(
        "generation config: expected a JSON object: {0}; compare it with the model's generation_config.json on the hub"
    )]
    Json(String),
    /// A field holds another type of value.
    #[error("generation config: `{field}` = {found}: {reason}; correct it or leave it out")]
    Type {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The value given.
        found: String,
        /// What was expected instead.
        reason: String,
    },
    /// A value outside its range.
    #[error("generation config: `{field}` must be {expected}, but is {found}; {advice}")]
    Value {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The values allowed.
        expected: &'static str,
        /// The value given.
        found: String,
        /// What to write instead.
        advice: &'static str,
    },
    /// A field that would change the text and that this version does not implement.
    #[error("generation config: `{field}` = {found} is not supported yet; remove it, or set it to {neutral}")]
    Unsupported {
        /// The field's name in `generation_config.json`.
        field: &'static str,
        /// The value given.
        found: String,
        /// The value under which it does nothing.
        neutral: &'static str,
    },
}

/// One value or a list of them, as `eos_token_id` and `stop_strings` are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A bare value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, as a slice.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        }
    }
}

/// The options of a generation. A field left `None` means the default named with it; the fields not listed are kept in `other`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct GenerationConfig {
    /// Most new tokens per row; over `max_length` where both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Most tokens per row, prompt (and padding that came with it) included. Default: 20 new tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Draw from the distribution instead of taking the best token. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub do_sample: Option<bool>,
    /// Divides the logits before sampling. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Sampling keeps this many best tokens; 0 keeps all. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Sampling keeps the smallest set of best tokens whose probabilities reach this. Default: 1 (all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Sampling drops tokens less probable than this times the best one. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Above 1, tokens that already stand in the row become less likely. Default: 1 (off).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// No n-gram of this size occurs twice in a row. Default: 0 (off).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_repeat_ngram_size: Option<usize>,
    /// The tokens that end a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<OneOrMany<u32>>,
    /// The token that fills short rows. Some checkpoints write a negative number for "none".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<i64>,
    /// The token a text begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// The seed of sampling. Default: drawn anew for every call. Not a field of transformers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end a row when they appear in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_strings: Option<OneOrMany<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for GenerationConfig {
    type Error = ConfigError;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, ConfigError> {
        Ok(GenerationConfig {
            max_new_tokens: take(&mut fields, "max_new_tokens")?,
            max_length: take(&mut fields, "max_length")?,
            do_sample: take(&mut fields, "do_sample")?,
            temperature: take(&mut fields, "temperature")?,
            top_k: take(&mut fields, "top_k")?,
            top_p: take(&mut fields, "top_p")?,
            min_p: take(&mut fields, "min_p")?,
            repetition_penalty: take(&mut fields, "repetition_penalty")?,
            no_repeat_ngram_size: take(&mut fields, "no_repeat_ngram_size")?,
            eos_token_id: take(&mut fields, "eos_token_id")?,
            pad_token_id: take(&mut fields, "pad_token_id")?,
            bos_token_id: take(&mut fields, "bos_token_id")?,
            seed: take(&mut fields, "seed")?,
            stop_strings: take(&mut fields, "stop_strings")?,
            other: fields,
        })
    }
}

/// Removes `field` and reads it as `T`; null reads as not given.
fn take<T: serde::de::DeserializeOwned>(
    fields: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = fields.remove(field) else { return Ok(None) };
    let found = value.to_string();
    serde_json::from_value(value).map_err(|e| ConfigError::Type { field, found, reason: e.to_string() })
}

/// Overwrites the fields of `$into` that are given in `$over`.
macro_rules! take_given {
    ($into:ident, $over:ident: $($field:ident)*) => {
        $(if $over.$field.is_some() { $into.$field = $over.$field.clone(); })*
    };
}

impl GenerationConfig {
    /// Reads the text of a `generation_config.json`. Fields it does not know are kept; the values are checked by [`Self::validate`].
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|e| ConfigError::Json(e.to_string()))?;
        fields.try_into()
    }

    /// The config as `generation_config.json` holds it: given fields only.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        serde_json::to_string_pretty(self).map_err(|e| ConfigError::Json(e.to_string()))
    }

    /// This config with every field that `over` gives replaced by it. A `max_length` in `over` also sets aside this one's `max_new_tokens`.
    pub fn overridden_by(&self, over: &GenerationConfig) -> GenerationConfig {
        let mut config = self.clone();
        if over.max_length.is_some() {
            config.max_new_tokens = None;
        }
        take_given!(config, over:
            max_new_tokens max_length do_sample temperature top_k top_p min_p repetition_penalty no_repeat_ngram_size
            eos_token_id pad_token_id bos_token_id seed stop_strings);
        config.other.extend(over.other.iter().map(|(k, v)| (k.clone(), v.clone())));
        config
    }

    /// `do_sample`, or its default.
    pub fn do_sample(&self) -> bool {
        self.do_sample.unwrap_or(false)
    }

    /// `temperature`, or its default.
    pub fn temperature(&self) -> f32 {
        self.temperature.unwrap_or(1.0)
    }

    /// `top_k`, or its default; 0 is off.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(DEFAULT_TOP_K)
    }

    /// `top_p`, or its default; 1 is off.
    pub fn top_p(&self) -> f64 {
        self.top_p.unwrap_or(1.0)
    }

    /// `repetition_penalty`, or its default; 1 is off.
    pub fn repetition_penalty(&self) -> f32 {
        self.repetition_penalty.unwrap_or(1.0)
    }

    /// `no_repeat_ngram_size`, or its default; 0 is off.
    pub fn no_repeat_ngram_size(&self) -> usize {
        self.no_repeat_ngram_size.unwrap_or(0)
    }

    /// The tokens that end a row.
    pub fn eos_token_ids(&self) -> &[u32] {
        self.eos_token_id.as_ref().map_or(&[], OneOrMany::as_slice)
    }

    /// The texts that end a row.
    pub fn stop_strings(&self) -> &[String] {
        self.stop_strings.as_ref().map_or(&[], OneOrMany::as_slice)
    }

    /// The token that fills short rows: `pad_token_id`, else the first end token, else 0. What stands under padding is never looked at.
    pub fn pad_token_id(&self) -> u32 {
        self.pad_token_id
            .and_then(|id| u32::try_from(id).ok())
            .or_else(|| self.eos_token_ids().first().copied())
            .unwrap_or(0)
    }

    /// How many tokens a row of `prompt_len` tokens (its padding included) may get: `max_new_tokens`, else what `max_length` leaves,
    /// else [`DEFAULT_NEW_TOKENS`].
    pub fn new_tokens(&self, prompt_len: usize) -> Result<usize, ConfigError> {
        match (self.max_new_tokens, self.max_length) {
            (Some(new), _) => Ok(new),
            (None, Some(length)) if length > prompt_len => Ok(length - prompt_len),
            (None, Some(length)) => Err(ConfigError::Value {
                field: "max_length",
                expected: "more than the prompt's length",
                found: format!("{length}, with a prompt of {prompt_len} tokens"),
                advice: "increase it, or better, set `max_new_tokens`",
            }),
            (None, None) => Ok(DEFAULT_NEW_TOKENS),
        }
    }

    /// Refuses values that transformers refuses, and fields that would change the text and are not supported here.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_always()?;
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
        if self.stop_strings().iter().any(String::is_empty) {
            return Err(value("stop_strings", "texts of at least one character", "\"\"", "remove the empty one"));
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
        Ok(())
    }

    fn validate_unsupported(&self) -> Result<(), ConfigError> {
        let sampling = SAMPLING_ONLY.iter().filter(|_| self.do_sample());
        for &(field, neutral) in ALWAYS.iter().chain(sampling) {
            let Some(found) = self.other.get(field) else { continue };
            if !is_neutral(found, neutral) {
                return Err(ConfigError::Unsupported { field, found: found.to_string(), neutral });
            }
        }
        Ok(())
    }
}

/// Fields that change the text and are not implemented, each with the value under which it does nothing.
#[rustfmt::skip]
const ALWAYS: &[(&str, &str)] = &[
    ("num_beams",                         "1"),
    ("num_return_sequences",              "1"),
    ("min_length",                        "0"),
    ("min_new_tokens",                    "0"),
    ("max_time",                          "null"),
    ("penalty_alpha",                     "null"),
    ("dola_layers",                       "null"),
    ("encoder_repetition_penalty",        "1.0"),
    ("encoder_no_repeat_ngram_size",      "0"),
    ("bad_words_ids",                     "null"),
    ("forced_bos_token_id",               "null"),
    ("forced_eos_token_id",               "null"),
    ("remove_invalid_values",             "false"),
    ("exponential_decay_length_penalty",  "null"),
    ("suppress_tokens",                   "null"),
    ("begin_suppress_tokens",             "null"),
    ("sequence_bias",                     "null"),
    ("token_healing",                     "false"),
    ("guidance_scale",                    "1.0"),
    ("watermarking_config",               "null"),
    ("constraints",                       "null"),
    ("force_words_ids",                   "null"),
];

/// The same, for fields that transformers too looks at only when it samples.
#[rustfmt::skip]
const SAMPLING_ONLY: &[(&str, &str)] = &[
    ("typical_p",       "1.0"),
    ("top_h",           "null"),
    ("epsilon_cutoff",  "0.0"),
    ("eta_cutoff",      "0.0"),
];

fn value(field: &'static str, expected: &'static str, found: impl ToString, advice: &'static str) -> ConfigError {
    ConfigError::Value { field, expected, found: found.to_string(), advice }
}

/// Whether `found` does nothing: null, an empty list, or the neutral value (numbers compare as numbers).
fn is_neutral(found: &Value, neutral: &str) -> bool {
    match found {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(b) => neutral == if *b { "true" } else { "false" },
        Value::Number(n) => n.as_f64().is_some_and(|n| neutral.parse() == Ok(n)),
        Value::String(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> GenerationConfig {
        GenerationConfig::from_json(json.as_bytes()).unwrap()
    }

    fn problem(json: &str) -> String {
        parse(json).validate().unwrap_err().to_string()
    }

    #[test]
    fn an_empty_config_means_transformers_defaults() {
        let config = parse("{}");
        config.validate().unwrap();
        assert_eq!(config, GenerationConfig::default());
        assert!(!config.do_sample());
        assert_eq!((config.temperature(), config.top_k(), config.top_p(), config.min_p), (1.0, 50, 1.0, None));
        assert_eq!((config.repetition_penalty(), config.no_repeat_ngram_size()), (1.0, 0));
        assert_eq!(config.new_tokens(1000), Ok(20));
    }

    #[test]
    fn eos_may_be_one_or_several_and_pad_falls_back_to_it() {
        assert_eq!(parse(r#"{"eos_token_id": 2}"#).eos_token_ids(), [2]);
        let config = parse(r#"{"eos_token_id": [128001, 128008], "pad_token_id": -1, "bos_token_id": null}"#);
        assert_eq!(config.eos_token_ids(), [128001, 128008]);
        assert_eq!(config.pad_token_id(), 128001);
        assert_eq!(parse("{}").pad_token_id(), 0);
    }

    #[test]
    fn unknown_fields_survive_a_round_trip() {
        let json = r#"{"_from_model_config": true, "top_p": 0.9, "use_cache": true, "transformers_version": "5.23.0"}"#;
        let written = parse(json).to_json().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn the_callers_fields_win() {
        let file = parse(r#"{"max_new_tokens": 5, "temperature": 0.6, "do_sample": true, "seed": 1}"#);
        let config = file.overridden_by(&parse(r#"{"temperature": 0.2, "max_length": 30}"#));
        assert_eq!((config.temperature, config.do_sample, config.seed), (Some(0.2), Some(true), Some(1)));
        assert_eq!(config.new_tokens(10), Ok(20), "the caller's max_length sets aside the file's max_new_tokens");
    }

    #[test]
    fn max_new_tokens_wins_over_max_length_and_the_prompt_must_fit() {
        assert_eq!(parse(r#"{"max_new_tokens": 7, "max_length": 30}"#).new_tokens(100), Ok(7));
        assert_eq!(parse(r#"{"max_length": 30}"#).new_tokens(29), Ok(1));
        let message = parse(r#"{"max_length": 30}"#).new_tokens(30).unwrap_err().to_string();
        assert!(message.contains("30, with a prompt of 30 tokens"), "{message}");
    }

    #[test]
    fn bad_values_are_named_with_what_was_found() {
        for (json, field, found) in [
            (r#"{"max_new_tokens": 0}"#, "max_new_tokens", "0"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty", "0"),
            (r#"{"repetition_penalty": -1.5}"#, "repetition_penalty", "-1.5"),
            (r#"{"stop_strings": ["a", ""]}"#, "stop_strings", "\"\""),
            (r#"{"do_sample": true, "temperature": 0}"#, "temperature", "0"),
            (r#"{"do_sample": true, "temperature": -2.5}"#, "temperature", "-2.5"),
            (r#"{"do_sample": true, "top_p": 1.5}"#, "top_p", "1.5"),
            (r#"{"do_sample": true, "top_p": -0.1}"#, "top_p", "-0.1"),
            (r#"{"do_sample": true, "min_p": 2}"#, "min_p", "2"),
            (r#"{"num_beams": 4}"#, "num_beams", "4"),
            (r#"{"do_sample": true, "typical_p": 0.5}"#, "typical_p", "0.5"),
            (r#"{"suppress_tokens": [1]}"#, "suppress_tokens", "[1]"),
        ] {
            let message = problem(json);
            assert!(message.contains(&format!("`{field}`")) && message.contains(found), "{json}: {message}");
        }
    }

    #[test]
    fn sampling_fields_do_not_matter_to_greedy_search_and_neutral_ones_to_anybody() {
        parse(r#"{"temperature": 0, "top_p": 7, "typical_p": 0.5}"#).validate().unwrap();
        parse(r#"{"do_sample": true, "num_beams": 1, "guidance_scale": 1, "bad_words_ids": null, "typical_p": 1.0}"#)
            .validate()
            .unwrap();
        parse(r#"{"do_sample": true, "top_k": 0, "top_p": 0.0, "min_p": 1.0}"#).validate().unwrap();
    }

    #[test]
    fn broken_json_and_wrong_types_are_errors() {
        for json in ["", "[]", "{", "{}x", "\u{0}"] {
            let error = GenerationConfig::from_json(json.as_bytes()).unwrap_err();
            assert!(matches!(error, ConfigError::Json(_)), "{json}: {error}");
        }
        for (json, field, found) in [
            (r#"{"max_new_tokens": -1}"#, "max_new_tokens", "-1"),
            (r#"{"max_length": 1e15}"#, "max_length", "1000000000000000.0"),
            (r#"{"top_k": "many"}"#, "top_k", "many"),
            (r#"{"eos_token_id": -1}"#, "eos_token_id", "-1"),
        ] {
            let message = GenerationConfig::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(&format!("`{field}`")) && message.contains(found), "{json}: {message}");
        }
    }
}
