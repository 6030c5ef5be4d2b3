//! From GGUF metadata and tensors to the `rope_parameters` of a config.

use super::keys::Keys;
use super::rope_freqs::{self, factors};
use crate::Result;
use serde_json::{Value, json};

/// The tensors that say how rotary embedding is scaled.
pub(super) const TENSORS: [&str; 3] = ["rope_freqs.weight", LONG_FACTORS, SHORT_FACTORS];
const LONG_FACTORS: &str = "rope_factors_long.weight";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// The parameters of a model with one rotary embedding. `partial` says whether the architecture may turn a part of each head only.
pub(super) fn rope_parameters(keys: &Keys, head_dim: Option<u64>, partial: bool) -> Result<Value> {
    let mut parameters = whole_rope_parameters(keys)?;
    let (Some(turned), Some(head_dim)) = (keys.optional("rope.dimension_count")?, head_dim) else {
        return Ok(parameters);
    };
    if partial && (1..=head_dim).contains(&turned) {
        // transformers cuts the product with head_dim down to a whole number: half an element more is safe from rounding.
        let factor = (turned as f64 + 0.5) / head_dim as f64;
        parameters["partial_rotary_factor"] = json!(factor.min(1.0));
    } else if turned != head_dim {
        return Err(keys.gguf.unsupported(format!(
            "rotary embedding turns {turned} of {head_dim} elements of a head (`{}.rope.dimension_count`); a {} model turns all of them",
            keys.prefix, keys.prefix
        )));
    }
    Ok(parameters)
}

fn whole_rope_parameters(keys: &Keys) -> Result<Value> {
    let gguf = keys.gguf;
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    if let Some(tensor) = gguf.tensor("rope_freqs.weight") {
        return rope_freqs::parameters(gguf, tensor, theta);
    }
    if let (Some(long), Some(short)) = (gguf.tensor(LONG_FACTORS), gguf.tensor(SHORT_FACTORS)) {
        return longrope(keys, theta, factors(gguf, short)?, factors(gguf, long)?);
    }
    let kind = keys.string("rope.scaling.type")?;
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?, // before llama.cpp knew other kinds
    };
    let original = keys.optional("rope.scaling.original_context_length")?;
    match (kind.unwrap_or(if factor.is_some() { "linear" } else { "none" }), factor) {
        ("none", _) => Ok(json!({ "rope_type": "default", "rope_theta": theta })),
        ("linear", Some(factor)) => Ok(json!({ "rope_type": "linear", "rope_theta": theta, "factor": factor })),
        ("yarn", Some(factor)) => yarn(keys, theta, factor, original),
        ("linear" | "yarn", None) => {
            Err(gguf.corrupt(format!("it lacks the metadata key `{}.rope.scaling.factor`", keys.prefix)))
        }
        (other, _) => Err(gguf.unsupported(format!(
            "`{}.rope.scaling.type` is `{other}`; from GGUF, kiln supports none, linear, yarn, and longrope with its factors. Use the model's safetensors folder",
            keys.prefix
        ))),
    }
}

fn longrope(keys: &Keys, theta: f64, short_factor: Vec<f32>, long_factor: Vec<f32>) -> Result<Value> {
    let original = keys.required("rope.scaling.original_context_length")?;
    let mut parameters = json!({
        "rope_type": "longrope",
        "rope_theta": theta,
        "short_factor": short_factor,
        "long_factor": long_factor,
        "original_max_position_embeddings": original,
    });
    if let Some(factor) = keys.number("rope.scaling.attn_factor")? {
        parameters["attention_factor"] = json!(factor);
    }
    Ok(parameters)
}

/// llama.cpp and transformers agree on YaRN, except for knobs that only llama.cpp has.
fn yarn(keys: &Keys, theta: f64, factor: f64, original: Option<u64>) -> Result<Value> {
    // A key, and the values at which llama.cpp computes what transformers does.
    for (key, neutral) in [("yarn_ext_factor", [1.0, -1.0]), ("yarn_log_multiplier", [0.0, 0.0])] {
        let key = format!("rope.scaling.{key}");
        if let Some(value) = keys.number(&key)?.filter(|value| !neutral.contains(value)) {
            return Err(keys.gguf.unsupported(format!(
                "`{}.{key}` is {value}; kiln supports {} only. Use the model's safetensors folder",
                keys.prefix, neutral[0]
            )));
        }
    }
    let mut parameters = json!({ "rope_type": "yarn", "rope_theta": theta, "factor": factor });
    if let Some(original) = original {
        parameters["original_max_position_embeddings"] = json!(original);
    }
    let mut attention = 1.0;
    for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"] {
        attention *= keys.number(key)?.unwrap_or(1.0);
    }
    if attention != 1.0 {
        // llama.cpp multiplies it onto YaRN's own factor; transformers takes the product.
        parameters["attention_factor"] = json!(attention * (1.0 + 0.1 * factor.max(1.0).ln()));
    }
    for beta in ["beta_fast", "beta_slow"] {
        if let Some(value) = keys.number(&format!("rope.scaling.yarn_{beta}"))? {
            parameters[beta] = json!(value);
        }
    }
    Ok(parameters)
}
