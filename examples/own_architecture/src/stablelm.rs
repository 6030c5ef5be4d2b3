//! StableLM: Llama with LayerNorm, of whose heads only a part turns.

use kiln_frontend::nn::{Embedding, LayerNorm, Past, Positions, RotaryEmbedding};
use kiln_frontend::{Context, Module, ParamSource, Tensor};
use kiln_models::auto::{self, TraceOptions, Traced};
use kiln_models::config::{DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use kiln_models::families::causal_lm::{self, Decoder};
use kiln_models::families::layers::{Mlp, Rotation, SelfAttention, rotary_embedding};
use kiln_models::{Result, Task};
use serde_json::Value;

/// Makes `model_type: stablelm` known.
pub fn register() {
    auto::register("stablelm", &[Task::Base, Task::CausalLm], trace);
}

/// `config.json`, checked, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct StableLmConfig {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Elements of each head that turn, from the first on.
    pub rotary_dim: usize,
    /// What LayerNorm adds under the root.
    pub layer_norm_eps: f64,
    /// Whether q, k and v projections have a bias.
    pub use_qkv_bias: bool,
    /// Whether attention and feed-forward block read the same normed state, rather than one after the other.
    pub use_parallel_residual: bool,
}

impl StableLmConfig {
    /// Reads a `config.json`.
    pub fn from_json(config: &Value) -> Result<StableLmConfig> {
        let fields = Fields::of("stablelm", config)?;
        if fields.bool("qk_layernorm", false)? {
            return Err(fields.invalid(
                "qk_layernorm",
                "false: norms of single heads are not written yet",
                &true.into(),
            ));
        }
        let defaults = DecoderDefaults { max_position_embeddings: 4096, ..DecoderDefaults::LLAMA };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        let (rope_parameters, rotary_dim) =
            RopeConfig::read_partial(&fields, decoder.head_dim, decoder.max_position_embeddings, 10_000.0, 0.25)?;
        Ok(StableLmConfig {
            decoder,
            rope_parameters,
            rotary_dim,
            layer_norm_eps: fields.number("layer_norm_eps", 0.0..=1.0)?.unwrap_or(1e-5),
            use_qkv_bias: fields.bool("use_qkv_bias", false)?,
            use_parallel_residual: fields.bool("use_parallel_residual", false)?,
        })
    }
}

// Fields have the checkpoint's names: `model.layers.0.self_attn.q_proj.weight`.
#[derive(Debug, Module)]
struct StableLmModel {
    embed_tokens: Embedding,
    layers: Vec<StableLmLayer>,
    norm: LayerNorm,
    #[module(skip)]
    rotary_emb: RotaryEmbedding,
}

#[derive(Debug, Module)]
struct StableLmLayer {
    input_layernorm: LayerNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: Option<LayerNorm>,
    mlp: Mlp,
}

impl StableLmLayer {
    fn new(c: &StableLmConfig) -> Self {
        let norm = || LayerNorm::new(c.decoder.hidden_size, c.layer_norm_eps);
        StableLmLayer {
            input_layernorm: norm(),
            self_attn: SelfAttention::new(&c.decoder, c.use_qkv_bias, false, None),
            post_attention_layernorm: (!c.use_parallel_residual).then(norm),
            mlp: Mlp::new(&c.decoder, false),
        }
    }

    /// Hidden states `[batch, s, hidden]` to the next ones.
    fn forward(&self, x: &Tensor, rotation: &Rotation, past: &Past) -> Tensor {
        let normed = self.input_layernorm.forward(x);
        let attended = x + self.self_attn.forward(&normed, std::slice::from_ref(rotation), past);
        let fed = match &self.post_attention_layernorm {
            Some(norm) => norm.forward(&attended),
            None => normed,
        };
        &attended + self.mlp.forward(&fed)
    }
}

impl Decoder for StableLmModel {
    fn embedding(&self) -> &Embedding {
        &self.embed_tokens
    }

    fn forward(&self, cx: &Context, ids: &Tensor, positions: &Positions, past: &dyn Fn(usize) -> Past) -> Tensor {
        let rotation = self.rotary_emb.forward(positions);
        let mut x = self.embed_tokens.forward(ids);
        for (i, layer) in self.layers.iter().enumerate() {
            let past = past(i);
            x = cx.block("layer", || layer.forward(&x, &rotation, &past));
        }
        x
    }

    fn norm(&self, hidden: &Tensor) -> Tensor {
        self.norm.forward(hidden)
    }
}

/// Traces `StableLmForCausalLM` or `StableLmModel`.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = StableLmConfig::from_json(config)?;
    let model = StableLmModel {
        embed_tokens: Embedding::new(c.decoder.vocab_size, c.decoder.hidden_size),
        layers: (0..c.decoder.num_hidden_layers).map(|_| StableLmLayer::new(&c)).collect(),
        norm: LayerNorm::new(c.decoder.hidden_size, c.layer_norm_eps),
        rotary_emb: rotary_embedding(&c.rope_parameters, c.rotary_dim),
    };
    causal_lm::trace(task, model, &(&c.decoder).into(), source, options)
}
