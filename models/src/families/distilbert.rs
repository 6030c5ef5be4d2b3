//! DistilBERT: BERT without token types and pooler, under names of its own.
//!
//! Beside those of [every encoder](super::encoder), `forward` has the input `position_ids` (counted if left out).

use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers;
use crate::config::{self, Fields};
use crate::sentence::Pooling;
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, Embedding, LayerNorm, Linear};
use kiln_frontend::{DefaultFill, Module, ParamSource, Tensor};
use serde_json::Value;

/// `model_type: distilbert`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct DistilBertConfig {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub dim: usize,
    /// Elements between the projections of the feed-forward block.
    pub hidden_dim: usize,
    /// Encoder layers.
    pub n_layers: usize,
    /// Attention heads; divides `dim`.
    pub n_heads: usize,
    /// The activation of the feed-forward block.
    pub activation: config::Activation,
    /// Rows of the position embedding.
    pub max_position_embeddings: usize,
    /// Whether the word embedding is also the output projection of the masked language model.
    pub tie_word_embeddings: bool,
    /// Classes of a classifier.
    pub num_labels: usize,
}

impl DistilBertConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<DistilBertConfig> {
        let fields = Fields::of("distilbert", config)?;
        let dim = fields.required_size("dim", 1 << 20)?;
        Ok(DistilBertConfig {
            vocab_size: fields.required_size("vocab_size", 1 << 24)?,
            dim,
            hidden_dim: fields.required_size("hidden_dim", 1 << 22)?,
            n_layers: fields.required_size("n_layers", 10_000)?,
            n_heads: fields.heads("n_heads", "dim", dim)?,
            activation: config::Activation::read(&fields, "activation", config::Activation::Gelu)?,
            max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(512),
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
            num_labels: fields.num_labels()?,
        })
    }
}

/// What its LayerNorms add under the root; no field of the config.
const LAYER_NORM_EPS: f64 = 1e-12;

/// The model with the head of its task, if that has one.
#[derive(Debug, Module)]
struct DistilBert {
    distilbert: DistilBertModel,
    vocab_transform: Option<Linear>,
    vocab_layer_norm: Option<LayerNorm>,
    vocab_projector: Option<Linear>,
    pre_classifier: Option<Linear>,
    classifier: Option<Linear>,
    qa_outputs: Option<Linear>,
    #[module(skip)]
    activation: Activation,
}

#[derive(Debug, Module)]
struct DistilBertModel {
    embeddings: Embeddings,
    transformer: Transformer,
}

#[derive(Debug, Module)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    #[module(rename = "LayerNorm")]
    layer_norm: LayerNorm,
}

#[derive(Debug, Module)]
struct Transformer {
    layer: Vec<Layer>,
}

#[derive(Debug, Module)]
struct Layer {
    attention: LayerAttention,
    sa_layer_norm: LayerNorm,
    ffn: FeedForward,
    output_layer_norm: LayerNorm,
}

#[derive(Debug, Module)]
struct LayerAttention {
    q_lin: Linear,
    k_lin: Linear,
    v_lin: Linear,
    out_lin: Linear,
    heads: usize,
}

#[derive(Debug, Module)]
struct FeedForward {
    lin1: Linear,
    lin2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl DistilBert {
    fn new(c: &DistilBertConfig, task: Task) -> Self {
        let masked = task == Task::MaskedLm;
        let classifies_text = task == Task::SequenceClassification;
        let square = || Linear::new(c.dim, c.dim, true);
        let norm = || LayerNorm::new(c.dim, LAYER_NORM_EPS);
        DistilBert {
            distilbert: DistilBertModel {
                embeddings: Embeddings {
                    word_embeddings: Embedding::new(c.vocab_size, c.dim),
                    position_embeddings: Embedding::new(c.max_position_embeddings, c.dim),
                    layer_norm: norm(),
                },
                transformer: Transformer { layer: (0..c.n_layers).map(|_| Layer::new(c)).collect() },
            },
            vocab_transform: masked.then(square),
            vocab_layer_norm: masked.then(norm),
            vocab_projector: masked.then(|| Linear::new(c.dim, c.vocab_size, true)),
            pre_classifier: classifies_text.then(square),
            classifier: (classifies_text || task == Task::TokenClassification)
                .then(|| Linear::new(c.dim, c.num_labels, true)),
            qa_outputs: (task == Task::QuestionAnswering).then(|| Linear::new(c.dim, 2, true)),
            activation: c.activation.into(),
        }
    }

    fn forward(&self, inputs: &Inputs) {
        let hidden = self.distilbert.forward(inputs);
        let masked_lm = (&self.vocab_transform, &self.vocab_layer_norm, &self.vocab_projector);
        if let (Some(transform), Some(layer_norm), Some(projector)) = masked_lm {
            let x = layer_norm.forward(&self.activation.forward(&transform.forward(&hidden)));
            inputs.output("logits", &projector.forward(&x));
        } else if let Some(classifier) = &self.classifier {
            let classified = match &self.pre_classifier {
                Some(pre_classifier) => pre_classifier.forward(&Pooling::Cls.forward(&hidden, &inputs.mask)).relu(),
                None => hidden,
            };
            inputs.output("logits", &classifier.forward(&classified));
        } else if let Some(qa_outputs) = &self.qa_outputs {
            inputs.output_spans(&qa_outputs.forward(&hidden));
        } else {
            inputs.output_base(&hidden, None);
        }
    }
}

impl DistilBertModel {
    fn forward(&self, inputs: &Inputs) -> Tensor {
        let position_ids = inputs.input_or("position_ids", DefaultFill::Iota);
        let Embeddings { word_embeddings, position_embeddings, layer_norm } = &self.embeddings;
        let sum = word_embeddings.forward(&inputs.ids) + position_embeddings.forward(&position_ids);
        let mut x = layer_norm.forward(&sum);
        for layer in &self.transformer.layer {
            x = inputs.cx.block("layer", || layer.forward(&x, &inputs.mask));
        }
        x
    }
}

impl Layer {
    fn new(c: &DistilBertConfig) -> Self {
        let square = || Linear::new(c.dim, c.dim, true);
        Layer {
            attention: LayerAttention {
                q_lin: square(),
                k_lin: square(),
                v_lin: square(),
                out_lin: square(),
                heads: c.n_heads,
            },
            sa_layer_norm: LayerNorm::new(c.dim, LAYER_NORM_EPS),
            ffn: FeedForward {
                lin1: Linear::new(c.dim, c.hidden_dim, true),
                lin2: Linear::new(c.hidden_dim, c.dim, true),
                activation: c.activation.into(),
            },
            output_layer_norm: LayerNorm::new(c.dim, LAYER_NORM_EPS),
        }
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let a = &self.attention;
        let attended =
            encoder_layers::self_attention([&a.q_lin, &a.k_lin, &a.v_lin].map(|l| l.forward(x)), a.heads, mask);
        let x = self.sa_layer_norm.forward(&(a.out_lin.forward(&attended) + x));
        let inner = self.ffn.activation.forward(&self.ffn.lin1.forward(&x));
        self.output_layer_norm.forward(&(self.ffn.lin2.forward(&inner) + x))
    }
}

/// Traces DistilBERT with the head of a task.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = DistilBertConfig::from_json(config)?;
    let words = ("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight");
    let checkpoint = Pretrained::new(source, "distilbert").tied(c.tie_word_embeddings.then_some(words));
    let model = DistilBert::new(&c, task);
    let max_seq = options.max_seq_within(c.max_position_embeddings)?;
    encoder::trace(&Encoder { checkpoint, task, max_seq }, options, model, DistilBert::forward)
}
