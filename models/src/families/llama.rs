//! Llama: a decoder with RMSNorm, rotary embedding, grouped attention heads and a gated feed-forward block.
//!
//! The structs mirror the checkpoint: a parameter's name is the path of the fields that lead to it. The program has two entries.
//!
//! - `forward` takes whole sequences: `input_ids`, `attention_mask` and `position_ids`, all i64 `[batch, seq]`, the last two optional;
//!   it gives `logits`, f32 `[batch, seq, vocab]`. This is transformers' `forward` without a cache.
//! - `step` continues sequences in a cache: `input_ids` i64 `[b, s]`, and for each of the b rows its slot in the cache and the number
//!   of tokens that stand there already, `slots` and `starts`, i64 `[b]`. A negative start says that the row begins with so many
//!   tokens of padding, which nobody sees. It gives the `logits` of each row's last token, f32 `[b, vocab]`, and updates the states
//!   `past_key_values.{layer}.key` and `.value`, `[rows, t, kv_heads, head_dim]`.

use crate::auto::{TraceOptions, Traced};
use crate::config::{self, LlamaConfig, RopeConfig, RopeType};
use crate::{Error, Result, Task};
use kiln_frontend::nn::{
    Activation, Attention, Embedding, Frequencies, KvCache, Linear, Past, RmsNorm, RotaryEmbedding,
};
use kiln_frontend::{Context, DType, DefaultFill, Dim, LoadOptions, Module, ParamSource, Tensor, dims};
use serde_json::Value;

/// The model with its output projection.
#[derive(Debug, Module)]
pub struct LlamaForCausalLM {
    model: LlamaModel,
    /// Absent where the embedding serves as output projection.
    lm_head: Option<Linear>,
}

#[derive(Debug, Module)]
struct LlamaModel {
    embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    #[module(skip)]
    rotary_emb: RotaryEmbedding,
}

#[derive(Debug, Module)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Debug, Module)]
struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    head_dim: usize,
    #[module(skip)]
    attention: Attention,
}

#[derive(Debug, Module)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    #[module(skip)]
    act_fn: Activation,
}

/// What sets Llama's relatives apart from it.
#[derive(Clone, Debug)]
pub struct Variations {
    /// Whether query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has one.
    pub o_bias: bool,
    /// For each layer, how far back it sees; layers beyond the list see everything.
    pub windows: Vec<Option<usize>>,
}

impl LlamaForCausalLM {
    /// The model of a config, without parameters yet.
    pub fn new(c: &LlamaConfig, v: &Variations) -> Self {
        let layers = (0..c.num_hidden_layers).map(|i| DecoderLayer::new(c, v, v.windows.get(i).copied().flatten()));
        LlamaForCausalLM {
            model: LlamaModel {
                embed_tokens: Embedding::new(c.vocab_size, c.hidden_size),
                layers: layers.collect(),
                norm: RmsNorm::new(c.hidden_size, c.rms_norm_eps),
                rotary_emb: rotary_embedding(&c.rope_parameters, c.head_dim),
            },
            lm_head: (!c.tie_word_embeddings).then(|| Linear::new(c.hidden_size, c.vocab_size, false)),
        }
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        let logits = match &self.lm_head {
            Some(lm_head) => lm_head.forward(hidden),
            None => self.model.embed_tokens.as_linear(hidden),
        };
        logits.to_dtype(DType::F32)
    }
}

impl LlamaModel {
    /// Token ids `[batch, s]` to hidden states `[batch, s, hidden]` before the last norm; `past` gives each layer's.
    fn forward(&self, cx: &Context, ids: &Tensor, position_ids: &Tensor, past: impl Fn(usize) -> Past) -> Tensor {
        let rotation = self.rotary_emb.forward(position_ids);
        let mut x = self.embed_tokens.forward(ids);
        for (i, layer) in self.layers.iter().enumerate() {
            let past = past(i);
            x = cx.block("layer", || layer.forward(&x, &rotation, &past));
        }
        x
    }
}

impl DecoderLayer {
    fn new(c: &LlamaConfig, v: &Variations, window: Option<usize>) -> Self {
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let mlp = |inputs, outputs| Linear::new(inputs, outputs, c.mlp_bias);
        DecoderLayer {
            input_layernorm: RmsNorm::new(c.hidden_size, c.rms_norm_eps),
            self_attn: SelfAttention {
                q_proj: Linear::new(c.hidden_size, q, v.qkv_bias),
                k_proj: Linear::new(c.hidden_size, kv, v.qkv_bias),
                v_proj: Linear::new(c.hidden_size, kv, v.qkv_bias),
                o_proj: Linear::new(q, c.hidden_size, v.o_bias),
                head_dim: c.head_dim,
                attention: Attention { scale: (c.head_dim as f64).powf(-0.5), causal: true, window },
            },
            post_attention_layernorm: RmsNorm::new(c.hidden_size, c.rms_norm_eps),
            mlp: Mlp {
                gate_proj: mlp(c.hidden_size, c.intermediate_size),
                up_proj: mlp(c.hidden_size, c.intermediate_size),
                down_proj: mlp(c.intermediate_size, c.hidden_size),
                act_fn: activation(c.hidden_act),
            },
        }
    }

