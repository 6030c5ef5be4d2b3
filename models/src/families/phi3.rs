//! Phi-3: Llama with one projection for queries, keys and values and one for gate and up, and in some checkpoints heads of which only a
//! part turns.

use super::causal_lm::{self, Sizes};
use super::layers::{DecoderLayer, DecoderModel, Rotation, rotary_embedding, rotate};
use crate::config::{DecoderConfig, DecoderDefaults, Fields, RopeConfig, RopeType};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, Attention, Linear, Past, RmsNorm};
use kiln_frontend::{Module, ParamSource, Tensor, dims};
use serde_json::{Value, json};

/// `model_type: phi3`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Phi3Config {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Elements of each head that turn, from the first on.
    pub rotary_dim: usize,
    /// How far back all layers see; `None` for everything.
    pub sliding_window: Option<usize>,
}

impl Phi3Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Phi3Config> {
        // transformers' Phi3Config has this field with a default, and it goes over the one in `rope_parameters`.
        let mut config = config.clone();
        if let Some(object) = config.as_object_mut() {
            let original = object.entry("original_max_position_embeddings").or_insert(Value::Null);
            if original.is_null() {
                *original = json!(4096);
            }
        }
        let fields = Fields::of("phi3", &config)?;
        let defaults = DecoderDefaults {
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-5,
            eos_token_id: Some(32_000),
            pad_token_id: Some(32_000),
            ..DecoderDefaults::LLAMA
        };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        let (rope_parameters, rotary_dim) =
            RopeConfig::read_partial(&fields, decoder.head_dim, decoder.max_position_embeddings, 10_000.0, 1.0)?;
        let sliding_window = fields.window("sliding_window")?;
        Ok(Phi3Config { decoder, rope_parameters, rotary_dim, sliding_window })
    }
}

#[derive(Debug, Module)]
struct Phi3Layer {
    input_layernorm: RmsNorm,
    self_attn: Phi3Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Phi3Mlp,
}

#[derive(Debug, Module)]
struct Phi3Attention {
    qkv_proj: Linear,
    o_proj: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    #[module(skip)]
    attention: Attention,
}

#[derive(Debug, Module)]
struct Phi3Mlp {
    gate_up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    act_fn: Activation,
}

impl Phi3Layer {
    fn new(c: &Phi3Config) -> Self {
        let d = &c.decoder;
        let (heads, kv_heads, head_dim) = (d.num_attention_heads, d.num_key_value_heads, d.head_dim);
        let scale = (head_dim as f64).powf(-0.5);
        Phi3Layer {
            input_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            self_attn: Phi3Attention {
                qkv_proj: Linear::new(d.hidden_size, (heads + 2 * kv_heads) * head_dim, false),
                o_proj: Linear::new(heads * head_dim, d.hidden_size, false),
                heads,
                kv_heads,
                head_dim,
                attention: Attention { scale, causal: true, window: c.sliding_window },
            },
            post_attention_layernorm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            mlp: Phi3Mlp {
                gate_up_proj: Linear::new(d.hidden_size, 2 * d.intermediate_size, false),
                down_proj: Linear::new(d.intermediate_size, d.hidden_size, false),
                act_fn: d.hidden_act.into(),
            },
        }
    }
}

impl DecoderLayer for Phi3Layer {
    fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor {
        let x = x + self.self_attn.forward(&self.input_layernorm.forward(x), &rotations[0], past);
        &x + self.mlp.forward(&self.post_attention_layernorm.forward(&x))
    }
}

impl Phi3Attention {
    fn forward(&self, x: &Tensor, rotation: &Rotation, past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        let (heads, kv_heads) = (self.heads, self.kv_heads);
        let qkv = self.qkv_proj.forward(x).reshape(dims![batch, s, heads + 2 * kv_heads, self.head_dim]);
        let q = rotate(&qkv.narrow(2, 0, heads), rotation);
        let k = rotate(&qkv.narrow(2, heads, kv_heads), rotation);
        let v = qkv.narrow(2, heads + kv_heads, kv_heads);
        self.o_proj.forward(&self.attention.forward(&q, &k, &v, past).flatten(2, 3))
    }
}

impl Phi3Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        let [gate, up] = self.gate_up_proj.forward(x).chunk(-1);
        self.down_proj.forward(&(up * self.act_fn.forward(&gate)))
    }
}

/// Traces `Phi3ForCausalLM` or `Phi3Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Phi3Config::from_json(config)?;
    let d = &c.decoder;
    let layers = (0..d.num_hidden_layers).map(|_| Phi3Layer::new(&c)).collect();
    let model = DecoderModel::new(d, vec![rotary_embedding(&c.rope_parameters, c.rotary_dim)], layers);
    // What the short factors turned does not serve a sequence that the long ones are for. Of all families with LongRoPE, transformers
    // reads the sequence anew in Phi-3's alone.
    let cache_limit = match c.rope_parameters.rope_type {
        RopeType::LongRope { original_max_position_embeddings, .. } => Some(original_max_position_embeddings),
        _ => None,
    };
    causal_lm::trace(task, model, &Sizes { cache_limit, ..d.into() }, source, options)
}
