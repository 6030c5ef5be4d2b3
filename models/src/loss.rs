//! The loss of each task, as transformers' models compute it when they are given labels.
//!
//! A model that is traced for training ([`TraceOptions::training`](crate::auto::TraceOptions::training)) has an entry `loss` beside
//! `forward`. It takes the inputs of `forward` and labels, and gives one f32 scalar, `loss`:
//!
//! | task | labels |
//! |---|---|
//! | [`Task::CausalLm`] | `labels`, i64 `[batch, seq]`: the input ids themselves; each position is scored by the label of the next |
//! | [`Task::Seq2SeqLm`] | `labels`, i64 `[batch, decoder_seq]` |
//! | [`Task::MaskedLm`], [`Task::TokenClassification`] | `labels`, i64 `[batch, seq]` |
//! | [`Task::SequenceClassification`] | `labels`: i64 `[batch]`, f32 `[batch]` for a regression of one number, else f32 `[batch, labels]` ([`ProblemType`]) |
//! | [`Task::QuestionAnswering`] | `start_positions` and `end_positions`, i64 `[batch]`; a position behind the text is not counted |
//!
//! The label -100 is not counted. Losses are means over what is counted.

use crate::{Error, Result, Task};
use kiln_frontend::nn::{IGNORE_INDEX, loss};
use kiln_frontend::{Context, DType, Dim, Tensor, ValueRange, dims};
use serde_json::Value;

/// What a sequence classification learns, as `problem_type` in a config says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// Numbers: mean squared error.
    Regression,
    /// One of several classes: cross-entropy.
    SingleLabel,
    /// Any of several classes: binary cross-entropy of each.
    MultiLabel,
}

/// What tracing for training needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// As the config says it. Without it, one label is a regression, and several are classes of which one is right: what transformers takes
    /// where the labels are whole numbers.
    pub problem_type: Option<ProblemType>,
}

impl Training {
    /// What a `config.json` says.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: a `problem_type` that is not known.
    pub fn of_config(config: &Value) -> Result<Training> {
        let problem_type = match config.get("problem_type").filter(|v| !v.is_null()) {
            None => None,
            Some(value) => Some(match value.as_str() {
                Some("regression") => ProblemType::Regression,
                Some("single_label_classification") => ProblemType::SingleLabel,
                Some("multi_label_classification") => ProblemType::MultiLabel,
                _ => {
                    return Err(Error::InvalidOption {
                        option: "problem_type",
                        expected: "regression, single_label_classification or multi_label_classification".into(),
                        found: value.to_string(),
                    });
                }
            }),
        };
        Ok(Training { problem_type })
    }
}

/// The loss of next-token logits `[batch, seq, vocab]`, with an input for the labels.
pub(crate) fn causal_lm(cx: &Context, logits: &Tensor) {
    let [batch, seq, vocab] = logits.dims();
    let labels = labels(cx, "labels", dims![batch, seq], &vocab);
    // Each position is scored by the next one's label, the last by none.
    let next = labels.narrow(1, 1, seq - Dim::from(1)).pad(1, 0, 1, IGNORE_INDEX as f64);
    token_loss(cx, logits, &next);
}

/// The loss of logits `[batch, seq, classes]` with labels of the same positions, with an input for these.
pub(crate) fn tokens(cx: &Context, logits: &Tensor) {
    let [batch, seq, classes] = logits.dims();
    let labels = labels(cx, "labels", dims![batch, seq], &classes);
    token_loss(cx, logits, &labels);
}

fn token_loss(cx: &Context, logits: &Tensor, labels: &Tensor) {
    cx.output("loss", &loss::cross_entropy(&logits.flatten(0, 1), &labels.flatten(0, 1), IGNORE_INDEX));
}

/// An input of class numbers, or -100.
fn labels(cx: &Context, name: &str, shape: impl AsRef<[Dim]>, classes: &Dim) -> Tensor {
    let range = ValueRange { min: Dim::from(IGNORE_INDEX), max: classes.clone() - Dim::from(1), distinct: false };
    cx.input_within(name, DType::I64, shape, range)
}

/// The loss of an encoder's outputs for a task, with inputs for the labels.
pub(crate) fn encoder(cx: &Context, task: Task, outputs: &[(String, Tensor)], training: Training) -> Result<()> {
    let output = |name: &str| outputs.iter().find(|(n, _)| n == name).map(|(_, t)| t);
    match (task, output("logits"), output("start_logits"), output("end_logits")) {
        (Task::MaskedLm | Task::TokenClassification, Some(logits), ..) => tokens(cx, logits),
        (Task::SequenceClassification, Some(logits), ..) => sequence_classification(cx, logits, training),
        (Task::QuestionAnswering, _, Some(start), Some(end)) => question_answering(cx, start, end),
        _ => return Err(Error::NoLoss { task }),
    }
    Ok(())
}

fn sequence_classification(cx: &Context, logits: &Tensor, training: Training) {
    let [batch, classes] = logits.dims();
    let one = classes.is(1);
    let by_labels = if one { ProblemType::Regression } else { ProblemType::SingleLabel };
    let shape = if one { dims![batch].to_vec() } else { dims![batch, classes].to_vec() };
    let value = match training.problem_type.unwrap_or(by_labels) {
        ProblemType::Regression => {
            let targets = cx.input("labels", DType::F32, &shape);
            loss::mean_squared_error(&logits.reshape(&shape), &targets)
        }
        ProblemType::SingleLabel => {
            let labels = labels(cx, "labels", dims![batch], &classes);
            loss::cross_entropy(logits, &labels, IGNORE_INDEX)
        }
        ProblemType::MultiLabel => {
            let targets = cx.input("labels", DType::F32, dims![batch, classes]);
            loss::binary_cross_entropy_with_logits(logits, &targets)
        }
    };
    cx.output("loss", &value);
}

/// The mean of the losses of both ends.
fn question_answering(cx: &Context, start: &Tensor, end: &Tensor) {
    let [batch, seq] = start.dims();
    let behind = cx.dim_size(&seq);
    let one = |name: &str, logits: &Tensor| {
        let position = cx.input(name, DType::I64, dims![batch]).maximum(0).minimum(&behind);
        // `gather` clamps what lies behind the text, and it is not counted.
        loss::cross_entropy(logits, &position, &behind)
    };
    let sum = one("start_positions", start) + one("end_positions", end);
    cx.output("loss", &(sum / 2.0));
}
