//! T5 (versions 1.0 and 1.1) and mT5: an encoder and a decoder that tell positions by a bias on the attention's scores. [`seq2seq`] says what
//! comes out. Scores are not scaled, so that errors in them are large: attention, norms and what layers pass on are f32 even where the rest
//! of the model computes in a type of 16 bits.

use super::encoder_layers::split_heads;
use super::position_bias::{Distances, PositionBias};
use super::seq2seq::{self, EncoderDecoder, Sizes};
use crate::config::{Activation, Fields};
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{self, Attention, Embedding, Linear, Memory, Past, RmsNorm};
use kiln_frontend::{Context, Module, Param, ParamSource, Path, Tensor};
use serde_json::Value;

/// `model_type: t5` or `mt5`, with transformers' defaults. mT5 is T5 1.1, except that nothing divides the decoder's hidden states.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub d_model: usize,
    /// Elements of a head; the heads together need not have `d_model`.
    pub d_kv: usize,
    /// Elements between the projections of the feed-forward block.
    pub d_ff: usize,
    /// Layers of the encoder.
    pub num_layers: usize,
    /// Layers of the decoder.
    pub num_decoder_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// How many distances are told apart.
    pub relative_attention_num_buckets: usize,
    /// From which distance on none are.
    pub relative_attention_max_distance: usize,
    /// What RMSNorm adds under the root.
    pub layer_norm_epsilon: f64,
    /// The activation of the feed-forward block, and whether a second projection gates it (`feed_forward_proj`).
    pub feed_forward: (Activation, bool),
    /// Whether hidden states are divided by the root of `d_model` before the output projection.
    pub scale_decoder_outputs: bool,
    /// The longest sequence that the model was made for; its positions have no end.
    pub n_positions: usize,
}

impl T5Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<T5Config> {
        let mt5 = config.get("model_type").and_then(Value::as_str) == Some("mt5");
        let fields = Fields::of(if mt5 { "mt5" } else { "t5" }, config)?;
        let num_layers = fields.required_size("num_layers", 10_000)?;
        let buckets = fields.size("relative_attention_num_buckets", 1 << 16)?.unwrap_or(32);
        let max_distance = fields.size("relative_attention_max_distance", 1 << 16)?.unwrap_or(128);
        if buckets < 4 || max_distance <= buckets / 2 {
            return Err(fields.contradictory(format!(
                "relative_attention_num_buckets is {buckets} and relative_attention_max_distance is {max_distance}; expected at least 4 \
                 buckets, and a distance above half of them"
            )));
        }
        // Whether the output projection is the embedding, the checkpoint decides; the config tells T5 1.0 from 1.1 by it.
        let tie_word_embeddings = fields.bool("tie_word_embeddings", true)?;
        Ok(T5Config {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            d_model: fields.required_size("d_model", 1 << 20)?,
            d_kv: fields.required_size("d_kv", 1 << 16)?,
            d_ff: fields.required_size("d_ff", 1 << 22)?,
            num_layers,
            num_decoder_layers: fields.size("num_decoder_layers", 10_000)?.unwrap_or(num_layers),
            num_heads: fields.required_size("num_heads", 1 << 16)?,
            relative_attention_num_buckets: buckets,
            relative_attention_max_distance: max_distance,
            layer_norm_epsilon: fields.number("layer_norm_epsilon", 0.0..=1.0)?.unwrap_or(1e-6),
            feed_forward: feed_forward(&fields, if mt5 { "gated-gelu" } else { "relu" })?,
            scale_decoder_outputs: !mt5 && fields.bool("scale_decoder_outputs", tie_word_embeddings)?,
            n_positions: fields.size("n_positions", 1 << 28)?.unwrap_or(512),
        })
    }
}

/// `relu`, or with a gate `gated-gelu`, where gelu stands for its tanh approximation.
fn feed_forward(fields: &Fields, default: &str) -> Result<(Activation, bool)> {
    let name = fields.string("feed_forward_proj")?.unwrap_or(default);
    if name == "gated-gelu" {
        return Ok((Activation::GeluNew, true));
    }
    let (activation, gated) = name.strip_prefix("gated-").map_or((name, false), |rest| (rest, true));
    let known = Activation::from_name(activation);
    let expected = "an activation such as relu, or gated- and an activation, such as gated-gelu";
    known.map(|known| (known, gated)).ok_or_else(|| fields.invalid("feed_forward_proj", expected, &name.into()))
}

#[derive(Debug, Module)]
struct T5 {
    encoder: Stack<EncoderLayers>,
    decoder: Stack<DecoderLayers>,
    lm_head: Linear,
    output_scale: f64,
}

#[derive(Debug, Module)]
struct Stack<L> {
    embed_tokens: Embedding,
    block: Vec<Block<L>>,
    final_layer_norm: RmsNorm,
    #[module(skip)]
    distances: Distances,
}

#[derive(Debug, Module)]
struct Block<L> {
    layer: L,
}

#[derive(Debug, Module)]
struct EncoderLayers {
    #[module(rename = "0")]
    self_attention: SelfAttention,
    #[module(rename = "1")]
    feed_forward: FeedForward,
}

