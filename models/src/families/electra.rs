//! ELECTRA: BERT's layers over embeddings of a smaller size, and heads of its own; no pooler.
//!
//! Beside those of [every encoder](super::encoder), `forward` has the inputs `token_type_ids` (zeros if left out) and `position_ids`
//! (counted if left out).

use super::bert::BertConfig;
use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers::{Classifier, Embeddings, Layers};
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, LayerNorm, Linear};
use kiln_frontend::{DefaultFill, Module, ParamSource};
use serde_json::Value;

/// The model with the head of its task, if that has one.
#[derive(Debug, Module)]
struct Electra {
    electra: ElectraModel,
    generator_predictions: Option<GeneratorPredictions>,
    generator_lm_head: Option<Linear>,
    classifier: Option<Classifier>,
    qa_outputs: Option<Linear>,
}

#[derive(Debug, Module)]
struct ElectraModel {
    embeddings: Embeddings,
    /// Absent where embeddings are as large as hidden states.
    embeddings_project: Option<Linear>,
    encoder: Layers,
}

#[derive(Debug, Module)]
struct GeneratorPredictions {
    #[module(rename = "LayerNorm")]
    layer_norm: LayerNorm,
    dense: Linear,
}

impl Electra {
    fn new(c: &BertConfig, task: Task) -> Self {
        let (hidden, embedding) = (c.hidden_size, c.embedding_size);
        Electra {
            electra: ElectraModel {
                embeddings: Embeddings::new(c),
                embeddings_project: (embedding != hidden).then(|| Linear::new(embedding, hidden, true)),
                encoder: Layers::new(c),
            },
            generator_predictions: (task == Task::MaskedLm).then(|| GeneratorPredictions {
                layer_norm: LayerNorm::new(embedding, c.layer_norm_eps),
                dense: Linear::new(hidden, embedding, true),
            }),
            generator_lm_head: (task == Task::MaskedLm).then(|| Linear::new(embedding, c.vocab_size, true)),
            classifier: Classifier::new(task, hidden, c.num_labels, Activation::Gelu),
            qa_outputs: (task == Task::QuestionAnswering).then(|| Linear::new(hidden, 2, true)),
        }
    }

    fn forward(&self, inputs: &Inputs) {
        let token_type_ids = inputs.input_or("token_type_ids", DefaultFill::Zeros);
        let position_ids = inputs.input_or("position_ids", DefaultFill::Iota);
        let embedded = self.electra.embeddings.forward(&inputs.ids, &position_ids, &token_type_ids);
        let projected = match &self.electra.embeddings_project {
            Some(project) => project.forward(&embedded),
            None => embedded,
        };
        let hidden = self.electra.encoder.forward(projected, &inputs.mask);
        if let (Some(predictions), Some(lm_head)) = (&self.generator_predictions, &self.generator_lm_head) {
            let x = predictions.layer_norm.forward(&predictions.dense.forward(&hidden).gelu());
            inputs.output("logits", &lm_head.forward(&x));
        } else if let Some(classifier) = &self.classifier {
            inputs.output("logits", &classifier.forward(&hidden, &inputs.mask));
        } else if let Some(qa_outputs) = &self.qa_outputs {
            inputs.output_spans(&qa_outputs.forward(&hidden));
        } else {
            inputs.output_base(&hidden, None);
        }
    }
}

/// Traces ELECTRA with the head of a task; masked language modelling is its generator's.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = BertConfig::electra(config)?;
    let words = ("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight");
    let checkpoint = Pretrained::new(source, "electra").tied(c.tie_word_embeddings.then_some(words));
    let model = Electra::new(&c, task);
    let max_seq = options.max_seq_within(c.max_position_embeddings)?;
    encoder::trace(&Encoder { checkpoint, task, max_seq }, options, model, Electra::forward)
}
