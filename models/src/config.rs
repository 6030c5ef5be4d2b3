//! `config.json`, typed and checked.
//!
//! In goes the JSON of a `config.json` as transformers 4 or 5 writes it; out comes the configuration of one architecture, in
//! which every number is sane and no two fields contradict each other, so that the model's definition needs no checks of its
//! own. Unknown fields are ignored; fields that are absent get the default that transformers gives them, except the sizes
//! without which there is no model.
//!
//! Each family's config stands with its model, in [`families`](crate::families): `LlamaConfig::from_json` and its like. Here is what
//! they are made of.

mod decoder;
mod fields;
mod layer_types;
mod quantization;
mod rope;

pub use decoder::{DecoderConfig, DecoderDefaults};
pub use fields::Fields;
pub use rope::{RopeConfig, RopeType};

pub(crate) use layer_types::{later_layers, windows};
pub(crate) use quantization::{beside as quantized_beside, check_not_quantized};
pub(crate) use rope::THETA;

use crate::{Error, Result};
use serde_json::Value;

/// The activation of a feed-forward block, under transformers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`; also named `swish`.
    Silu,
    /// `x * Φ(x)`, with erf.
    Gelu,
    /// The tanh approximation of [`Gelu`](Self::Gelu), written out by transformers; also named `gelu_fast`.
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
            "gelu_new" | "gelu_fast" => Activation::GeluNew,
            "gelu_pytorch_tanh" => Activation::GeluPytorchTanh,
            "relu" => Activation::Relu,
            _ => return None,
        })
    }

    /// Reads a field that names one.
    ///
    /// # Errors
    /// [`Error::InvalidField`] for a name that is not known.
    pub fn read(fields: &Fields, name: &str, default: Activation) -> Result<Activation> {
        match fields.string(name)? {
            None => Ok(default),
            Some(found) => Activation::from_name(found).ok_or_else(|| {
                fields.invalid(
                    name,
                    "silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh or relu",
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
