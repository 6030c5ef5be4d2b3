//! From a field of the file to its value. Files write some values in more ways than one.

use super::ConfigError;
use super::values::{EarlyStopping, OneOrMany};
use kiln_core::json::shown;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What a field may hold, and how errors call it.
pub(super) trait Field: DeserializeOwned {
    const EXPECTED: &'static str;
}

macro_rules! fields {
    ($($type:ty: $expected:literal,)+) => {
        $(impl Field for $type {
            const EXPECTED: &'static str = $expected;
        })+
    };
}

fields! {
    bool: "true or false",
    usize: "a whole number from 0",
    u64: "a whole number from 0",
    i64: "a token id, or a negative number for none",
    u32: "a token id",
    f32: "a number",
    f64: "a number",
    EarlyStopping: "true, false or \"never\"",
    OneOrMany<u32>: "a token id, or a list of them",
    OneOrMany<String>: "a text, or a list of them",
    Vec<i64>: "a list of token ids",
    Vec<Vec<u32>>: "a list of lists of token ids, such as [[5, 6], [7]]",
    Vec<(Vec<u32>, f32)>: "a list of [token ids, bias], such as [[[5, 6], -2.0]]",
    (usize, f64): "[tokens, factor], such as [15, 1.1]",
}

/// Removes `field` and reads it as `T`; null reads as not given.
pub(super) fn take<T: Field>(fields: &mut Map<String, Value>, field: &'static str) -> Result<Option<T>, ConfigError> {
    let Some(value) = fields.remove(field).and_then(|value| plain(field, value)) else { return Ok(None) };
    let read = serde_json::from_value(value.clone());
    // A whole number may be written as `20.0`, also where a number need not be whole.
    let read = read.or_else(|_| serde_json::from_value(whole(value.clone())));
    read.map_err(|_| ConfigError::Type { field, found: shown(&value), expected: T::EXPECTED })
}

/// The field's value as it is meant, `None` for not given.
fn plain(field: &str, value: Value) -> Option<Value> {
    let negative = |value: &Value| value.as_f64().is_some_and(|n| n < 0.0);
    match (field, value) {
        // One token may be written as a list.
        ("bos_token_id" | "decoder_start_token_id" | "forced_bos_token_id", Value::Array(ids)) if ids.len() == 1 => {
            plain(field, ids.into_iter().next()?)
        }
        // No token has a negative number: to transformers, such a one never ends a text or begins it.
        ("bos_token_id" | "eos_token_id", id) if negative(&id) => None,
        ("eos_token_id", Value::Array(ids)) => Some(ids.into_iter().filter(|id| !negative(id)).collect()),
        // transformers only asks whether they are above 0.
        ("min_length" | "min_new_tokens" | "no_repeat_ngram_size" | "encoder_no_repeat_ngram_size", n)
            if negative(&n) =>
        {
            Some(0.into())
        }
        // Others than transformers keep all tokens at -1.
        ("top_k", n) if n.as_f64() == Some(-1.0) => Some(0.into()),
        (_, value) => Some(value),
    }
}

/// The value with every number without a fraction as an integer, as far as a length or a token could be that large.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(x) if x.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&x) => Value::from(x as u64),
            _ => Value::Number(n),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        other => other,
    }
}
