//! Gemma 2: norms before and after attention and feed-forward block, scaled embeddings, every other layer with a window, and scores and
//! logits that are capped softly.

use super::causal_lm;
use super::layers::{DecoderLayer, DecoderModel, Mlp, Rotation, SelfAttention, rotary_embedding};
use crate::config::{self, Activation, DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::nn::{Attention, Past, RmsNorm, RotaryEmbedding};
use kiln_frontend::{Module, ParamSource, Tensor};
use serde_json::Value;

/// `model_type: gemma2`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemma2Config {
    /// What all Gemmas share.
    pub gemma: GemmaConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// For each layer how far back it sees; `None` for everything.
    pub windows: Vec<Option<usize>>,
    /// What attention scores are capped by.
    pub attn_logit_softcapping: Option<f64>,
}

/// What the configs of Gemma 2 and 3 have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct GemmaConfig {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Attention scores are divided by its root.
    pub query_pre_attn_scalar: f64,
    /// What logits are capped by.
    pub final_logit_softcapping: Option<f64>,
}

const CAP: std::ops::RangeInclusive<f64> = 1e-3..=1e9;

impl Gemma2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Gemma2Config> {
        let fields = Fields::of("gemma2", config)?;
        let gemma = GemmaConfig::read(&fields, 8192, Some(30.0))?;
        let window = fields.or_default("sliding_window", fields.window("sliding_window")?, 4096);
        let cap = fields.number("attn_logit_softcapping", CAP)?;
        Ok(Gemma2Config {
            rope_parameters: RopeConfig::read(&fields, &gemma.decoder, 10_000.0)?,
            windows: config::windows(&fields, gemma.decoder.num_hidden_layers, window, |layer| layer % 2 == 0)?,
            attn_logit_softcapping: fields.or_default("attn_logit_softcapping", cap, 50.0),
            gemma,
        })
    }
}

impl GemmaConfig {
    pub(super) fn read(
        fields: &Fields,
        max_position_embeddings: usize,
        default_softcapping: Option<f64>,
    ) -> Result<GemmaConfig> {
        let defaults = DecoderDefaults {
            max_position_embeddings,
            head_dim: Some(256),
            activation: ("hidden_activation", Activation::GeluPytorchTanh),
            tie_word_embeddings: true,
            bos_token_id: Some(2),
            eos_token_id: Some(1),
            pad_token_id: Some(0),
            ..DecoderDefaults::LLAMA
        };
        if fields.bool("use_bidirectional_attention", false)? {
            let expected = "false or null: kiln has the models that write from left to right";
            return Err(fields.invalid("use_bidirectional_attention", expected, &Value::Bool(true)));
        }
        let cap = fields.number("final_logit_softcapping", CAP)?;
        Ok(GemmaConfig {
            decoder: DecoderConfig::read(fields, &defaults)?,
            attention_bias: fields.bool("attention_bias", false)?,
            query_pre_attn_scalar: fields.number("query_pre_attn_scalar", 1e-3..=1e9)?.unwrap_or(256.0),
            final_logit_softcapping: default_softcapping
                .map_or(cap, |default| fields.or_default("final_logit_softcapping", cap, default)),
        })
    }

    /// A norm with `1 + weight`, as all norms of Gemma are.
    pub(super) fn norm(&self, features: usize) -> RmsNorm {
        RmsNorm::one_plus(features, self.decoder.rms_norm_eps)
    }

    pub(super) fn attention(&self, window: Option<usize>) -> SelfAttention {
        let attention = SelfAttention::new(&self.decoder, self.attention_bias, self.attention_bias, window);
        let scale = self.query_pre_attn_scalar.powf(-0.5);
        SelfAttention { attention: Attention { scale, ..attention.attention }, ..attention }
    }

    /// The body around layers with these attentions.
    pub(super) fn model(
        &self,
        rotary_embs: Vec<RotaryEmbedding>,
        attentions: impl Iterator<Item = SelfAttention>,
    ) -> DecoderModel<GemmaLayer> {
        let d = &self.decoder;
        DecoderModel {
            norm: self.norm(d.hidden_size),
            embed_scale: Some((d.hidden_size as f64).sqrt()),
            logit_softcapping: self.final_logit_softcapping,
            ..DecoderModel::new(d, rotary_embs, attentions.map(|attention| GemmaLayer::new(self, attention)).collect())
        }
    }
}

/// A layer with a norm before and one after the attention and the feed-forward block.
#[derive(Debug, Module)]
pub struct GemmaLayer {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: Mlp,
    post_feedforward_layernorm: RmsNorm,
}

impl GemmaLayer {
    fn new(c: &GemmaConfig, self_attn: SelfAttention) -> Self {
        let norm = || c.norm(c.decoder.hidden_size);
        GemmaLayer {
            input_layernorm: norm(),
            self_attn,
            post_attention_layernorm: norm(),
            pre_feedforward_layernorm: norm(),
            mlp: Mlp::new(&c.decoder, false),
            post_feedforward_layernorm: norm(),
        }
    }
}

impl DecoderLayer for GemmaLayer {
    fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor {
        let attended = self.self_attn.forward(&self.input_layernorm.forward(x), rotations, past);
        let x = x + self.post_attention_layernorm.forward(&attended);
        let fed = self.mlp.forward(&self.pre_feedforward_layernorm.forward(&x));
        &x + self.post_feedforward_layernorm.forward(&fed)
    }
}

/// Traces `Gemma2ForCausalLM` or `Gemma2Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Gemma2Config::from_json(config)?;
    let d = &c.gemma.decoder;
    let softcapping = c.attn_logit_softcapping;
    let attentions = c.windows.iter().map(|window| SelfAttention { softcapping, ..c.gemma.attention(*window) });
    let model = c.gemma.model(vec![rotary_embedding(&c.rope_parameters, d.head_dim)], attentions);
    causal_lm::trace(task, model, &d.into(), source, options)
}