#[derive(Debug, Module)]
struct DecoderLayers {
    #[module(rename = "0")]
    self_attention: SelfAttention,
    #[module(rename = "1")]
    cross_attention: CrossAttention,
    #[module(rename = "2")]
    feed_forward: FeedForward,
}

#[derive(Debug, Module)]
struct SelfAttention {
    #[module(rename = "SelfAttention")]
    projections: Projections,
    layer_norm: RmsNorm,
}

#[derive(Debug, Module)]
struct CrossAttention {
    #[module(rename = "EncDecAttention")]
    projections: Projections,
    layer_norm: RmsNorm,
}

#[derive(Debug, Module)]
struct Projections {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// In a stack's first layer, for all of them: a bias for each bucket and head.
    relative_attention_bias: Option<Embedding>,
    heads: usize,
}

#[derive(Debug, Module)]
struct FeedForward {
    #[module(rename = "DenseReluDense")]
    dense: Dense,
    layer_norm: RmsNorm,
}

/// The feed-forward block; its names depend on whether it is gated.
#[derive(Debug)]
struct Dense {
    input: Input,
    wo: Linear,
    activation: nn::Activation,
}

#[derive(Debug)]
enum Input {
    /// `wi`.
    Plain(Linear),
    /// `wi_0`, which is activated, and `wi_1`.
    Gated(Linear, Linear),
}

impl Module for Dense {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        match &self.input {
            Input::Plain(wi) => path.field("wi", |path| wi.visit_params(path, visit)),
            Input::Gated(wi_0, wi_1) => {
                path.field("wi_0", |path| wi_0.visit_params(path, visit));
                path.field("wi_1", |path| wi_1.visit_params(path, visit));
            }
        }
        path.field("wo", |path| self.wo.visit_params(path, visit));
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        match &mut self.input {
            Input::Plain(wi) => path.field("wi", |path| wi.visit_params_mut(path, visit)),
            Input::Gated(wi_0, wi_1) => {
                path.field("wi_0", |path| wi_0.visit_params_mut(path, visit));
                path.field("wi_1", |path| wi_1.visit_params_mut(path, visit));
            }
        }
        path.field("wo", |path| self.wo.visit_params_mut(path, visit));
    }
}

impl<L> Stack<L> {
    fn new(c: &T5Config, layers: usize, bidirectional: bool, layer: impl Fn(usize) -> L) -> Self {
        Stack {
            embed_tokens: Embedding::new(c.vocab_size, c.d_model),
            block: (0..layers).map(|i| Block { layer: layer(i) }).collect(),
            final_layer_norm: norm(c),
            distances: Distances::new(
                c.relative_attention_num_buckets,
                c.relative_attention_max_distance,
                bidirectional,
            ),
        }
    }

    /// The vectors of ids, in the type that the layers pass on.
    fn embed(&self, ids: &Tensor) -> Tensor {
        in_type_of(&self.embed_tokens.forward(ids), &self.final_layer_norm.weight)
    }

    /// The biases for queries at positions i64 `[batch, s]`.
    fn bias(&self, queries: &Tensor, attention: impl Fn(&L) -> &SelfAttention) -> Option<PositionBias> {
        let table = &attention(&self.block.first()?.layer).projections.relative_attention_bias;
        Some(PositionBias::new(table.as_ref()?, &self.distances, queries))
    }
}

impl T5 {
    fn new(c: &T5Config) -> Self {
        T5 {
            encoder: Stack::new(c, c.num_layers, true, |i| EncoderLayers {
                self_attention: SelfAttention::new(c, i == 0),
                feed_forward: FeedForward::new(c),
            }),
            decoder: Stack::new(c, c.num_decoder_layers, false, |i| DecoderLayers {
                self_attention: SelfAttention::new(c, i == 0),
                cross_attention: CrossAttention { projections: Projections::new(c, false), layer_norm: norm(c) },
                feed_forward: FeedForward::new(c),
            }),
            lm_head: Linear::new(c.d_model, c.vocab_size, false),
            output_scale: if c.scale_decoder_outputs { (c.d_model as f64).powf(-0.5) } else { 1.0 },
        }
    }
}

impl EncoderDecoder for T5 {
    fn encode(&self, cx: &Context, ids: &Tensor, mask: &Tensor) -> Tensor {
        let [_, seq] = ids.dims();
        let bias = self.encoder.bias(&cx.arange(&seq).unsqueeze(0), |layer| &layer.self_attention);
        let past = Past::None { mask: Some(mask.clone()) };
        let mut x = self.encoder.embed(ids);
        for Block { layer } in &self.encoder.block {
            x = cx.block("encoder_block", || {
                layer.feed_forward.forward(&layer.self_attention.forward(&x, false, &past, bias.as_ref()))
            });
        }
        self.encoder.final_layer_norm.forward(&x)
    }

