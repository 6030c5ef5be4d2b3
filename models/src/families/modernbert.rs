//! ModernBERT: an encoder with rotary embedding, gated feed-forward blocks, norms before each block, and layers that see a window only.
//!
//! Beside those of [every encoder](super::encoder), `forward` has the input `position_ids` (counted if left out).

use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers;
use super::layers::{self, Rotation};
use crate::config::{self, Fields, RopeConfig, RopeType};
use crate::sentence::Pooling;
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, Embedding, LayerNorm, Linear, Positions, RotaryEmbedding};
use kiln_frontend::{DefaultFill, Module, ParamSource, Tensor};
use serde_json::Value;

/// `model_type: modernbert`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ModernBertConfig {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub hidden_size: usize,
    /// Elements between the projections of the feed-forward block.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size` into heads of an even size.
    pub num_attention_heads: usize,
    /// The activation of the gated feed-forward block.
    pub hidden_activation: config::Activation,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// What LayerNorm adds under the root.
    pub norm_eps: f64,
    /// Whether norms have a bias.
    pub norm_bias: bool,
    /// Whether the attention's projections have one.
    pub attention_bias: bool,
    /// Whether the feed-forward block's have one.
    pub mlp_bias: bool,
    /// For each layer the size of the window that it sees, half of it to either side (`local_attention`); `None` for everything
    /// (`layer_types`, else each `global_attn_every_n_layers`-th layer).
    pub windows: Vec<Option<usize>>,
    /// The base of the rotary embedding's frequencies in layers that see everything.
    pub global_rope_theta: f64,
    /// The base in layers with a window.
    pub local_rope_theta: f64,
    /// How the text that is classified becomes one vector: by its first token or by the mean.
    pub classifier_pooling: Pooling,
    /// The activation of the heads' first layer.
    pub classifier_activation: config::Activation,
    /// Whether the heads' first layer has a bias.
    pub classifier_bias: bool,
    /// Whether the output projection of the masked language model has one.
    pub decoder_bias: bool,
    /// Whether the embedding is also that projection.
    pub tie_word_embeddings: bool,
    /// Classes of a classifier.
    pub num_labels: usize,
}

impl ModernBertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<ModernBertConfig> {
        let fields = Fields::of("modernbert", config)?;
        let hidden_size = fields.required_size("hidden_size", 1 << 20)?;
        let num_attention_heads = fields.heads("num_attention_heads", "hidden_size", hidden_size)?;
        let head_dim = hidden_size / num_attention_heads;
        if !head_dim.is_multiple_of(2) {
            return Err(fields.contradictory(format!(
                "hidden_size / num_attention_heads is {head_dim}, but rotary embedding turns pairs and needs an even head"
            )));
        }
        let num_hidden_layers = fields.required_size("num_hidden_layers", 10_000)?;
        let window = fields.window("local_attention")?.unwrap_or(128);
        let every = fields.size("global_attn_every_n_layers", 10_000)?.unwrap_or(3);
        let classifier_pooling = match fields.string("classifier_pooling")? {
            None | Some("cls") => Pooling::Cls,
            Some("mean") => Pooling::Mean,
            Some(other) => return Err(fields.invalid("classifier_pooling", "cls or mean", &other.into())),
        };
        let global_rope_theta = theta(&fields, "full_attention", "global_rope_theta")?.unwrap_or(160_000.0);
        let local_rope_theta = theta(&fields, "sliding_attention", "local_rope_theta")?;
        Ok(ModernBertConfig {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", 1 << 22)?,
            num_hidden_layers,
            num_attention_heads,
            hidden_activation: config::Activation::read(&fields, "hidden_activation", config::Activation::Gelu)?,
            max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(8192),
            norm_eps: fields.number("norm_eps", 0.0..=1.0)?.unwrap_or(1e-5),
            norm_bias: fields.bool("norm_bias", false)?,
            attention_bias: fields.bool("attention_bias", false)?,
            mlp_bias: fields.bool("mlp_bias", false)?,
            windows: config::windows(&fields, num_hidden_layers, Some(window), |layer| !layer.is_multiple_of(every))?,
            global_rope_theta,
            local_rope_theta: match local_rope_theta {
                Some(theta) => theta,
                None if fields.is_null("local_rope_theta") => global_rope_theta,
                None => 10_000.0,
            },
            classifier_pooling,
            classifier_activation: config::Activation::read(
                &fields,
                "classifier_activation",
                config::Activation::Gelu,
            )?,
            classifier_bias: fields.bool("classifier_bias", false)?,
            decoder_bias: fields.bool("decoder_bias", true)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
            num_labels: fields.num_labels()?,
        })
    }
}

