//! BART: an encoder and a decoder with learned positions, normalised after each block. [`seq2seq`] says what comes out.

use super::encoder_layers::split_heads;
use super::seq2seq::{self, EncoderDecoder, Sizes};
use crate::auto::{TraceOptions, Traced};
use crate::config::{self, Fields};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, Attention, Embedding, LayerNorm, Linear, Memory, Past};
use kiln_frontend::{Context, Module, Param, ParamSource, Tensor};
use serde_json::Value;

/// The rows of a position embedding that come before the first position's.
const POSITION_OFFSET: usize = 2;
/// What its LayerNorms add under the root; no field of the config.
const LAYER_NORM_EPS: f64 = 1e-5;

/// `model_type: bart`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct BartConfig {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub d_model: usize,
    /// The encoder.
    pub encoder: StackConfig,
    /// The decoder.
    pub decoder: StackConfig,
    /// The activation of the feed-forward blocks.
    pub activation_function: config::Activation,
    /// Positions that there are embeddings for.
    pub max_position_embeddings: usize,
    /// Whether embeddings are multiplied by the root of `d_model`.
    pub scale_embedding: bool,
}

/// The sizes of one of the two stacks of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct StackConfig {
    /// Layers.
    pub layers: usize,
    /// Attention heads; divides `d_model`.
    pub attention_heads: usize,
    /// Elements between the projections of the feed-forward block.
    pub ffn_dim: usize,
}

impl BartConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<BartConfig> {
        let fields = Fields::of("bart", config)?;
        if !fields.bool("tie_word_embeddings", true)? {
            let expected = "true, since encoder, decoder and output projection share one embedding";
            return Err(fields.invalid("tie_word_embeddings", expected, &Value::Bool(false)));
        }
        let d_model = fields.required_size("d_model", 1 << 20)?;
        let stack = |name: &str| -> Result<StackConfig> {
            Ok(StackConfig {
                layers: fields.required_size(&format!("{name}_layers"), 10_000)?,
                attention_heads: fields.heads(&format!("{name}_attention_heads"), "d_model", d_model)?,
                ffn_dim: fields.required_size(&format!("{name}_ffn_dim"), 1 << 22)?,
            })
        };
        Ok(BartConfig {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            d_model,
            encoder: stack("encoder")?,
            decoder: stack("decoder")?,
            activation_function: config::Activation::read(&fields, "activation_function", config::Activation::Gelu)?,
            max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(1024),
            scale_embedding: fields.bool("scale_embedding", false)?,
        })
    }
}

/// The model with its output projection, which is the embedding.
#[derive(Debug, Module)]
struct Bart {
    model: BartModel,
    /// Absent in a checkpoint of the body alone, where transformers takes zeros.
    final_logits_bias: Option<Param>,
}

#[derive(Debug, Module)]
struct BartModel {
    shared: Embedding,
    encoder: Stack,
    decoder: Stack,
    embed_scale: f64,
}

#[derive(Debug, Module)]
struct Stack {
    embed_positions: Embedding,
    layernorm_embedding: LayerNorm,
    layers: Vec<Layer>,
}

#[derive(Debug, Module)]
struct Layer {
    self_attn: LayerAttention,
    self_attn_layer_norm: LayerNorm,
    /// In the decoder.
    encoder_attn: Option<LayerAttention>,
    encoder_attn_layer_norm: Option<LayerNorm>,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

#[derive(Debug, Module)]
struct LayerAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    #[module(skip)]
    attention: Attention,
}

impl Bart {
    fn new(c: &BartConfig, final_logits_bias: bool) -> Self {
        Bart {
            model: BartModel {
                shared: Embedding::new(c.vocab_size, c.d_model),
                encoder: Stack::new(c, &c.encoder, false),
                decoder: Stack::new(c, &c.decoder, true),
                embed_scale: if c.scale_embedding { (c.d_model as f64).sqrt() } else { 1.0 },
            },
            final_logits_bias: final_logits_bias.then(|| Param::new([1, c.vocab_size])),
        }
    }

    /// The embeddings of tokens and of their positions in a stack.
    fn embed(&self, ids: &Tensor, position_ids: &Tensor, stack: &Stack) -> Tensor {
        let words = self.model.shared.forward(ids);
        let words = if self.model.embed_scale == 1.0 { words } else { words * self.model.embed_scale };
        let positions = stack.embed_positions.forward(&(position_ids + POSITION_OFFSET as i64));
        stack.layernorm_embedding.forward(&(words + positions))
    }
}