    fn forward(&self, x: &Tensor, rotation: &(Tensor, Tensor), past: &Past) -> Tensor {
        let x = x + self.self_attn.forward(&self.input_layernorm.forward(x), rotation, past);
        &x + self.mlp.forward(&self.post_attention_layernorm.forward(&x))
    }
}

impl SelfAttention {
    fn forward(&self, x: &Tensor, (cos, sin): &(Tensor, Tensor), past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        let heads = |y: Tensor| y.reshape(dims![batch, s, -1, self.head_dim]);
        let q = heads(self.q_proj.forward(x)).rope(cos, sin);
        let k = heads(self.k_proj.forward(x)).rope(cos, sin);
        let v = heads(self.v_proj.forward(x));
        self.o_proj.forward(&self.attention.forward(&q, &k, &v, past).flatten(2, 3))
    }
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.down_proj.forward(&(self.act_fn.forward(&self.gate_proj.forward(x)) * self.up_proj.forward(x)))
    }
}

fn activation(name: config::Activation) -> Activation {
    match name {
        config::Activation::Silu => Activation::Silu,
        config::Activation::Gelu => Activation::Gelu,
        config::Activation::GeluNew | config::Activation::GeluPytorchTanh => Activation::GeluTanh,
        config::Activation::Relu => Activation::Relu,
    }
}

fn rotary_embedding(rope: &RopeConfig, head_dim: usize) -> RotaryEmbedding {
    let (inv_freq, attention_scaling) = rope.inv_freq(head_dim, None);
    let frequencies = match rope.rope_type {
        RopeType::Dynamic { factor, max_position_embeddings } => {
            Frequencies::Dynamic { original: inv_freq, theta: rope.rope_theta, factor, max_position_embeddings }
        }
        _ => Frequencies::Fixed(inv_freq),
    };
    RotaryEmbedding { frequencies, attention_scaling }
}

/// Traces `LlamaForCausalLM`.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(_: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let config = LlamaConfig::from_json(config)?;
    let bias = config.attention_bias;
    trace_with(&config, &Variations { qkv_bias: bias, o_bias: bias, windows: vec![] }, source, options)
}

/// Traces a relative of Llama.
///
/// # Errors
/// As [`trace`].
pub fn trace_with(c: &LlamaConfig, v: &Variations, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let max_seq = options.max_seq_or(c.max_position_embeddings)?;
    let mut llama = LlamaForCausalLM::new(c, v);
    let mut unused_tensors = vec![];
    let module = kiln_frontend::trace(|cx| {
        unused_tensors = cx.load(&mut llama, source, LoadOptions { dtype: options.dtype, live: false });
        cx.entry("forward", |cx| forward(cx, &llama, max_seq));
        cx.entry("step", |cx| step(cx, &llama, c, options.dtype, max_seq));
    })
    .map_err(Error::Trace)?;
    // Old checkpoints hold the inverse frequencies, and tied models may hold the embedding twice; transformers ignores both too.
    let ignored = |n: &str| n.ends_with("rotary_emb.inv_freq") || (c.tie_word_embeddings && n == "lm_head.weight");
    unused_tensors.retain(|n| !ignored(n));
    Ok(Traced { module, unused_tensors, max_seq, vocab_size: c.vocab_size })
}

fn forward(cx: &Context, llama: &LlamaForCausalLM, max_seq: i64) {
    let (batch, seq) = (cx.symbol("batch", 1..=64), cx.symbol("seq", 1..=max_seq));
    let shape = dims![batch, seq];
    let input_ids = cx.input("input_ids", DType::I64, &shape);
    let attention_mask = cx.input_or("attention_mask", DType::I64, &shape, DefaultFill::Ones);
    let position_ids = cx.input_or("position_ids", DType::I64, &shape, DefaultFill::Iota);

    let past = Past::None { mask: Some(attention_mask.ne(0)) };
    let hidden = llama.model.forward(cx, &input_ids, &position_ids, |_| past.clone());
    cx.output("logits", &llama.logits(&llama.model.norm.forward(&hidden)));
}

fn step(cx: &Context, llama: &LlamaForCausalLM, c: &LlamaConfig, dtype: DType, max_seq: i64) {
    let (b, s) = (cx.symbol("b", 1..=64), cx.symbol("s", 1..=max_seq.min(512)));
    let (rows, t) = (cx.symbol("rows", 1..=64), cx.symbol("t", 1..=max_seq));
    let input_ids = cx.input("input_ids", DType::I64, dims![b, s]);
    let slots = cx.input("slots", DType::I64, dims![b]);
    let starts = cx.input("starts", DType::I64, dims![b]);

    // Padding stands before position 0; where it is turned to does not matter.
    let position_ids = (starts.unsqueeze(-1) + cx.arange(&s)).maximum(0);
    let cache = dims![rows, t, c.num_key_value_heads, c.head_dim];
    let past = |layer| Past::Cache(KvCache::new(cx, layer, dtype, cache.clone(), &slots, &starts));
    let hidden = llama.model.forward(cx, &input_ids, &position_ids, past);
    let last = hidden.narrow(1, s - Dim::from(1), 1).squeeze(1);
    cx.output("logits", &llama.logits(&llama.model.norm.forward(&last)));
}
