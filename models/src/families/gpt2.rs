//! GPT-2: learned positions, LayerNorm, one projection for queries, keys and values, and linear layers whose weights are `[in, out]`.

use super::causal_lm::{self, Decoder, Sizes};
use crate::config::{Activation, Fields};
use crate::traced::{TraceOptions, Traced};
use crate::{Error, Result, Task};
use kiln_frontend::nn::{self, Attention, Embedding, LayerNorm, Past, Positions};
use kiln_frontend::{Context, Module, Param, ParamSource, Tensor, dims};
use serde_json::Value;

/// `model_type: gpt2`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpt2Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Rows of the position embedding: the longest sequence that there can be.
    pub n_positions: usize,
    /// Elements of a hidden state.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Heads; divides `n_embd`.
    pub n_head: usize,
    /// Elements between the projections of the feed-forward block; four times `n_embd` unless the config says otherwise.
    pub n_inner: usize,
    /// The activation of the feed-forward block.
    pub activation_function: Activation,
    /// What LayerNorm adds under the root.
    pub layer_norm_epsilon: f64,
    /// Whether attention scores are divided by the root of a head's size.
    pub scale_attn_weights: bool,
    /// Whether they are also divided by the layer's number, from 1 on.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the embedding is also the output projection.
    pub tie_word_embeddings: bool,
}

