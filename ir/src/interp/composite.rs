//! Norms, softmax, activations and rope, by their meaning.

use super::elementwise::{float_binary, float_unary};
use super::{Result, Tensor};
use kiln_core::{BinaryOp, DType, UnaryOp, formula};
use std::f64::consts::FRAC_1_SQRT_2;

fn dense(t: &Tensor) -> Result<DType> {
    t.dtype().ok_or_else(|| "block storage".into())
}

/// Each element by a formula, rounded once.
pub(super) fn map(t: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor> {
    let mut values = t.floats();
    values.iter_mut().for_each(|v| *v = f(*v));
    Ok(Tensor::from_f64(dense(t)?, t.shape(), &values)?)
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// `x Φ(x)`, exactly or in its tanh form.
pub(super) fn gelu(t: &Tensor, tanh: bool) -> Result<Tensor> {
    if tanh {
        let values: Result<Vec<f64>> = t.floats().into_iter().map(|x| formula::gelu(&mut Numbers, x, true)).collect();
        return Ok(Tensor::from_f64(dense(t)?, t.shape(), &values?)?);
    }
    // Through erfc, which keeps its digits where Φ is small; the formula's 1 + erf does not.
    map(t, |x| x * 0.5 * libm::erfc(-x * FRAC_1_SQRT_2))
}

/// Formulas with numbers.
struct Numbers;

impl formula::Algebra for Numbers {
    type Value = f64;
    type Error = String;

    fn number(&mut self, value: f64, _: f64) -> Result<f64> {
        Ok(value)
    }

    fn unary(&mut self, op: UnaryOp, x: f64) -> Result<f64> {
        Ok(float_unary(op)?(x))
    }

    fn binary(&mut self, op: BinaryOp, a: f64, b: f64) -> Result<f64> {
        Ok(float_binary(op)?(a, b))
    }
}

fn mean(row: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    row.iter().map(|v| f(*v)).sum::<f64>() / row.len() as f64
}

pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (mut values, weight) = (x.floats(), weight.floats());
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let scale = 1.0 / (mean(row, |v| v * v) + eps).sqrt();
        row.iter_mut().zip(&weight).for_each(|(v, w)| *v *= scale * w);
    }
    Ok(Tensor::from_f64(dense(x)?, x.shape(), &values)?)
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (mut values, weight, bias) = (x.floats(), weight.floats(), bias.floats());
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let centre = mean(row, |v| v);
        let scale = 1.0 / (mean(row, |v| (v - centre) * (v - centre)) + eps).sqrt();
        for ((v, w), b) in row.iter_mut().zip(&weight).zip(&bias) {
            *v = (*v - centre) * scale * w + b;
        }
    }
    Ok(Tensor::from_f64(dense(x)?, x.shape(), &values)?)
}

/// A row becomes the exponentials of the differences to its maximum; gives the maximum and their sum.
fn exponentials(row: &mut [f64]) -> (f64, f64) {
    let max = row.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    row.iter_mut().for_each(|v| *v = libm::exp(*v - max));
    (max, row.iter().sum())
}

/// Exponentials of the differences to the maximum, divided by their sum.
pub(super) fn softmax_row(row: &mut [f64]) {
    let (_, sum) = exponentials(row);
    row.iter_mut().for_each(|v| *v /= sum);
}

/// What `f` makes of each row along an axis.
fn by_rows(t: &Tensor, axis: usize, mut f: impl FnMut(&mut [f64])) -> Vec<f64> {
    let (n, inner) = (t.shape()[axis], t.shape()[axis + 1..].iter().product::<usize>());
    let mut values = t.floats();
    let mut row = vec![0.0; n];
    if !values.is_empty() {
        for o in 0..values.len() / n {
            let at = |i: usize| (o / inner * n + i) * inner + o % inner;
            row.iter_mut().enumerate().for_each(|(i, v)| *v = values[at(i)]);
            f(&mut row);
            row.iter().enumerate().for_each(|(i, v)| values[at(i)] = *v);
        }
    }
    values
}

pub(super) fn softmax(t: &Tensor, axis: usize) -> Result<Tensor> {
    Ok(Tensor::from_f64(dense(t)?, t.shape(), &by_rows(t, axis, softmax_row))?)
}

pub(super) fn log_sum_exp(t: &Tensor, axis: usize, shape: &[usize]) -> Result<Tensor> {
    let mut sums = Vec::with_capacity(shape.iter().product());
    by_rows(t, axis, |row| {
        let (max, sum) = exponentials(row);
        sums.push(libm::log(sum) + max);
    });
    Ok(Tensor::from_f64(dense(t)?, shape, &sums)?)
}

pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let &[_, _, heads, d] = x.shape() else { return Err(format!("x is [batch, s, heads, dim], found {}", x.ty())) };
    let half = d / 2;
    let (mut values, cos, sin) = (x.floats(), cos.floats(), sin.floats());
    for (h, head) in values.chunks_exact_mut(d.max(1)).enumerate() {
        let angles = h / heads * half;
        let (first, second) = head.split_at_mut(half);
        for (i, (a, b)) in first.iter_mut().zip(second).enumerate() {
            let (c, s) = (cos[angles + i], sin[angles + i]);
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
    Ok(Tensor::from_f64(dense(x)?, x.shape(), &values)?)
}
