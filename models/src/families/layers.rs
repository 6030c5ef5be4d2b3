//! Parts that several decoders are made of.

use super::causal_lm::{Decoder, Sizes};
use crate::config::{self, DecoderConfig, RopeConfig, RopeType};
use kiln_frontend::nn::{
    Activation, Attention, Embedding, Frequencies, Linear, Past, Positions, RmsNorm, RotaryEmbedding,
};
use kiln_frontend::{Context, Module, Tensor, dims};

/// Cosines and sines of each token's angles, `[batch, s, rotary_dim / 2]`.
pub type Rotation = (Tensor, Tensor);

/// A layer of a decoder.
pub trait DecoderLayer: Module {
    /// Hidden states `[batch, s, hidden]` to the next ones. There is a rotation for each rotary embedding of the model.
    fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor;
}

/// The body of Llama and its relatives: an embedding, layers, and a norm.
#[derive(Debug, Module)]
pub struct DecoderModel<L> {
    /// The embedding of the tokens.
    pub embed_tokens: Embedding,
    /// The layers.
    pub layers: Vec<L>,
    /// The last norm.
    pub norm: RmsNorm,
    /// One as a rule, more where layers turn by different angles.
    #[module(skip)]
    pub rotary_embs: Vec<RotaryEmbedding>,
    /// What embeddings are multiplied by.
    #[module(skip)]
    pub embed_scale: Option<f64>,
    /// Logits `x` become `c * tanh(x / c)`.
    #[module(skip)]
    pub logit_softcapping: Option<f64>,
}

impl<L> DecoderModel<L> {
    /// The body of a config, without parameters yet.
    pub fn new(d: &DecoderConfig, rotary_embs: Vec<RotaryEmbedding>, layers: Vec<L>) -> Self {
        DecoderModel {
            embed_tokens: Embedding::new(d.vocab_size, d.hidden_size),
            layers,
            norm: RmsNorm::new(d.hidden_size, d.rms_norm_eps),
            rotary_embs,
            embed_scale: None,
            logit_softcapping: None,
        }
    }
}

impl<L: DecoderLayer> Decoder for DecoderModel<L> {
    fn embedding(&self) -> &Embedding {
        &self.embed_tokens
    }

    fn forward(&self, cx: &Context, ids: &Tensor, positions: &Positions, past: &dyn Fn(usize) -> Past) -> Tensor {
        let rotations: Vec<Rotation> = self.rotary_embs.iter().map(|rotary| rotary.forward(positions)).collect();
        let mut x = self.embed_tokens.forward(ids);
        if let Some(scale) = self.embed_scale {
            x = x * scale;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let past = past(i);
            x = cx.block("layer", || layer.forward(&x, &rotations, &past));
        }
        x
    }

    fn norm(&self, hidden: &Tensor) -> Tensor {
        self.norm.forward(hidden)
    }

    fn finish_logits(&self, logits: Tensor) -> Tensor {
        match self.logit_softcapping {
            Some(cap) => softcap(&logits, cap),
            None => logits,
        }
    }
}

impl From<&DecoderConfig> for Sizes {
    fn from(d: &DecoderConfig) -> Sizes {
        Sizes {
            vocab_size: d.vocab_size,
            hidden_size: d.hidden_size,
            num_key_value_heads: d.num_key_value_heads,
            head_dim: d.head_dim,
            max_position_embeddings: d.max_position_embeddings,
            tie_word_embeddings: d.tie_word_embeddings,
            cache_limit: None,
        }
    }
}

/// Attention with grouped heads and a projection each for queries, keys and values.
#[derive(Debug, Module)]
pub struct SelfAttention {
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// The output.
    pub o_proj: Linear,
    /// A norm over each head's query.
    pub q_norm: Option<RmsNorm>,
    /// A norm over each head's key.
    pub k_norm: Option<RmsNorm>,
    /// Elements of a head.
    pub head_dim: usize,
    /// By which of the model's rotations queries and keys are turned; `None` for not at all.
    #[module(skip)]
    pub rotation: Option<usize>,
    /// How queries see keys.
    #[module(skip)]
    pub attention: Attention,
    /// Scores `x` become `c * tanh(x / c)`.
    #[module(skip)]
    pub softcapping: Option<f64>,
}

