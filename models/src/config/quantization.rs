//! Checkpoints that a quantisation library wrote: their tensors are packed in ways of its own.

use crate::{Error, Result};
use serde_json::{Map, Value};

/// Refuses a config with a `quantization_config`, before anything is said about tensors that are other ones than the model's. Transformers
/// writes it into `config.json`, or a multimodal model's into that of its text model; compressed-tensors' older name is
/// `compression_config`.
pub(crate) fn check_not_quantized(config: &Value) -> Result<()> {
    let places = [Some(config), config.get("text_config")].into_iter().flatten();
    let mut found =
        places.flat_map(|c| ["quantization_config", "compression_config"].map(|name| c.get(name))).flatten();
    match found.find_map(Value::as_object).filter(|fields| !fields.values().all(Value::is_null)) {
        Some(fields) => Err(Error::Quantized { method: method(fields) }),
        None => Ok(()),
    }
}

/// The method, and as far as its config says how many bits it leaves.
fn method(fields: &Map<String, Value>) -> String {
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
    let name = match fields.get("quant_method").and_then(Value::as_str) {
        Some(name) => name,
        // Old ones of bitsandbytes do not say.
        None if flag("load_in_4bit") || flag("load_in_8bit") => "bitsandbytes",
        None => "a method that its quantization_config does not name",
    };
    let bits = match fields.get("bits").or_else(|| fields.get("w_bit")).and_then(Value::as_u64) {
        Some(bits) => Some(bits),
        None if flag("load_in_4bit") => Some(4),
        None if flag("load_in_8bit") => Some(8),
        None => None,
    };
    bits.map_or_else(|| name.to_string(), |bits| format!("{name} ({bits} bits)"))
}
