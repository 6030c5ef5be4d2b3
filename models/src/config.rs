//! `config.json`, typed and checked.
//!
//! In goes the JSON of a `config.json` as transformers 4 or 5 writes it; out comes the configuration of one architecture, in
//! which every number is sane and no two fields contradict each other, so that the model's definition needs no checks of its
//! own. Unknown fields are ignored; fields that are absent get the default that transformers gives them, except the sizes
//! without which there is no model.
//!
//! The configs are read with serde: `serde_json::from_value::<LlamaConfig>(…)` works, and `LlamaConfig::from_json` gives the
//! crate's own error.

mod fields;
mod llama;
mod qwen2;
mod rope;

pub use llama::LlamaConfig;
pub use qwen2::Qwen2Config;
pub use rope::{RopeConfig, RopeType};

use crate::{Error, Result};
use fields::Fields;
use serde::Serialize;
use serde_json::Value;

/// The activation of a feed-forward block, under transformers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(x)`; also named `swish`.
    Silu,
    /// `x * Φ(x)`, with erf.
    Gelu,
    /// The tanh approximation of [`Gelu`](Self::Gelu), written out by transformers.
    GeluNew,
    /// The tanh approximation of [`Gelu`](Self::Gelu), as PyTorch computes it.
    GeluPytorchTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The activation of that name, `None` for one that is not known.
    pub fn from_name(name: &str) -> Option<Activation> {
        Some(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" => Activation::Gelu,
            "gelu_new" => Activation::GeluNew,
            "gelu_pytorch_tanh" => Activation::GeluPytorchTanh,
            "relu" => Activation::Relu,
            _ => return None,
        })
    }

    fn read(fields: &Fields, name: &str, default: Activation) -> Result<Activation> {
        match fields.string(name)? {
            None => Ok(default),
            Some(found) => Activation::from_name(found).ok_or_else(|| {
                fields.invalid(
                    name,
                    "silu, gelu, gelu_new, gelu_pytorch_tanh or relu",
                    &Value::String(found.to_string()),
                )
            }),
        }
    }
}

/// The family of architectures that a config is of.
///
/// # Errors
/// [`Error::MissingField`] if the config does not say.
pub fn model_type(config: &Value) -> Result<&str> {
    config.get("model_type").and_then(Value::as_str).ok_or_else(|| Error::MissingField {
        model_type: "an unnamed model",
        field: "model_type".to_string(),
        expected: "the name of an architecture, such as \"llama\"".to_string(),
    })
}

/// The sizes that every decoder has, as both configs here spell them.
struct Decoder {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
}

impl Decoder {
    fn read(fields: &Fields, default_max_position: usize) -> Result<Decoder> {
        let hidden_size = fields.required_size("hidden_size", 1 << 20)?;
        let num_attention_heads = fields.required_size("num_attention_heads", 1 << 16)?;
        let num_key_value_heads = fields.size("num_key_value_heads", 1 << 16)?.unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            return Err(fields.contradictory(format!(
                "num_attention_heads {num_attention_heads} is no multiple of num_key_value_heads {num_key_value_heads}; \
                 each key/value head serves the same number of query heads"
            )));
        }
        let head_dim = match fields.size("head_dim", 1 << 16)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                return Err(fields.contradictory(format!(
                    "hidden_size {hidden_size} is no multiple of num_attention_heads {num_attention_heads}, and there is \
                     no head_dim to say how large a head is"
                )));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(fields.contradictory(format!(
                "head_dim is {head_dim} (given, or hidden_size / num_attention_heads), but rotary embedding turns pairs and \
                 needs an even one"
            )));
        }
        Ok(Decoder {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", 1 << 22)?,
            num_hidden_layers: fields.required_size("num_hidden_layers", 10_000)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(default_max_position),
            rms_norm_eps: fields.number("rms_norm_eps", 0.0..=1.0)?.unwrap_or(1e-6),
        })
    }
}