impl SelfAttention {
    /// As Llama has it, with a window; without parameters yet. `qkv_bias` is for the first three projections, `o_bias` for the last.
    pub fn new(d: &DecoderConfig, qkv_bias: bool, o_bias: bool, window: Option<usize>) -> Self {
        let (q, kv) = (d.num_attention_heads * d.head_dim, d.num_key_value_heads * d.head_dim);
        SelfAttention {
            q_proj: Linear::new(d.hidden_size, q, qkv_bias),
            k_proj: Linear::new(d.hidden_size, kv, qkv_bias),
            v_proj: Linear::new(d.hidden_size, kv, qkv_bias),
            o_proj: Linear::new(q, d.hidden_size, o_bias),
            q_norm: None,
            k_norm: None,
            head_dim: d.head_dim,
            rotation: Some(0),
            attention: Attention { scale: (d.head_dim as f64).powf(-0.5), causal: true, window },
            softcapping: None,
        }
    }

    /// Hidden states `[batch, s, hidden]` to what each token gathers from those before it, of the same shape.
    pub fn forward(&self, x: &Tensor, rotations: &[Rotation], past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        let heads = |y: Tensor| y.reshape(dims![batch, s, -1, self.head_dim]);
        let turned = |y: Tensor, norm: &Option<RmsNorm>| {
            let y = norm.as_ref().map_or(y.clone(), |norm| norm.forward(&y));
            self.rotation.and_then(|i| rotations.get(i)).map_or(y.clone(), |rotation| rotate(&y, rotation))
        };
        let q = turned(heads(self.q_proj.forward(x)), &self.q_norm);
        let k = turned(heads(self.k_proj.forward(x)), &self.k_norm);
        let v = heads(self.v_proj.forward(x));
        let y = match self.softcapping {
            Some(cap) => self.attention.forward_with(&q, &k, &v, past, None, |scores| softcap(&scores, cap)),
            None => self.attention.forward(&q, &k, &v, past),
        };
        self.o_proj.forward(&y.flatten(2, 3))
    }
}

/// A gated feed-forward block: `down(act(gate(x)) * up(x))`.
#[derive(Debug, Module)]
pub struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    act_fn: Activation,
}

impl Mlp {
    /// The block of a config, without parameters yet.
    pub fn new(d: &DecoderConfig, bias: bool) -> Self {
        Mlp {
            gate_proj: Linear::new(d.hidden_size, d.intermediate_size, bias),
            up_proj: Linear::new(d.hidden_size, d.intermediate_size, bias),
            down_proj: Linear::new(d.intermediate_size, d.hidden_size, bias),
            act_fn: d.hidden_act.into(),
        }
    }

    /// `[.., hidden]` to the same.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.down_proj.forward(&(self.act_fn.forward(&self.gate_proj.forward(x)) * self.up_proj.forward(x)))
    }
}

/// Queries or keys `[batch, s, heads, head_dim]` with their first elements turned, as many as the rotation has angles for.
pub fn rotate(x: &Tensor, (cos, sin): &Rotation) -> Tensor {
    let (turned, head_dim) = (cos.dim(-1) * 2.into(), x.dim(-1));
    if turned == head_dim {
        return x.rope(cos, sin);
    }
    x.narrow(-1, 0, &turned).rope(cos, sin).cat(&[&x.narrow(-1, &turned, head_dim - turned.clone())], -1)
}

/// `cap * tanh(x / cap)`: what is far beyond the cap comes close to it.
pub fn softcap(x: &Tensor, cap: f64) -> Tensor {
    (x / cap).tanh() * cap
}

impl From<config::Activation> for Activation {
    fn from(name: config::Activation) -> Activation {
        match name {
            config::Activation::Silu => Activation::Silu,
            config::Activation::Gelu => Activation::Gelu,
            config::Activation::GeluNew | config::Activation::GeluPytorchTanh => Activation::GeluTanh,
            config::Activation::Relu => Activation::Relu,
        }
    }
}

/// The rotary embedding of a config, for the first `rotary_dim` elements of each head.
pub fn rotary_embedding(rope: &RopeConfig, rotary_dim: usize) -> RotaryEmbedding {
    let (inv_freq, attention_scaling) = rope.inv_freq(rotary_dim, None);
    let frequencies = match rope.rope_type {
        RopeType::Dynamic { factor, max_position_embeddings } => {
            Frequencies::Dynamic { original: inv_freq, theta: rope.rope_theta, factor, max_position_embeddings }
        }
        RopeType::LongRope { original_max_position_embeddings, .. } => {
            let (long, _) = rope.inv_freq(rotary_dim, Some(original_max_position_embeddings + 1));
            Frequencies::LongRope { short: inv_freq, long, original_max_position_embeddings }
        }
        _ => Frequencies::Fixed(inv_freq),
    };
    RotaryEmbedding { frequencies, attention_scaling }
}
