//! Checkpoints that a quantisation library wrote: their tensors are packed in ways of its own.

use crate::weights::Checkpoint;
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

/// By which method a checkpoint was quantised whose config does not say so: by the file that the library left beside the weights, else by
/// the tensors that it made of one weight. Both may be left over in a checkpoint that is none, so that this is asked where a model's own
/// tensors are missing, or are of types that nothing is computed in.
pub(crate) fn beside(checkpoint: &Checkpoint) -> Option<String> {
    let path = checkpoint.path();
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let files = FILES.iter().filter_map(|(name, library)| {
        let bytes = std::fs::read(folder?.join(name)).ok()?;
        let file: Value = kiln_core::json::from_slice(&bytes).ok()?;
        Some(stated(&file, library))
    });
    files.into_iter().next().or_else(|| of_tensors(checkpoint))
}

/// Configs that libraries write beside a model's own.
const FILES: [(&str, &str); 3] =
    [("quantize_config.json", "gptq"), ("quant_config.json", "awq"), ("hf_quant_config.json", "modelopt")];

/// What such a file says: its fields, or those of `quantization`, in which modelopt names an algorithm.
fn stated(file: &Value, library: &str) -> String {
    let quantization = file.get("quantization").and_then(Value::as_object);
    let algorithm = quantization.and_then(|q| q.get("quant_algo")).and_then(Value::as_str);
    let fields = quantization.or(file.as_object()).cloned().unwrap_or_default();
    let named = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_string);
    let name = named("quant_method").unwrap_or_else(|| library.to_string());
    match algorithm {
        Some(algorithm) => format!("{name} ({algorithm})"),
        None => with_bits(name, &fields),
    }
}

/// What libraries make of a weight `X.weight`.
#[rustfmt::skip]
const TENSORS: &[(&str, &str)] = &[
    (".g_idx",            "gptq"),
    (".qweight",          "gptq or awq"),
    (".weight_packed",    "compressed-tensors"),
    (".SCB",              "bitsandbytes (8 bits)"),
    (".absmax",           "bitsandbytes (4 bits)"),
    (".quant_map",        "bitsandbytes (4 bits)"),
    (".weight_scale_2",   "modelopt"),
    (".weight_scale_inv", "fp8"),
    (".weight_scale",     "a method that scales float8 weights (fp8, compressed-tensors or modelopt)"),
    (".scales",           "a method that its files do not name"),
];

fn of_tensors(checkpoint: &Checkpoint) -> Option<String> {
    let names: Vec<&str> = checkpoint.names().chain(checkpoint.unsupported_names()).collect();
    let found = TENSORS.iter().find_map(|(end, method)| Some((names.iter().find(|n| n.ends_with(end))?, method)));
    found.map(|(name, method)| format!("{method}, as tensors like `{name}` tell"))
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
    with_bits(name.to_string(), fields)
}

fn with_bits(name: String, fields: &Map<String, Value>) -> String {
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
    let bits = match fields.get("bits").or_else(|| fields.get("w_bit")).and_then(Value::as_u64) {
        Some(bits) => Some(bits),
        None if flag("load_in_4bit") => Some(4),
        None if flag("load_in_8bit") => Some(8),
        None => None,
    };
    match bits {
        Some(bits) => format!("{name} ({bits} bits)"),
        None => name,
    }
}