    fn cross_key_values(&self, encoded: &Tensor) -> Vec<(Tensor, Tensor)> {
        let blocks = self.decoder.block.iter();
        blocks.map(|block| block.layer.cross_attention.projections.key_value(encoded)).collect()
    }

    fn decode(&self, cx: &Context, ids: &Tensor, position_ids: &Tensor, pasts: &[(Past, Memory)]) -> Tensor {
        let bias = self.decoder.bias(position_ids, |layer| &layer.self_attention);
        let mut x = self.decoder.embed(ids);
        for (Block { layer }, (past, memory)) in self.decoder.block.iter().zip(pasts) {
            x = cx.block("decoder_block", || {
                let x = layer.self_attention.forward(&x, true, past, bias.as_ref());
                layer.feed_forward.forward(&layer.cross_attention.forward(&x, memory))
            });
        }
        self.decoder.final_layer_norm.forward(&x)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        let hidden = if self.output_scale == 1.0 { hidden.clone() } else { hidden * self.output_scale };
        self.lm_head.forward(&in_type_of(&hidden, &self.lm_head.weight))
    }
}

impl SelfAttention {
    fn new(c: &T5Config, first: bool) -> Self {
        SelfAttention { projections: Projections::new(c, first), layer_norm: norm(c) }
    }

    fn forward(&self, x: &Tensor, causal: bool, past: &Past, bias: Option<&PositionBias>) -> Tensor {
        let (normed, p) = (self.layer_norm.forward(x), &self.projections);
        let (key, value) = p.key_value(&normed);
        let attended =
            unscaled(causal).forward_with(&p.query(&normed), &key, &value, past, None, |scores| match bias {
                Some(bias) => bias.add_to(&scores),
                None => scores,
            });
        x + p.o.forward(&attended.flatten(2, 3))
    }
}

impl CrossAttention {
    fn forward(&self, x: &Tensor, memory: &Memory) -> Tensor {
        let p = &self.projections;
        let attended = unscaled(false).forward_memory(&p.query(&self.layer_norm.forward(x)), memory);
        x + p.o.forward(&attended.flatten(2, 3))
    }
}

impl Projections {
    fn new(c: &T5Config, bias: bool) -> Self {
        let inner = c.num_heads * c.d_kv;
        let inwards = || Linear::new(c.d_model, inner, false);
        Projections {
            q: inwards(),
            k: inwards(),
            v: inwards(),
            o: Linear::new(inner, c.d_model, false),
            relative_attention_bias: bias.then(|| Embedding::new(c.relative_attention_num_buckets, c.num_heads)),
            heads: c.num_heads,
        }
        .in_f32()
    }

    fn query(&self, x: &Tensor) -> Tensor {
        split_heads(&self.q.forward(x), self.heads)
    }

    fn key_value(&self, x: &Tensor) -> (Tensor, Tensor) {
        (split_heads(&self.k.forward(x), self.heads), split_heads(&self.v.forward(x), self.heads))
    }
}

impl FeedForward {
    fn new(c: &T5Config) -> Self {
        let inwards = || Linear::new(c.d_model, c.d_ff, false);
        let (activation, gated) = c.feed_forward;
        let dense = Dense {
            input: if gated { Input::Gated(inwards(), inwards()) } else { Input::Plain(inwards()) },
            wo: Linear::new(c.d_ff, c.d_model, false),
            activation: activation.into(),
        };
        FeedForward { dense, layer_norm: norm(c) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let normed = in_type_of(&self.layer_norm.forward(x), &self.dense.wo.weight);
        let inner = match &self.dense.input {
            Input::Plain(wi) => self.dense.activation.forward(&wi.forward(&normed)),
            Input::Gated(wi_0, wi_1) => self.dense.activation.forward(&wi_0.forward(&normed)) * wi_1.forward(&normed),
        };
        x + self.dense.wo.forward(&inner).to_dtype(x.dtype())
    }
}

/// The root of the head size is in the weights.
fn unscaled(causal: bool) -> Attention {
    Attention { scale: 1.0, causal, window: None }
}

fn norm(c: &T5Config) -> RmsNorm {
    RmsNorm::new(c.d_model, c.layer_norm_epsilon).in_f32()
}

fn in_type_of(x: &Tensor, param: &Param) -> Tensor {
    x.to_dtype(param.dtype().unwrap_or(x.dtype()))
}

/// Traces `T5ForConditionalGeneration` or `MT5ForConditionalGeneration`.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(_: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = T5Config::from_json(config)?;
    let tied = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"];
    let checkpoint = Pretrained::new(source, "transformer").tied(tied.map(|own| (own, "shared.weight")));
    let sizes = Sizes {
        decoder_layers: c.num_decoder_layers,
        heads: c.num_heads,
        head_dim: c.d_kv,
        max_seq: options.max_seq_or(c.n_positions)?,
    };
    let mut traced = seq2seq::trace(T5::new(&c), &sizes, &checkpoint, options)?;
    // Old checkpoints hold one, and transformers ignores it too.
    traced.unused_tensors.retain(|n| !n.ends_with("EncDecAttention.relative_attention_bias.weight"));
    Ok(traced)
}
