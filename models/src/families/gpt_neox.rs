//! GPT-NeoX (Pythia): attention and feed-forward block side by side, LayerNorm, and heads of which only a part turns.

use super::causal_lm::{self, Decoder, Sizes};
use super::layers::{Rotation, rotary_embedding, rotate};
use crate::config::{Activation, Fields, RopeConfig, THETA};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::nn::{self, Attention, Embedding, LayerNorm, Linear, Past, Positions, RotaryEmbedding};
use kiln_frontend::{Context, Module, ParamSource, Tensor, dims};
use serde_json::Value;

/// `model_type: gpt_neox`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct GptNeoXConfig {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub hidden_size: usize,
    /// Elements between the projections of the feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The activation of the feed-forward block.
    pub hidden_act: Activation,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// What LayerNorm adds under the root.
    pub layer_norm_eps: f64,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Elements of each head that turn, from the first on.
    pub rotary_dim: usize,
    /// Whether attention and feed-forward block read the same hidden state, rather than one after the other.
    pub use_parallel_residual: bool,
    /// Whether the attention's projections have a bias.
    pub attention_bias: bool,
    /// Whether the embedding is also the output projection, and there is no `embed_out.weight`.
    pub tie_word_embeddings: bool,
}

impl GptNeoXConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<GptNeoXConfig> {
        let fields = Fields::of("gpt_neox", config)?;
        let hidden_size = fields.required_size("hidden_size", 1 << 20)?;
        let heads = fields.required_size("num_attention_heads", 1 << 16)?;
        if !hidden_size.is_multiple_of(heads) {
            return Err(fields
                .contradictory(format!("hidden_size {hidden_size} is no multiple of num_attention_heads {heads}")));
        }
        let max_position_embeddings = fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(2048);
        let theta = fields.number("rotary_emb_base", THETA)?.unwrap_or(10_000.0);
        let factor = fields.number("rotary_pct", 0.0..=1.0)?.unwrap_or(0.25);
        let (rope_parameters, rotary_dim) =
            RopeConfig::read_partial(&fields, hidden_size / heads, max_position_embeddings, theta, factor)?;
        Ok(GptNeoXConfig {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", 1 << 22)?,
            num_hidden_layers: fields.required_size("num_hidden_layers", 10_000)?,
            num_attention_heads: heads,
            hidden_act: Activation::read(&fields, "hidden_act", Activation::Gelu)?,
            max_position_embeddings,
            layer_norm_eps: fields.number("layer_norm_eps", 0.0..=1.0)?.unwrap_or(1e-5),
            rope_parameters,
            rotary_dim,
            use_parallel_residual: fields.bool("use_parallel_residual", true)?,
            attention_bias: fields.bool("attention_bias", true)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", false)?,
        })
    }
}

#[derive(Debug, Module)]
struct GptNeoXModel {
    embed_in: Embedding,
    layers: Vec<GptNeoXLayer>,
    final_layer_norm: LayerNorm,
    #[module(skip)]
    rotary_emb: RotaryEmbedding,
}

#[derive(Debug, Module)]
struct GptNeoXLayer {
    input_layernorm: LayerNorm,
    post_attention_layernorm: LayerNorm,
    attention: GptNeoXAttention,
    mlp: GptNeoXMlp,
    use_parallel_residual: bool,
}

#[derive(Debug, Module)]
struct GptNeoXAttention {
    query_key_value: Linear,
    dense: Linear,
    heads: usize,
    #[module(skip)]
    attention: Attention,
}

#[derive(Debug, Module)]
struct GptNeoXMlp {
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    #[module(skip)]
    act: nn::Activation,
}

impl GptNeoXModel {
    fn new(c: &GptNeoXConfig) -> Self {
        GptNeoXModel {
            embed_in: Embedding::new(c.vocab_size, c.hidden_size),
            layers: (0..c.num_hidden_layers).map(|_| GptNeoXLayer::new(c)).collect(),
            final_layer_norm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
            rotary_emb: rotary_embedding(&c.rope_parameters, c.rotary_dim),
        }
    }
}

impl GptNeoXLayer {
    fn new(c: &GptNeoXConfig) -> Self {
        let scale = ((c.hidden_size / c.num_attention_heads) as f64).powf(-0.5);
        GptNeoXLayer {
            input_layernorm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
            post_attention_layernorm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
            attention: GptNeoXAttention {
                query_key_value: Linear::new(c.hidden_size, 3 * c.hidden_size, c.attention_bias),
                dense: Linear::new(c.hidden_size, c.hidden_size, c.attention_bias),
                heads: c.num_attention_heads,
                attention: Attention { scale, causal: true, window: None },
            },
            mlp: GptNeoXMlp {
                dense_h_to_4h: Linear::new(c.hidden_size, c.intermediate_size, true),
                dense_4h_to_h: Linear::new(c.intermediate_size, c.hidden_size, true),
                act: c.hidden_act.into(),
            },
            use_parallel_residual: c.use_parallel_residual,
        }
    }

    fn forward(&self, x: &Tensor, rotation: &Rotation, past: &Past) -> Tensor {
        let attended = x + self.attention.forward(&self.input_layernorm.forward(x), rotation, past);
        let fed_from = if self.use_parallel_residual { x } else { &attended };
        &attended + self.mlp.forward(&self.post_attention_layernorm.forward(fed_from))
    }
}

impl GptNeoXAttention {
    fn forward(&self, x: &Tensor, rotation: &Rotation, past: &Past) -> Tensor {
        let [batch, s, _] = x.dims();
        // Each head has its query, key and value side by side.
        let [q, k, v] = self.query_key_value.forward(x).reshape(dims![batch, s, self.heads, -1]).chunk(-1);
        let attended = self.attention.forward(&rotate(&q, rotation), &rotate(&k, rotation), &v, past);
        self.dense.forward(&attended.flatten(2, 3))
    }
}

impl GptNeoXMlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.dense_4h_to_h.forward(&self.act.forward(&self.dense_h_to_4h.forward(x)))
    }
}

impl Decoder for GptNeoXModel {
    const NAME: &'static str = "gpt_neox";
    const HEAD: &'static str = "embed_out";
    // Old checkpoints hold the causal mask.
    const IGNORED: &'static [&'static str] = &["rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"];

    fn embedding(&self) -> &Embedding {
        &self.embed_in
    }

    fn forward(&self, cx: &Context, ids: &Tensor, positions: &Positions, past: &dyn Fn(usize) -> Past) -> Tensor {
        let rotation = self.rotary_emb.forward(positions);
        let mut x = self.embed_in.forward(ids);
        for (i, layer) in self.layers.iter().enumerate() {
            let past = past(i);
            x = cx.block("layer", || layer.forward(&x, &rotation, &past));
        }
        x
    }

    fn norm(&self, hidden: &Tensor) -> Tensor {
        self.final_layer_norm.forward(hidden)
    }
}

/// Traces `GPTNeoXForCausalLM` or `GPTNeoXModel`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = GptNeoXConfig::from_json(config)?;
    let sizes = Sizes {
        vocab_size: c.vocab_size,
        hidden_size: c.hidden_size,
        num_key_value_heads: c.num_attention_heads,
        head_dim: c.hidden_size / c.num_attention_heads,
        max_position_embeddings: c.max_position_embeddings,
        tie_word_embeddings: c.tie_word_embeddings,
        cache_limit: None,
    };
    causal_lm::trace(task, GptNeoXModel::new(&c), &sizes, source, options)
}
