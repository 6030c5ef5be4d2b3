//! What encoders share: their entry, with its inputs and outputs. The parts that they are made of are in `encoder_layers`.
//!
//! An encoder's program has one entry, `forward`. Its inputs are i64 `[batch, seq]`: `input_ids`, `attention_mask` (ones if left out), and
//! those of the family. Its outputs are f32 under transformers' names:
//!
//! | task | outputs |
//! |---|---|
//! | [`Task::Base`] | `last_hidden_state` `[batch, seq, hidden]`; `pooler_output` `[batch, hidden]` where model and checkpoint have a pooler; `sentence_embedding` `[batch, hidden]` for a model of sentence-transformers |
//! | [`Task::MaskedLm`] | `logits` `[batch, seq, vocab]` |
//! | [`Task::SequenceClassification`] | `logits` `[batch, labels]` |
//! | [`Task::TokenClassification`] | `logits` `[batch, seq, labels]` |
//! | [`Task::QuestionAnswering`] | `start_logits` and `end_logits`, `[batch, seq]` |

use crate::sentence::SentenceEmbedding;
use crate::traced::{TraceOptions, Traced};
use crate::weights::Pretrained;
use crate::{Error, Result, Task, loss};
use kiln_frontend::{Context, DType, DefaultFill, Dim, Module, Symbol, Tensor, dims};
use std::cell::RefCell;

/// The tasks that every encoder here has a head for.
pub(crate) const TASKS: [Task; 5] =
    [Task::Base, Task::MaskedLm, Task::SequenceClassification, Task::TokenClassification, Task::QuestionAnswering];

/// What [`trace`] must know about an architecture.
pub(super) struct Encoder<'a> {
    /// The checkpoint; its prefix is that of the body in a model with a head.
    pub checkpoint: Pretrained<'a>,
    pub task: Task,
    pub max_seq: i64,
}

/// The inputs that every encoder has.
pub(super) struct Inputs<'a> {
    pub cx: &'a Context,
    shape: [Dim; 2],
    /// i64 `[batch, seq]`.
    pub ids: Tensor,
    /// Bool `[batch, seq]`: true where there is a token.
    pub mask: Tensor,
    sentence: Option<&'a SentenceEmbedding>,
    /// The results so far.
    outputs: RefCell<Vec<(String, Tensor)>>,
}

impl<'a> Inputs<'a> {
    fn new(cx: &'a Context, max_seq: i64, sentence: Option<&'a SentenceEmbedding>) -> Self {
        let shape = dims![cx.symbol("batch", Symbol::batch(1..=64)), cx.symbol("seq", 1..=max_seq)];
        let ids = cx.input("input_ids", DType::I64, &shape);
        let mask = cx.input_or("attention_mask", DType::I64, &shape, DefaultFill::Ones).ne(0);
        Inputs { cx, shape, ids, mask, sentence, outputs: RefCell::default() }
    }

    /// One more input of their shape.
    pub fn input_or(&self, name: &str, default: DefaultFill) -> Tensor {
        self.cx.input_or(name, DType::I64, &self.shape, default)
    }

    /// Makes a tensor a result, as f32.
    pub fn output(&self, name: &str, tensor: &Tensor) {
        self.outputs.borrow_mut().push((name.to_string(), tensor.to_dtype(DType::F32)));
    }

    /// The results of [`Task::Base`].
    pub fn output_base(&self, hidden: &Tensor, pooled: Option<&Tensor>) {
        self.output("last_hidden_state", hidden);
        if let Some(pooled) = pooled {
            self.output("pooler_output", pooled);
        }
        if let Some(sentence) = self.sentence {
            self.output("sentence_embedding", &sentence.forward(hidden, &self.mask));
        }
    }

    /// `[batch, seq, 2]`: for each token, how well an answer begins and ends there.
    pub fn output_spans(&self, logits: &Tensor) {
        let [start, end] = logits.chunk(-1);
        self.output("start_logits", &start.squeeze(-1));
        self.output("end_logits", &end.squeeze(-1));
    }
}

/// Traces `forward`, in which `define` makes outputs of the inputs, and for training `loss`.
pub(super) fn trace<M: Module>(
    encoder: &Encoder,
    options: &TraceOptions,
    mut model: M,
    define: impl Fn(&M, &Inputs),
) -> Result<Traced> {
    let max_seq = encoder.max_seq;
    let modules = options.sentence_transformer.as_ref().filter(|_| encoder.task == Task::Base);
    let sentence = modules.map(SentenceEmbedding::from_json).transpose()?;
    let mut unused_tensors = vec![];
    let mut without_loss = Ok(());
    let traced = kiln_frontend::trace(|cx| {
        unused_tensors = cx.load(&mut model, &encoder.checkpoint, options.parameters());
        cx.entry("forward", |cx| {
            let inputs = Inputs::new(cx, max_seq, sentence.as_ref());
            cx.variants_by_rows(&inputs.shape);
            define(&model, &inputs);
            inputs.outputs.into_inner().iter().for_each(|(name, tensor)| cx.output(name, tensor));
        });
        if let Some(training) = options.training {
            cx.entry("loss", |cx| {
                let inputs = Inputs::new(cx, max_seq, sentence.as_ref());
                define(&model, &inputs);
                without_loss = loss::encoder(cx, encoder.task, &inputs.outputs.into_inner(), training);
            });
        }
    });
    without_loss?;
    let module = traced.map_err(|error| encoder.explained(error))?;
    // Buffers that old checkpoints hold, and transformers ignores too.
    let buffer = |n: &str| n.ends_with("embeddings.position_ids") || n.ends_with("embeddings.token_type_ids");
    unused_tensors.retain(|n| !buffer(n));
    Ok(Traced { module, unused_tensors, max_seq, cache_limit: None })
}

impl Encoder<'_> {
    /// Where only the head's parameters are missing, the checkpoint was made for another task, and the message says so.
    fn explained(&self, error: kiln_frontend::Error) -> Error {
        match error {
            kiln_frontend::Error::Parameters { missing, mismatched } if mismatched.is_empty() => {
                let is_body = |name: &str| self.checkpoint.within_body(name).is_some_and(|n| !n.starts_with("pooler."));
                if missing.iter().any(|name| is_body(name)) {
                    return Error::Trace(kiln_frontend::Error::Parameters { missing, mismatched });
                }
                Error::MissingHead { task: self.task, missing }
            }
            other => Error::Trace(other),
        }
    }
}