impl Gpt2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::InvalidField`] and [`Error::ContradictoryFields`] name what is wrong.
    pub fn from_json(config: &Value) -> Result<Gpt2Config> {
        let fields = Fields::of("gpt2", config)?;
        let n_embd = fields.required_size("n_embd", 1 << 20)?;
        let n_head = fields.required_size("n_head", 1 << 16)?;
        if !n_embd.is_multiple_of(n_head) {
            return Err(fields.contradictory(format!("n_embd {n_embd} is no multiple of n_head {n_head}")));
        }
        if fields.bool("add_cross_attention", false)? {
            let expected = "false: kiln has the model without an encoder beside it";
            return Err(fields.invalid("add_cross_attention", expected, &Value::Bool(true)));
        }
        Ok(Gpt2Config {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            n_positions: fields.size("n_positions", 1 << 28)?.unwrap_or(1024),
            n_embd,
            n_layer: fields.required_size("n_layer", 10_000)?,
            n_head,
            n_inner: fields.size("n_inner", 1 << 22)?.unwrap_or(4 * n_embd),
            activation_function: Activation::read(&fields, "activation_function", Activation::GeluNew)?,
            layer_norm_epsilon: fields.number("layer_norm_epsilon", 0.0..=1.0)?.unwrap_or(1e-5),
            scale_attn_weights: fields.bool("scale_attn_weights", true)?,
            scale_attn_by_inverse_layer_idx: fields.bool("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
        })
    }
}

#[derive(Debug, Module)]
struct Gpt2Model {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Gpt2Block>,
    ln_f: LayerNorm,
}

#[derive(Debug, Module)]
struct Gpt2Block {
    ln_1: LayerNorm,
    attn: Gpt2Attention,
    ln_2: LayerNorm,
    mlp: Gpt2Mlp,
}

#[derive(Debug, Module)]
struct Gpt2Attention {
    c_attn: Conv1D,
    c_proj: Conv1D,
    heads: usize,
    #[module(skip)]
    attention: Attention,
}

#[derive(Debug, Module)]
struct Gpt2Mlp {
    c_fc: Conv1D,
    c_proj: Conv1D,
    #[module(skip)]
    act: nn::Activation,
}

/// A linear layer, under the name that OpenAI gave it: the weight is `[in, out]`, or `[out, in]` in a checkpoint that comes from GGUF.
#[derive(Debug, Module)]
struct Conv1D {
    weight: Param,
    bias: Param,
    transposed: bool,
}

impl Conv1D {
    fn new(inputs: usize, outputs: usize, transposed: bool) -> Self {
        let shape = if transposed { [outputs, inputs] } else { [inputs, outputs] };
        Conv1D { weight: Param::new(shape), bias: Param::new([outputs]), transposed }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.beside(x);
        let y = if self.transposed { x.linear(&weight) } else { x.matmul(&weight) };
        y + self.bias.beside(x)
    }
}

impl Gpt2Model {
    fn new(c: &Gpt2Config, transposed: bool) -> Self {
        Gpt2Model {
            wte: Embedding::new(c.vocab_size, c.n_embd),
            wpe: Embedding::new(c.n_positions, c.n_embd),
            h: (0..c.n_layer).map(|layer| Gpt2Block::new(c, layer, transposed)).collect(),
            ln_f: LayerNorm::new(c.n_embd, c.layer_norm_epsilon),
        }
    }
}

impl Gpt2Block {
    fn new(c: &Gpt2Config, layer: usize, transposed: bool) -> Self {
        let linear = |inputs, outputs| Conv1D::new(inputs, outputs, transposed);
        let mut scale = 1.0;
        if c.scale_attn_weights {
            scale /= ((c.n_embd / c.n_head) as f64).sqrt();
        }
        if c.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f64;
        }
        Gpt2Block {
            ln_1: LayerNorm::new(c.n_embd, c.layer_norm_epsilon),
            attn: Gpt2Attention {
                c_attn: linear(c.n_embd, 3 * c.n_embd),
                c_proj: linear(c.n_embd, c.n_embd),
                heads: c.n_head,
                attention: Attention { scale, causal: true, window: None },
            },
            ln_2: LayerNorm::new(c.n_embd, c.layer_norm_epsilon),
            mlp: Gpt2Mlp {
                c_fc: linear(c.n_embd, c.n_inner),
                c_proj: linear(c.n_inner, c.n_embd),
                act: c.activation_function.into(),
            },
        }
    }

    fn forward(&self, x: &Tensor, past: &Past) -> Tensor {
        let x = x + self.attn.forward(&self.ln_1.forward(x), past);
        &x + self.mlp.forward(&self.ln_2.forward(&x))
    }
}

impl Gpt2Attention {
    fn forward(&self, x: &Tensor, past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        let [q, k, v] = self.c_attn.forward(x).chunk(-1).map(|y| y.reshape(dims![batch, s, self.heads, -1]));
        self.c_proj.forward(&self.attention.forward(&q, &k, &v, past).flatten(2, 3))
    }
}

impl Gpt2Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.c_proj.forward(&self.act.forward(&self.c_fc.forward(x)))
    }
}

impl Decoder for Gpt2Model {
    const NAME: &'static str = "transformer";
    // Old checkpoints hold the causal mask.
    const IGNORED: &'static [&'static str] = &[".attn.bias", ".attn.masked_bias"];

    fn embedding(&self) -> &Embedding {
        &self.wte
    }

    fn forward(&self, cx: &Context, ids: &Tensor, positions: &Positions, past: &dyn Fn(usize) -> Past) -> Tensor {
        let mut x = self.wte.forward(ids) + self.wpe.forward(positions.ids());
        for (i, block) in self.h.iter().enumerate() {
            let past = past(i);
            x = cx.block("layer", || block.forward(&x, &past));
        }
        x
    }

    fn norm(&self, hidden: &Tensor) -> Tensor {
        self.ln_f.forward(hidden)
    }
}

/// Traces `GPT2LMHeadModel` or `GPT2Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense (no sequence is longer than the positions that were learned), and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Gpt2Config::from_json(config)?;
    if let Some(max_seq) = options.max_seq.filter(|max_seq| *max_seq > c.n_positions) {
        return Err(Error::InvalidOption {
            option: "max_seq",
            expected: format!("a length from 1 to {}, the positions that the model has learned", c.n_positions),
            found: max_seq.to_string(),
        });
    }
    let sizes = Sizes {
        vocab_size: c.vocab_size,
        hidden_size: c.n_embd,
        num_key_value_heads: c.n_head,
        head_dim: c.n_embd / c.n_head,
        max_position_embeddings: c.n_positions,
        tie_word_embeddings: c.tie_word_embeddings,
        cache_limit: None,
    };
    // The projection to queries, keys and values is no square: its shape tells.
    let names = ["transformer.h.0.attn.c_attn.weight", "h.0.attn.c_attn.weight"];
    let shape = names.iter().find_map(|name| source.lookup(name)).map(|(_, shape)| shape);
    let transposed = shape == Some(vec![3 * c.n_embd, c.n_embd]);
    causal_lm::trace(task, Gpt2Model::new(&c, transposed), &sizes, source, options)
}
