//! The fields of a `tokenizer_config.json` that encoding asks for.

use super::Side;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Those fields, and the whole of it.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenizerConfig {
    pub fields: Fields,
    /// The file's JSON; `null` without one.
    pub json: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    pub model_max_length: Option<f64>,
    pub padding_side: Option<Side>,
    pub truncation_side: Option<Side>,
    pub pad_token_type_id: Option<u32>,
    pub model_input_names: Option<Vec<String>>,
    /// Ids that `tokenizer.json` does not have, since their tokens have other ids too: those. GGUF files have them.
    pub same_tokens: HashMap<u32, u32>,
    pub split_special_tokens: Option<bool>,
}
