//! RoBERTa and XLM-RoBERTa: BERT's layers, with positions that padding does not count in, and heads of their own.
//!
//! Beside those of [every encoder](super::encoder), `forward` has the input `token_type_ids` (zeros if left out). Positions follow from
//! `input_ids`: the n-th token that is not padding stands at `pad_token_id + n`, and padding at `pad_token_id`.

use super::bert::BertConfig;
use super::encoder::{self, Encoder, Inputs};
use super::encoder_layers::{Classifier, Embeddings, Layers, Pooler};
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Result, Task};
use kiln_frontend::nn::{Activation, LayerNorm, Linear};
use kiln_frontend::{DType, DefaultFill, Module, ParamSource, Tensor};
use serde_json::Value;

/// The model with the head of its task, if that has one.
#[derive(Debug, Module)]
struct Roberta {
    roberta: RobertaModel,
    lm_head: Option<LmHead>,
    classifier: Option<Classifier>,
    qa_outputs: Option<Linear>,
    pad_token_id: i64,
}

#[derive(Debug, Module)]
struct RobertaModel {
    embeddings: Embeddings,
    encoder: Layers,
    pooler: Option<Pooler>,
}

#[derive(Debug, Module)]
struct LmHead {
    dense: Linear,
    layer_norm: LayerNorm,
    decoder: Linear,
}

impl Roberta {
    fn new(c: &BertConfig, task: Task, pooler: bool) -> Self {
        Roberta {
            roberta: RobertaModel {
                embeddings: Embeddings::new(c),
                encoder: Layers::new(c),
                pooler: pooler.then(|| Pooler::new(c.hidden_size)),
            },
            lm_head: (task == Task::MaskedLm).then(|| LmHead::new(c)),
            classifier: Classifier::new(task, c.hidden_size, c.num_labels, Activation::Tanh),
            qa_outputs: (task == Task::QuestionAnswering).then(|| Linear::new(c.hidden_size, 2, true)),
            pad_token_id: c.first_position() as i64 - 1,
        }
    }

    fn forward(&self, inputs: &Inputs) {
        let token_type_ids = inputs.input_or("token_type_ids", DefaultFill::Zeros);
        let position_ids = self.position_ids(&inputs.ids);
        let embedded = self.roberta.embeddings.forward(&inputs.ids, &position_ids, &token_type_ids);
        let hidden = self.roberta.encoder.forward(embedded, &inputs.mask);
        if let Some(lm_head) = &self.lm_head {
            inputs.output("logits", &lm_head.forward(&hidden));
        } else if let Some(classifier) = &self.classifier {
            inputs.output("logits", &classifier.forward(&hidden, &inputs.mask));
        } else if let Some(qa_outputs) = &self.qa_outputs {
            inputs.output_spans(&qa_outputs.forward(&hidden));
        } else {
            let pooled = self.roberta.pooler.as_ref().map(|pooler| pooler.forward(&hidden, &inputs.mask));
            inputs.output_base(&hidden, pooled.as_ref());
        }
    }

    /// i64 `[batch, seq]` to the same.
    fn position_ids(&self, ids: &Tensor) -> Tensor {
        let [_, seq] = ids.dims();
        let cx = ids.context();
        let token = ids.ne(self.pad_token_id);
        // How many tokens stand at or before each place: a sum over the lower triangle.
        let before = cx.arange(&seq).unsqueeze(0).le(&cx.arange(&seq).unsqueeze(1));
        let count = token.unsqueeze(1).logical_and(&before).to_dtype(DType::I64).sum(-1);
        count * token.to_dtype(DType::I64) + self.pad_token_id
    }
}

impl LmHead {
    fn new(c: &BertConfig) -> Self {
        LmHead {
            dense: Linear::new(c.hidden_size, c.hidden_size, true),
            layer_norm: LayerNorm::new(c.hidden_size, c.layer_norm_eps),
            decoder: Linear::new(c.hidden_size, c.vocab_size, true),
        }
    }

    fn forward(&self, hidden: &Tensor) -> Tensor {
        self.decoder.forward(&self.layer_norm.forward(&self.dense.forward(hidden).gelu()))
    }
}

/// Traces RoBERTa with the head of a task.
///
/// # Errors
/// A config or options that make no sense, parameters that do not fit the config, and a checkpoint without that head.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = BertConfig::roberta(config)?;
    let words = ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight");
    // As in BERT, one bias may serve an output projection of its own too.
    let tied = c.tie_word_embeddings.then_some(words).into_iter().chain([("lm_head.decoder.bias", "lm_head.bias")]);
    let checkpoint = Pretrained::new(source, "roberta").tied(tied);
    // The body alone may come from a model whose head has no use for the pooler.
    let pooler = task == Task::Base && checkpoint.has_parameter("roberta.pooler.dense.weight");
    let model = Roberta::new(&c, task, pooler);
    let max_seq = options.max_seq_within(c.max_position_embeddings - c.first_position())?;
    encoder::trace(&Encoder { checkpoint, task, max_seq }, options, model, Roberta::forward)
}
