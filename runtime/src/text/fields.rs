//! The fields of a `tokenizer_config.json` that encoding asks for.

use super::{Side, TextError};
use kiln_core::json;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;

/// Those fields, and the whole of it.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenizerConfig {
    pub fields: Fields,
    /// The file's JSON; `null` without one.
    pub json: Value,
}

#[derive(Debug, Clone, Default)]
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

impl Fields {
    pub(super) fn of(config: &Value) -> Result<Fields, TextError> {
        if !config.is_object() {
            return Err(TextError::Config(format!("expected a JSON object, found {}", json::kind(config))));
        }
        Ok(Fields {
            model_max_length: field(config, "model_max_length", "a number of tokens")?,
            padding_side: field(config, "padding_side", "\"left\" or \"right\"")?,
            truncation_side: field(config, "truncation_side", "\"left\" or \"right\"")?,
            pad_token_type_id: field(config, "pad_token_type_id", "a whole number from 0")?,
            model_input_names: field(config, "model_input_names", "a list of names")?,
            same_tokens: field(config, "same_tokens", "token ids by token id")?.unwrap_or_default(),
            split_special_tokens: field(config, "split_special_tokens", "true or false")?,
        })
    }
}

/// A field of the config; `None` if it is not there or null.
fn field<T: DeserializeOwned>(config: &Value, name: &str, expected: &str) -> Result<Option<T>, TextError> {
    let Some(value) = config.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|_| TextError::Config(format!("`{name}`: expected {expected}, found {}", json::shown(value))))
}
