//! Losses: scalars, f32, as PyTorch defines them with `reduction="mean"`.

use crate::{DType, Operand, Tensor};

/// The label of what no loss counts.
pub const IGNORE_INDEX: i64 = -100;

/// The cross-entropy of logits `[rows, classes]` with labels, i64 `[rows]`: `log Σ e^logits - logits[label]`, the mean over the rows whose
/// label is not `ignore_index`, which may be another one for each row. NaN if there is no such row, as PyTorch gives it. Labels lie within
/// the classes: what else a caller passes is for the input's range to refuse.
#[track_caller]
pub fn cross_entropy<'a>(logits: &Tensor, labels: &Tensor, ignore_index: impl Into<Operand<'a>>) -> Tensor {
    let logits = logits.to_dtype(DType::F32);
    let counted = labels.ne(ignore_index).to_dtype(DType::F32);
    let label = labels.maximum(0).unsqueeze(-1);
    let surprise = (logits.log_sum_exp(-1) - logits.gather(-1, &label)).squeeze(-1);
    // A logit of -inf makes an infinite surprise, which zero times would not take away.
    let surprise = counted.ne(0.0).where_cond(&surprise, 0.0);
    surprise.sum(0) / counted.sum(0)
}

/// The mean of `(predictions - targets)²` over all elements of two tensors of one shape.
#[track_caller]
pub fn mean_squared_error(predictions: &Tensor, targets: &Tensor) -> Tensor {
    let difference = predictions.to_dtype(DType::F32) - targets.to_dtype(DType::F32);
    (&difference * &difference).flatten(0, -1).mean(0)
}

/// The mean of `-(y log σ(x) + (1 - y) log(1 - σ(x)))` over all elements, of logits x and targets y between 0 and 1 of one shape.
#[track_caller]
pub fn binary_cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Tensor {
    let (x, y) = (logits.to_dtype(DType::F32), targets.to_dtype(DType::F32));
    // max(x, 0) - x y + log(1 + e^-|x|), which never overflows.
    let tail = ((-x.abs()).exp() + 1.0).log();
    (x.maximum(0.0) - &x * &y + tail).flatten(0, -1).mean(0)
}