impl EncoderDecoder for Bart {
    fn encode(&self, cx: &Context, ids: &Tensor, mask: &Tensor) -> Tensor {
        let past = Past::None { mask: Some(mask.clone()) };
        let mut x = self.embed(ids, &cx.iota(ids.shape(), 1), &self.model.encoder);
        for layer in &self.model.encoder.layers {
            x = cx.block("encoder_layer", || layer.forward(&x, &past, None));
        }
        x
    }

    fn cross_key_values(&self, encoded: &Tensor) -> Vec<(Tensor, Tensor)> {
        let attentions = self.model.decoder.layers.iter().filter_map(|layer| layer.encoder_attn.as_ref());
        attentions.map(|attention| attention.key_value(encoded)).collect()
    }

    fn decode(&self, cx: &Context, ids: &Tensor, position_ids: &Tensor, pasts: &[(Past, Memory)]) -> Tensor {
        let mut x = self.embed(ids, position_ids, &self.model.decoder);
        for (layer, (past, memory)) in self.model.decoder.layers.iter().zip(pasts) {
            x = cx.block("decoder_layer", || layer.forward(&x, past, Some(memory)));
        }
        x
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        let logits = self.model.shared.as_linear(hidden);
        match &self.final_logits_bias {
            Some(bias) => logits + bias.beside(hidden).squeeze(0),
            None => logits,
        }
    }
}

impl Stack {
    fn new(c: &BartConfig, sizes: &StackConfig, decodes: bool) -> Self {
        let attention = |causal| LayerAttention::new(c, sizes.attention_heads, causal);
        let layer = |_| Layer {
            self_attn: attention(decodes),
            self_attn_layer_norm: layer_norm(c),
            encoder_attn: decodes.then(|| attention(false)),
            encoder_attn_layer_norm: decodes.then(|| layer_norm(c)),
            fc1: Linear::new(c.d_model, sizes.ffn_dim, true),
            fc2: Linear::new(sizes.ffn_dim, c.d_model, true),
            final_layer_norm: layer_norm(c),
            activation: c.activation_function.into(),
        };
        Stack {
            embed_positions: Embedding::new(c.max_position_embeddings + POSITION_OFFSET, c.d_model),
            layernorm_embedding: layer_norm(c),
            layers: (0..sizes.layers).map(layer).collect(),
        }
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, past: &Past, memory: Option<&Memory>) -> Tensor {
        let mut x = self.self_attn_layer_norm.forward(&(x + self.self_attn.forward(x, past)));
        if let (Some(attention), Some(norm), Some(memory)) = (&self.encoder_attn, &self.encoder_attn_layer_norm, memory)
        {
            x = norm.forward(&(&x + attention.forward_memory(&x, memory)));
        }
        let inner = self.activation.forward(&self.fc1.forward(&x));
        self.final_layer_norm.forward(&(&x + self.fc2.forward(&inner)))
    }
}

impl LayerAttention {
    fn new(c: &BartConfig, heads: usize, causal: bool) -> Self {
        let square = || Linear::new(c.d_model, c.d_model, true);
        let scale = ((c.d_model / heads) as f64).powf(-0.5);
        LayerAttention {
            q_proj: square(),
            k_proj: square(),
            v_proj: square(),
            out_proj: square(),
            heads,
            attention: Attention { scale, causal, window: None },
        }
    }

    fn query(&self, x: &Tensor) -> Tensor {
        split_heads(&self.q_proj.forward(x), self.heads)
    }

    fn key_value(&self, x: &Tensor) -> (Tensor, Tensor) {
        (split_heads(&self.k_proj.forward(x), self.heads), split_heads(&self.v_proj.forward(x), self.heads))
    }

    fn forward(&self, x: &Tensor, past: &Past) -> Tensor {
        let (key, value) = self.key_value(x);
        self.out_proj.forward(&self.attention.forward(&self.query(x), &key, &value, past).flatten(2, 3))
    }

    fn forward_memory(&self, x: &Tensor, memory: &Memory) -> Tensor {
        self.out_proj.forward(&self.attention.forward_memory(&self.query(x), memory).flatten(2, 3))
    }
}

fn layer_norm(c: &BartConfig) -> LayerNorm {
    LayerNorm::new(c.d_model, LAYER_NORM_EPS)
}

/// Traces `BartForConditionalGeneration`.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(_: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = BartConfig::from_json(config)?;
    let checkpoint = Pretrained { source, prefix: "model" };
    let model = Bart::new(&c, checkpoint.has("final_logits_bias"));
    let sizes = Sizes {
        vocab_size: c.vocab_size,
        decoder_layers: c.decoder.layers,
        heads: c.decoder.attention_heads,
        head_dim: c.d_model / c.decoder.attention_heads,
        max_seq: options.max_seq_within(c.max_position_embeddings)?,
    };
    seq2seq::trace(model, &sizes, &checkpoint, options)
}
