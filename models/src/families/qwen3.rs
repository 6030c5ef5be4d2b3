//! Qwen3: Llama with a norm over each head's query and key, and in some checkpoints a window on the later layers.

use super::causal_lm;
use super::layers::{DecoderModel, SelfAttention, rotary_embedding};
use super::llama::LlamaLayer;
use crate::config::{self, DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use kiln_frontend::nn::RmsNorm;
use serde_json::Value;

/// `model_type: qwen3`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3Config {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// For each layer how far back it sees; `None` for everything.
    pub windows: Vec<Option<usize>>,
}

impl Qwen3Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Qwen3Config> {
        let fields = Fields::of("qwen3", config)?;
        let defaults = DecoderDefaults {
            max_position_embeddings: 32_768,
            head_dim: Some(128),
            bos_token_id: None,
            eos_token_id: None,
            ..DecoderDefaults::LLAMA
        };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        Ok(Qwen3Config {
            rope_parameters: RopeConfig::read(&fields, &decoder, 10_000.0)?,
            attention_bias: fields.bool("attention_bias", false)?,
            windows: config::later_layers(&fields, decoder.num_hidden_layers)?,
            decoder,
        })
    }
}

/// Traces `Qwen3ForCausalLM` or `Qwen3Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Qwen3Config::from_json(config)?;
    let d = &c.decoder;
    let head_norm = || Some(RmsNorm::new(d.head_dim, d.rms_norm_eps));
    let attention = |window| SelfAttention {
        q_norm: head_norm(),
        k_norm: head_norm(),
        ..SelfAttention::new(d, c.attention_bias, c.attention_bias, window)
    };
    let layers = c.windows.iter().map(|window| LlamaLayer::new(d, attention(*window), false)).collect();
    let model = DecoderModel::new(d, vec![rotary_embedding(&c.rope_parameters, d.head_dim)], layers);
    causal_lm::trace(task, model, &d.into(), source, options)
}
