//! OLMo 2: Llama with its norms after attention and feed-forward block instead of before, and norms over all queries and all keys.

use super::causal_lm;
use super::layers::{DecoderLayer, DecoderModel, Mlp, Rotation, rotary_embedding, rotate};
use crate::config::{DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::nn::{Attention, Linear, Past, RmsNorm};
use kiln_frontend::{Module, ParamSource, Tensor, dims};
use serde_json::Value;

/// `model_type: olmo2`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Olmo2Config {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
}

impl Olmo2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Olmo2Config> {
        let fields = Fields::of("olmo2", config)?;
        let defaults = DecoderDefaults {
            rms_norm_eps: 1e-5,
            bos_token_id: None,
            eos_token_id: Some(50_279),
            pad_token_id: Some(1),
            ..DecoderDefaults::LLAMA
        };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        Ok(Olmo2Config {
            rope_parameters: RopeConfig::read(&fields, &decoder, 10_000.0)?,
            attention_bias: fields.bool("attention_bias", false)?,
            decoder,
        })
    }
}

#[derive(Debug, Module)]
struct Olmo2Layer {
    self_attn: Olmo2Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
    post_feedforward_layernorm: RmsNorm,
}

#[derive(Debug, Module)]
struct Olmo2Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    head_dim: usize,
    #[module(skip)]
    attention: Attention,
}

impl Olmo2Layer {
    fn new(c: &Olmo2Config) -> Self {
        let (d, bias) = (&c.decoder, c.attention_bias);
        let (q, kv) = (d.num_attention_heads * d.head_dim, d.num_key_value_heads * d.head_dim);
        Olmo2Layer {
            self_attn: Olmo2Attention {
                q_proj: Linear::new(d.hidden_size, q, bias),
                k_proj: Linear::new(d.hidden_size, kv, bias),
                v_proj: Linear::new(d.hidden_size, kv, bias),
                o_proj: Linear::new(q, d.hidden_size, bias),
                q_norm: RmsNorm::new(q, d.rms_norm_eps),
                k_norm: RmsNorm::new(kv, d.rms_norm_eps),
                head_dim: d.head_dim,
                attention: Attention { scale: (d.head_dim as f64).powf(-0.5), causal: true, window: None },
            },
            post_attention_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            mlp: Mlp::new(d, false),
            post_feedforward_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
        }
    }
}

impl DecoderLayer for Olmo2Layer {
    fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor {
        let attended = self.self_attn.forward(x, &rotations[0], past);
        let x = x + self.post_attention_layernorm.forward(&attended);
        &x + self.post_feedforward_layernorm.forward(&self.mlp.forward(&x))
    }
}

impl Olmo2Attention {
    fn forward(&self, x: &Tensor, rotation: &Rotation, past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        let heads = |y: Tensor| y.reshape(dims![batch, s, -1, self.head_dim]);
        let q = rotate(&heads(self.q_norm.forward(&self.q_proj.forward(x))), rotation);
        let k = rotate(&heads(self.k_norm.forward(&self.k_proj.forward(x))), rotation);
        let v = heads(self.v_proj.forward(x));
        self.o_proj.forward(&self.attention.forward(&q, &k, &v, past).flatten(2, 3))
    }
}

/// Traces `Olmo2ForCausalLM` or `Olmo2Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Olmo2Config::from_json(config)?;
    let d = &c.decoder;
    let layers = (0..d.num_hidden_layers).map(|_| Olmo2Layer::new(&c)).collect();
    let model = DecoderModel::new(d, vec![rotary_embedding(&c.rope_parameters, d.head_dim)], layers);
    causal_lm::trace(task, model, &d.into(), source, options)
}
