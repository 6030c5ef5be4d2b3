//! Mistral: Llama with a window on all layers.

use super::causal_lm;
use super::layers::{DecoderModel, SelfAttention, rotary_embedding};
use super::llama::LlamaLayer;
use crate::config::{DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use serde_json::Value;

/// `model_type: mistral`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct MistralConfig {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// How far back all layers see; `None` for everything.
    pub sliding_window: Option<usize>,
}

impl MistralConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<MistralConfig> {
        let fields = Fields::of("mistral", config)?;
        let defaults = DecoderDefaults { max_position_embeddings: 131_072, ..DecoderDefaults::LLAMA };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        Ok(MistralConfig {
            rope_parameters: RopeConfig::read(&fields, &decoder, 10_000.0)?,
            sliding_window: fields.or_default("sliding_window", fields.window("sliding_window")?, 4096),
            decoder,
        })
    }
}

/// Traces `MistralForCausalLM` or `MistralModel`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = MistralConfig::from_json(config)?;
    let d = &c.decoder;
    let layer = |_| LlamaLayer::new(d, SelfAttention::new(d, false, false, c.sliding_window), false);
    let model = DecoderModel::new(
        d,
        vec![rotary_embedding(&c.rope_parameters, d.head_dim)],
        (0..d.num_hidden_layers).map(layer).collect(),
    );
    causal_lm::trace(task, model, &d.into(), source, options)
}
