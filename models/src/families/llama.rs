//! Llama: a decoder with RMSNorm, rotary embedding, grouped attention heads and a gated feed-forward block.

use super::causal_lm;
use super::layers::{DecoderLayer, DecoderModel, Mlp, Rotation, SelfAttention, rotary_embedding};
use crate::config::{DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::nn::{Past, RmsNorm};
use kiln_frontend::{Module, ParamSource, Tensor};
use serde_json::Value;

/// `model_type: llama`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Whether gate, up and down projections have a bias.
    pub mlp_bias: bool,
}

impl LlamaConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<LlamaConfig> {
        let fields = Fields::of("llama", config)?;
        let decoder = DecoderConfig::read(&fields, &DecoderDefaults::LLAMA)?;
        Ok(LlamaConfig {
            rope_parameters: RopeConfig::read(&fields, &decoder, 10_000.0)?,
            attention_bias: fields.bool("attention_bias", false)?,
            mlp_bias: fields.bool("mlp_bias", false)?,
            decoder,
        })
    }
}

/// A layer with a norm before the attention and one before the feed-forward block.
#[derive(Debug, Module)]
pub struct LlamaLayer {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl LlamaLayer {
    /// The layer of a config around an attention, without parameters yet.
    pub fn new(d: &DecoderConfig, self_attn: SelfAttention, mlp_bias: bool) -> Self {
        LlamaLayer {
            input_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            self_attn,
            post_attention_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            mlp: Mlp::new(d, mlp_bias),
        }
    }
}

impl DecoderLayer for LlamaLayer {
    fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor {
        let x = x + self.self_attn.forward(&self.input_layernorm.forward(x), rotations, past);
        &x + self.mlp.forward(&self.post_attention_layernorm.forward(&x))
    }
}

/// Traces `LlamaForCausalLM` or `LlamaModel`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = LlamaConfig::from_json(config)?;
    let d = &c.decoder;
    let attention = || SelfAttention::new(d, c.attention_bias, c.attention_bias, None);
    let layers = (0..d.num_hidden_layers).map(|_| LlamaLayer::new(d, attention(), c.mlp_bias)).collect();
    let model = DecoderModel::new(d, vec![rotary_embedding(&c.rope_parameters, d.head_dim)], layers);
    causal_lm::trace(task, model, &d.into(), source, options)
}