/// The base for one kind of layer: in `rope_parameters` (transformers 5), or in a field of its own (transformers 4).
fn theta(fields: &Fields, kind: &str, old: &str) -> Result<Option<f64>> {
    let nested = match fields.object("rope_parameters")? {
        Some(all) => all.object(kind)?,
        None => None,
    };
    let Some(rope) = nested else { return fields.number(old, config::THETA) };
    if let Some(other) = rope.string("rope_type")?.filter(|t| *t != "default") {
        return Err(rope.invalid("rope_type", "default", &other.into()));
    }
    rope.number("rope_theta", config::THETA)
}

/// The model with the head of its task, if that has one.
#[derive(Debug, Module)]
struct ModernBert {
    model: ModernBertModel,
    /// What every head begins with.
    head: Option<PredictionHead>,
    decoder: Option<Linear>,
    classifier: Option<Linear>,
    #[module(skip)]
    task: Task,
    #[module(skip)]
    pooling: Pooling,
}

#[derive(Debug, Module)]
struct ModernBertModel {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    #[module(skip)]
    global_rotary_emb: RotaryEmbedding,
    #[module(skip)]
    local_rotary_emb: RotaryEmbedding,
}

#[derive(Debug, Module)]
struct Embeddings {
    tok_embeddings: Embedding,
    norm: LayerNorm,
}

#[derive(Debug, Module)]
struct Layer {
    /// Absent in the first layer: the embeddings are normalised already.
    attn_norm: Option<LayerNorm>,
    attn: LayerAttention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
    #[module(skip)]
    window: Option<usize>,
}

#[derive(Debug, Module)]
struct LayerAttention {
    #[module(rename = "Wqkv")]
    qkv: Linear,
    #[module(rename = "Wo")]
    out: Linear,
    heads: usize,
}

#[derive(Debug, Module)]
struct Mlp {
    /// What is activated, then the gate.
    #[module(rename = "Wi")]
    input: Linear,
    #[module(rename = "Wo")]
    out: Linear,
    #[module(skip)]
    activation: Activation,
}

#[derive(Debug, Module)]
struct PredictionHead {
    dense: Linear,
    norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

impl ModernBert {
    fn new(c: &ModernBertConfig, task: Task) -> Self {
        let norm = || layer_norm(c);
        let rotary_emb = |rope_theta| {
            let rope = RopeConfig { rope_theta, rope_type: RopeType::Default };
            layers::rotary_embedding(&rope, c.hidden_size / c.num_attention_heads)
        };
        let classes = match task {
            Task::SequenceClassification | Task::TokenClassification => Some(c.num_labels),
            Task::QuestionAnswering => Some(2),
            _ => None,
        };
        ModernBert {
            model: ModernBertModel {
                embeddings: Embeddings { tok_embeddings: Embedding::new(c.vocab_size, c.hidden_size), norm: norm() },
                layers: c.windows.iter().enumerate().map(|(i, window)| Layer::new(c, i, *window)).collect(),
                final_norm: norm(),
                global_rotary_emb: rotary_emb(c.global_rope_theta),
                local_rotary_emb: rotary_emb(c.local_rope_theta),
            },
            head: (task != Task::Base).then(|| PredictionHead {
                dense: Linear::new(c.hidden_size, c.hidden_size, c.classifier_bias),
                norm: norm(),
                activation: c.classifier_activation.into(),
            }),
            decoder: (task == Task::MaskedLm).then(|| Linear::new(c.hidden_size, c.vocab_size, c.decoder_bias)),
            classifier: classes.map(|classes| Linear::new(c.hidden_size, classes, true)),
            task,
            pooling: c.classifier_pooling,
        }
    }

