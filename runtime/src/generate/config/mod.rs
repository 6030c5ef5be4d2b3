//! How to generate: the options of one call, in the words of `generation_config.json`.
//!
//! In comes the file's JSON, or options set by hand; out goes a [`GenerationConfig`] whose unset fields mean transformers' defaults.
//! Layers combine with [`GenerationConfig::overridden_by`] (what the caller says over what the checkpoint says), and
//! [`GenerationConfig::validate`] refuses what transformers refuses, and also what would change the text but is not supported here:
//! an option is never ignored silently.

mod error;
mod file;
mod read;
mod validate;
mod values;

pub use error::ConfigError;
pub use file::FILE_NAME;
pub use values::{EarlyStopping, OneOrMany};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// New tokens when neither `max_new_tokens` nor `max_length` is given.
pub const DEFAULT_NEW_TOKENS: usize = 20;
/// `top_k` when it is not given: sampling looks at the 50 best tokens.
pub const DEFAULT_TOP_K: usize = 50;

/// Declares the fields once, for the struct, for reading and for combining.
macro_rules! generation_config {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// The options of a generation. A field left `None` means the default named with it; the fields not listed are kept in `other`.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "Map<String, Value>")]
        pub struct GenerationConfig {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
            /// Every other field of the file, kept as it is.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }

        impl TryFrom<Map<String, Value>> for GenerationConfig {
            type Error = ConfigError;

            fn try_from(mut fields: Map<String, Value>) -> Result<Self, ConfigError> {
                Ok(GenerationConfig { $($field: read::take(&mut fields, stringify!($field))?,)* other: fields })
            }
        }

        impl GenerationConfig {
            /// This config with every field that `over` gives replaced by it. A `max_length` in `over` also sets aside this one's
            /// `max_new_tokens`, and a `min_length` its `min_new_tokens`.
            pub fn overridden_by(&self, over: &GenerationConfig) -> GenerationConfig {
                let mut config = self.clone();
                if over.max_length.is_some() {
                    config.max_new_tokens = None;
                }
                if over.min_length.is_some() {
                    config.min_new_tokens = None;
                }
                $(if over.$field.is_some() { config.$field = over.$field.clone(); })*
                config.other.extend(over.other.iter().map(|(k, v)| (k.clone(), v.clone())));
                config
            }
        }
    };
}

generation_config! {
    /// Most new tokens per row; over `max_length` where both are given.
    max_new_tokens: usize,
    /// Most tokens per row, prompt (and padding that came with it) included. Default: 20 new tokens.
    max_length: usize,
    /// Fewest new tokens per row: no end token before; over `min_length` where both are given. Default: 0.
    min_new_tokens: usize,
    /// Fewest tokens per row, prompt included. Default: 0.
    min_length: usize,
    /// Seconds after which no further step is taken. Default: no limit.
    max_time: f64,
    /// Texts that end a row when they appear in it.
    stop_strings: OneOrMany<String>,
    /// Draw from the distribution instead of taking the best token. Default: false.
    do_sample: bool,
    /// Beams per prompt. Default: 1 (no beam search).
    num_beams: usize,
    /// Beams: the score of a row is divided by its number of new tokens to this power. Default: 1.
    length_penalty: f64,
    /// Beams: when the search ends. Default: false.
    early_stopping: EarlyStopping,
    /// Rows per prompt, for beams and sampling. Default: 1.
    num_return_sequences: usize,
    /// Divides the logits before sampling. Default: 1.
    temperature: f32,
    /// Sampling keeps this many best tokens; 0 keeps all, which files may write as -1. Default: 50.
    top_k: usize,
    /// Sampling keeps the smallest set of best tokens whose probabilities reach this. Default: 1 (all).
    top_p: f64,
    /// Sampling drops tokens less probable than this times the best one. Default: off.
    min_p: f32,
    /// Sampling keeps as many best tokens as hold this share of the distribution's entropy. Default: off.
    top_h: f64,
    /// Sampling keeps the tokens nearest to the expected surprise whose probabilities reach this. Default: 1 (all).
    typical_p: f64,
    /// Sampling drops tokens less probable than this. Default: 0 (off).
    epsilon_cutoff: f64,
    /// Sampling drops tokens less probable than this, or than a bound that falls with the entropy. Default: 0 (off).
    eta_cutoff: f64,
    /// Above 1, tokens that already stand in the row become less likely. Default: 1 (off).
    repetition_penalty: f32,
    /// No n-gram of this size occurs twice in a row. Default: 0 (off).
    no_repeat_ngram_size: usize,
    /// Above 1, tokens of the prompt, or of what an encoder takes, become likelier. Default: 1 (off).
    encoder_repetition_penalty: f64,
    /// No n-gram of this size comes over from the prompt, or from what an encoder takes. Default: 0 (off).
    encoder_no_repeat_ngram_size: usize,
    /// Sequences of tokens that do not occur. Default: none.
    bad_words_ids: Vec<Vec<u32>>,
    /// What is added to the logit of a sequence's last token where the others stand before it. Default: none.
    sequence_bias: Vec<(Vec<u32>, f32)>,
    /// Tokens that do not occur; those outside of the vocabulary do nothing. Default: none.
    suppress_tokens: Vec<i64>,
    /// Tokens that are not the first new one. Default: none.
    begin_suppress_tokens: Vec<i64>,
    /// The token after a prompt of one token. Default: none.
    forced_bos_token_id: u32,
    /// The last token of a row that reaches the limit. Default: none.
    forced_eos_token_id: OneOrMany<u32>,
    /// After that many new tokens the end tokens become likelier, by that factor per token. Default: off.
    exponential_decay_length_penalty: (usize, f64),
    /// Replace NaN and infinities of the model by numbers instead of failing. Default: false.
    remove_invalid_values: bool,
    /// Normalise the processed logits, which beam scores are made of. Default: false.
    renormalize_logits: bool,
    /// The tokens that end a row.
    eos_token_id: OneOrMany<u32>,
    /// The token that fills short rows. Some checkpoints write a negative number for "none".
    pad_token_id: i64,
    /// The token a text begins with.
    bos_token_id: u32,
    /// Encoder-decoders: the token that the decoder begins with. Default: that of the model's `config.json`, else `bos_token_id`.
    decoder_start_token_id: u32,
    /// The seed of sampling. Default: drawn anew for every call. Not a field of transformers.
    seed: u64,
}

impl GenerationConfig {
    /// `do_sample`, or its default.
    pub fn do_sample(&self) -> bool {
        self.do_sample.unwrap_or(false)
    }

    /// `num_beams`, or its default; 1 is no beam search.
    pub fn num_beams(&self) -> usize {
        self.num_beams.unwrap_or(1)
    }

    /// `num_return_sequences`, or its default.
    pub fn num_return_sequences(&self) -> usize {
        self.num_return_sequences.unwrap_or(1)
    }

    /// Rows of the cache that one prompt takes: a beam or a returned sequence each.
    pub fn rows_per_prompt(&self) -> usize {
        self.num_beams().max(self.num_return_sequences())
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
}

#[cfg(test)]
mod tests;
