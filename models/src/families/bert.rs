//! BERT: an encoder with learned positions and token types, normalised after each block.
//!
//! Beside those of [every encoder](super::encoder), `forward` has the inputs `token_type_ids` (zeros if left out) and `position_ids`
//! (counted if left out).

pub use super::bert_config::BertConfig;

use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers::{Embeddings, Layers, Pooler};
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, LayerNorm, Linear};
use kiln_frontend::{DefaultFill, Module, ParamSource, Tensor};
use serde_json::Value;

/// The model with the head of its task, if that has one.
#[derive(Debug, Module)]
struct Bert {
    bert: BertModel,
    cls: Option<PretrainingHeads>,
    classifier: Option<Linear>,
    qa_outputs: Option<Linear>,
}

#[derive(Debug, Module)]
struct BertModel {
    embeddings: Embeddings,
    encoder: Layers,
    pooler: Option<Pooler>,
}

#[derive(Debug, Module)]
struct PretrainingHeads {
    predictions: Predictions,
}

#[derive(Debug, Module)]
struct Predictions {
    transform: Transform,
    decoder: Linear,
}

#[derive(Debug, Module)]
struct Transform {
    dense: Linear,
    #[module(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

impl Bert {
    fn new(c: &BertConfig, task: Task, pooler: bool) -> Self {
        let classifies = matches!(task, Task::SequenceClassification | Task::TokenClassification);
        Bert {
            bert: BertModel {
                embeddings: Embeddings::new(c),
                encoder: Layers::new(c),
                pooler: pooler.then(|| Pooler::new(c.hidden_size)),
            },
            cls: (task == Task::MaskedLm).then(|| PretrainingHeads { predictions: Predictions::new(c) }),
            classifier: classifies.then(|| Linear::new(c.hidden_size, c.num_labels, true)),
            qa_outputs: (task == Task::QuestionAnswering).then(|| Linear::new(c.hidden_size, 2, true)),
        }
    }

    fn forward(&self, inputs: &Inputs) {
        let token_type_ids = inputs.input_or("token_type_ids", DefaultFill::Zeros);
        let position_ids = inputs.input_or("position_ids", DefaultFill::Iota);
        let embedded = self.bert.embeddings.forward(&inputs.ids, &position_ids, &token_type_ids);
        let hidden = self.bert.encoder.forward(embedded, &inputs.mask);
        let pooled = self.bert.pooler.as_ref().map(|pooler| pooler.forward(&hidden, &inputs.mask));
        if let Some(cls) = &self.cls {
            inputs.output("logits", &cls.predictions.forward(&hidden));
        } else if let Some(classifier) = &self.classifier {
            // A text is classified by what is pooled of it, a token by its own state.
            inputs.output("logits", &classifier.forward(pooled.as_ref().unwrap_or(&hidden)));
        } else if let Some(qa_outputs) = &self.qa_outputs {
            inputs.output_spans(&qa_outputs.forward(&hidden));
        } else {
            inputs.output_base(&hidden, pooled.as_ref());
        }
    }
}

impl Predictions {
    fn new(c: &BertConfig) -> Self {
        Predictions {
            transform: Transform {
                dense: Linear::new(c.hidden_size, c.hidden_size, true),
                layer_norm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
                activation: c.hidden_act.into(),
            },
            decoder: Linear::new(c.hidden_size, c.vocab_size, true),
        }
    }

    fn forward(&self, hidden: &Tensor) -> Tensor {
        let Transform { dense, layer_norm, activation } = &self.transform;
        self.decoder.forward(&layer_norm.forward(&activation.forward(&dense.forward(hidden))))
    }
}

/// Traces BERT with the head of a task.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = BertConfig::from_json(config)?;
    let words = ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight");
    // transformers 4 had one bias, whatever the config says, and saved it under its shorter name.
    let bias = ("cls.predictions.decoder.bias", "cls.predictions.bias");
    let tied = c.tie_word_embeddings.then_some(words).into_iter().chain([bias]);
    let checkpoint = Pretrained::new(source, "bert").tied(tied);
    // The body alone may come from a model whose head has no use for the pooler.
    let pooler = match task {
        Task::SequenceClassification => true,
        Task::Base => checkpoint.has_parameter("bert.pooler.dense.weight"),
        _ => false,
    };
    let model = Bert::new(&c, task, pooler);
    let max_seq = options.max_seq_within(c.max_position_embeddings)?;
    encoder::trace(&Encoder { checkpoint, task, max_seq }, options, model, Bert::forward)
}