    fn forward(&self, inputs: &Inputs) {
        let hidden = self.model.forward(inputs);
        let Some(head) = &self.head else { return inputs.output_base(&hidden, None) };
        if let Some(decoder) = &self.decoder {
            inputs.output("logits", &decoder.forward(&head.forward(&hidden)));
        } else if let Some(classifier) = &self.classifier {
            let classified = match self.task {
                Task::SequenceClassification => self.pooling.forward(&hidden, &inputs.mask),
                _ => hidden,
            };
            let logits = classifier.forward(&head.forward(&classified));
            if self.task == Task::QuestionAnswering {
                inputs.output_spans(&logits);
            } else {
                inputs.output("logits", &logits);
            }
        }
    }
}

impl ModernBertModel {
    fn forward(&self, inputs: &Inputs) -> Tensor {
        let positions = Positions::whole(&inputs.input_or("position_ids", DefaultFill::Iota));
        let global = self.global_rotary_emb.forward(&positions);
        let local = self.local_rotary_emb.forward(&positions);
        let mut x = self.embeddings.norm.forward(&self.embeddings.tok_embeddings.forward(&inputs.ids));
        for layer in &self.layers {
            let (name, rotation) = if layer.window.is_some() { ("local_layer", &local) } else { ("layer", &global) };
            x = inputs.cx.block(name, || layer.forward(&x, rotation, &inputs.mask));
        }
        self.final_norm.forward(&x)
    }
}

impl Layer {
    fn new(c: &ModernBertConfig, i: usize, window: Option<usize>) -> Self {
        Layer {
            attn_norm: (i > 0).then(|| layer_norm(c)),
            attn: LayerAttention {
                qkv: Linear::new(c.hidden_size, 3 * c.hidden_size, c.attention_bias),
                out: Linear::new(c.hidden_size, c.hidden_size, c.attention_bias),
                heads: c.num_attention_heads,
            },
            mlp_norm: layer_norm(c),
            mlp: Mlp {
                input: Linear::new(c.hidden_size, 2 * c.intermediate_size, c.mlp_bias),
                out: Linear::new(c.intermediate_size, c.hidden_size, c.mlp_bias),
                activation: c.hidden_activation.into(),
            },
            window,
        }
    }

    fn forward(&self, x: &Tensor, rotation: &Rotation, mask: &Tensor) -> Tensor {
        let normed = self.attn_norm.as_ref().map_or(x.clone(), |norm| norm.forward(x));
        let x = x + self.attn.forward(&normed, rotation, mask, self.window);
        &x + self.mlp.forward(&self.mlp_norm.forward(&x))
    }
}

impl LayerAttention {
    fn forward(&self, x: &Tensor, (cos, sin): &Rotation, mask: &Tensor, window: Option<usize>) -> Tensor {
        let [q, k, v] = self.qkv.forward(x).chunk(-1).map(|x| encoder_layers::split_heads(&x, self.heads));
        let (q, k) = (q.rope(cos, sin), k.rope(cos, sin));
        let (attention, past) = encoder_layers::attention_to_all(&q, mask);
        let attended = match window {
            Some(window) => {
                let near = near(&q, window as i64 / 2);
                attention.forward_with(&q, &k, &v, &past, Some(&near), |scores| scores)
            }
            None => attention.forward(&q, &k, &v, &past),
        };
        self.out.forward(&attended.flatten(2, 3))
    }
}

/// Whether a key is at most `reach` away from each of the queries `[batch, seq, ..]`: bool `[seq, seq]`.
fn near(queries: &Tensor, reach: i64) -> Tensor {
    let places = queries.context().arange(queries.dim(1));
    (places.unsqueeze(1) - places.unsqueeze(0)).abs().le(reach)
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        let [input, gate] = self.input.forward(x).chunk(-1);
        self.out.forward(&(self.activation.forward(&input) * gate))
    }
}

impl PredictionHead {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward(&self.activation.forward(&self.dense.forward(x)))
    }
}

fn layer_norm(c: &ModernBertConfig) -> LayerNorm {
    match c.norm_bias {
        true => LayerNorm::new(c.hidden_size, c.norm_eps),
        false => LayerNorm::without_bias(c.hidden_size, c.norm_eps),
    }
}

/// Traces ModernBERT with the head of a task.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = ModernBertConfig::from_json(config)?;
    let words = ("decoder.weight", "model.embeddings.tok_embeddings.weight");
    let checkpoint = Pretrained::new(source, "model").tied(c.tie_word_embeddings.then_some(words));
    let model = ModernBert::new(&c, task);
    // Rotary embedding knows no last position.
    let max_seq = options.max_seq_or(c.max_position_embeddings)?;
    encoder::trace(&Encoder { checkpoint, task, max_seq }, options, model, ModernBert::forward)
}
