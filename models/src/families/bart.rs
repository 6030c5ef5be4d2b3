//! BART: an encoder and a decoder with learned positions, normalised after each block. [`seq2seq`] says what comes out of the model that writes
//! text, [`encoder`] what comes out of those that classify a text or find an answer in it: these read the text once more in the decoder.

use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers::split_heads;
use super::seq2seq::{self, EncoderDecoder, Sizes};
use crate::config::{self, Fields};
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, Attention, Embedding, LayerNorm, Linear, Memory, Past};
use kiln_frontend::{Context, Module, Param, ParamSource, Tensor, dims};
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
    /// Whether the embedding is also the output projection.
    pub tie_word_embeddings: bool,
    /// The token that ends a text; by its last one a text is classified.
    pub eos_token_id: u32,
    /// What the decoder begins with.
    pub decoder_start_token_id: u32,
    /// Classes of a classifier.
    pub num_labels: usize,
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
        let d_model = fields.required_size("d_model", 1 << 20)?;
        let vocab_size = fields.required_size("vocab_size", 1 << 24)?;
        let eos_token_id = fields.token_ids("eos_token_id")?.first().copied().unwrap_or(2);
        let stack = |name: &str| -> Result<StackConfig> {
            Ok(StackConfig {
                layers: fields.required_size(&format!("{name}_layers"), 10_000)?,
                attention_heads: fields.heads(&format!("{name}_attention_heads"), "d_model", d_model)?,
                ffn_dim: fields.required_size(&format!("{name}_ffn_dim"), 1 << 22)?,
            })
        };
        Ok(BartConfig {
            vocab_size,
            d_model,
            encoder: stack("encoder")?,
            decoder: stack("decoder")?,
            activation_function: config::Activation::read(&fields, "activation_function", config::Activation::Gelu)?,
            max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(1024),
            scale_embedding: fields.bool("scale_embedding", false)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
            eos_token_id,
            decoder_start_token_id: fields.token_id("decoder_start_token_id", vocab_size)?.unwrap_or(2),
            num_labels: fields.num_labels_or(3)?,
        })
    }
}

/// The model with the head of its task.
#[derive(Debug, Module)]
struct Bart {
    model: BartModel,
    classification_head: Option<ClassificationHead>,
    qa_outputs: Option<Linear>,
    /// The language model's.
    lm_head: Option<Linear>,
    /// Absent in a checkpoint of the body alone, where transformers takes zeros.
    final_logits_bias: Option<Param>,
}

#[derive(Debug, Module)]
struct ClassificationHead {
    dense: Linear,
    out_proj: Linear,
}

#[derive(Debug, Module)]
struct BartModel {
    encoder: Stack,
    decoder: Stack,
    embed_scale: f64,
}

#[derive(Debug, Module)]
struct Stack {
    embed_tokens: Embedding,
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
    fn new(c: &BartConfig, task: Task, final_logits_bias: bool) -> Self {
        Bart {
            classification_head: (task == Task::SequenceClassification).then(|| ClassificationHead {
                dense: Linear::new(c.d_model, c.d_model, true),
                out_proj: Linear::new(c.d_model, c.num_labels, true),
            }),
            qa_outputs: (task == Task::QuestionAnswering).then(|| Linear::new(c.d_model, 2, true)),
            lm_head: (task == Task::Seq2SeqLm).then(|| Linear::new(c.d_model, c.vocab_size, false)),
            model: BartModel {
                encoder: Stack::new(c, &c.encoder, false),
                decoder: Stack::new(c, &c.decoder, true),
                embed_scale: if c.scale_embedding { (c.d_model as f64).sqrt() } else { 1.0 },
            },
            final_logits_bias: final_logits_bias.then(|| Param::buffer([1, c.vocab_size])),
        }
    }

    /// The embeddings of tokens and of their positions in a stack.
    fn embed(&self, ids: &Tensor, position_ids: &Tensor, stack: &Stack) -> Tensor {
        let words = stack.embed_tokens.forward(ids);
        let words = if self.model.embed_scale == 1.0 { words } else { words * self.model.embed_scale };
        let positions = stack.embed_positions.forward(&(position_ids + POSITION_OFFSET as i64));
        stack.layernorm_embedding.forward(&(words + positions))
    }
}

impl Bart {
    /// The heads' entry: the decoder reads the text itself, one token later.
    fn forward(&self, c: &BartConfig, inputs: &Inputs) {
        let (cx, ids) = (inputs.cx, &inputs.ids);
        let [batch, seq] = ids.dims();
        let places = cx.arange(&seq);
        let before = ids.index_select(1, &(&places - 1).maximum(0));
        let decoder_ids = places.gt(0).where_cond(&before, i64::from(c.decoder_start_token_id));
        let hidden = seq2seq::decode_whole(cx, self, [ids, &inputs.mask, &decoder_ids]);
        if let Some(head) = &self.classification_head {
            // The place of the last eos; the first place in a text without one, which transformers refuses.
            let place = cx.iota(dims![batch, seq], 1);
            let last = ids.eq(i64::from(c.eos_token_id)).where_cond(&place, 0).max(1).unsqueeze(-1);
            let chosen = place.eq(&last).unsqueeze(-1).where_cond(&hidden, 0.0).sum(1);
            inputs.output("logits", &head.out_proj.forward(&head.dense.forward(&chosen).tanh()));
        } else if let Some(qa_outputs) = &self.qa_outputs {
            inputs.output_spans(&qa_outputs.forward(&hidden));
        }
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
        let logits = self.lm_head.as_ref().map_or_else(|| hidden.clone(), |lm_head| lm_head.forward(hidden));
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
            embed_tokens: Embedding::new(c.vocab_size, c.d_model),
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

/// Traces BART with the head of a task.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = BartConfig::from_json(config)?;
    let lm_head = ("lm_head.weight", "model.shared.weight");
    // transformers 4 had one embedding for both stacks, whatever the config says.
    let stacks = ["model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight"];
    let tied =
        c.tie_word_embeddings.then_some(lm_head).into_iter().chain(stacks.map(|own| (own, "model.shared.weight")));
    let checkpoint = Pretrained::new(source, "model").tied(tied);
    let max_seq = options.max_seq_within(c.max_position_embeddings)?;
    if task != Task::Seq2SeqLm {
        let encoder = Encoder { checkpoint, task, max_seq };
        return encoder::trace(&encoder, options, Bart::new(&c, task, false), |model, inputs| {
            model.forward(&c, inputs)
        });
    }
    let model = Bart::new(&c, task, checkpoint.has_parameter("final_logits_bias"));
    let sizes = Sizes {
        decoder_layers: c.decoder.layers,
        heads: c.decoder.attention_heads,
        head_dim: c.d_model / c.decoder.attention_heads,
        max_seq,
    };
    seq2seq::trace(model, &sizes, &checkpoint, options)
}
