//! Reductions along one axis.

use super::{Result, Tensor, elementwise};
use kiln_core::{DType, ReduceOp};

pub(super) fn reduce(op: ReduceOp, t: &Tensor, axis: usize, shape: &[usize]) -> Result<Tensor> {
    let d = t.dtype().ok_or("block storage")?;
    let outer: usize = t.shape()[..axis].iter().product();
    let (n, inner) = (t.shape()[axis], t.shape()[axis + 1..].iter().product());
    if op == ReduceOp::ArgMax {
        let greater = ordering(t, d);
        let mut out = vec![0i64; outer * inner];
        for (o, best) in out.iter_mut().enumerate() {
            let at = |i: usize| (o / inner * n + i) * inner + o % inner;
            *best = (1..n).fold(0, |best, i| if greater(at(i), at(best)) { i } else { best }) as i64;
        }
        return Ok(Tensor::from_i64(shape, &out)?);
    }
    if d.is_float() {
        let (identity, f) = of_floats(op);
        return Ok(Tensor::from_f64(d, shape, &fold(&t.floats(), [outer, n, inner], identity, f))?);
    }
    let (identity, f) = of_integers(op, d);
    Ok(Tensor::from_ints(d, shape, &fold(&t.ints(), [outer, n, inner], identity, f))?)
}

/// What a reduction of nothing gives, and how two values combine; not of argmax.
fn of_floats(op: ReduceOp) -> (f64, fn(f64, f64) -> f64) {
    match op {
        ReduceOp::Sum => (0.0, |a, b| a + b),
        ReduceOp::Prod => (1.0, |a, b| a * b),
        ReduceOp::Max => (f64::NEG_INFINITY, elementwise::max),
        _ => (f64::INFINITY, elementwise::min),
    }
}

/// As [`of_floats`].
fn of_integers(op: ReduceOp, d: DType) -> (i64, fn(i64, i64) -> i64) {
    let (lowest, highest) = match d {
        DType::I64 => (i64::MIN, i64::MAX),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        _ => (0, u8::MAX.into()),
    };
    match op {
        ReduceOp::Sum => (0, i64::wrapping_add),
        ReduceOp::Prod => (1, i64::wrapping_mul),
        ReduceOp::Max => (lowest, i64::max),
        _ => (highest, i64::min),
    }
}

/// Each element combined with those before it along the axis, or with those after it.
pub(super) fn cumulative(op: ReduceOp, t: &Tensor, axis: usize, reverse: bool) -> Result<Tensor> {
    let d = t.dtype().ok_or("block storage")?;
    let (n, inner) = (t.shape()[axis], t.shape()[axis + 1..].iter().product());
    if d.is_float() {
        let (identity, f) = of_floats(op);
        return Ok(Tensor::from_f64(d, t.shape(), &scan(&t.floats(), [n, inner], reverse, identity, f))?);
    }
    let (identity, f) = of_integers(op, d);
    Ok(Tensor::from_ints(d, t.shape(), &scan(&t.ints(), [n, inner], reverse, identity, f))?)
}

fn scan<T: Copy>(values: &[T], [n, inner]: [usize; 2], reverse: bool, identity: T, f: fn(T, T) -> T) -> Vec<T> {
    let mut out = values.to_vec();
    for plane in out.chunks_exact_mut((n * inner).max(1)) {
        for column in 0..inner {
            let mut running = identity;
            for i in 0..n {
                let at = if reverse { n - 1 - i } else { i } * inner + column;
                running = f(running, plane[at]);
                plane[at] = running;
            }
        }
    }
    out
}

/// Whether one element, by its place in memory, is larger than another; NaN counts as -inf.
fn ordering(t: &Tensor, d: DType) -> Box<dyn Fn(usize, usize) -> bool> {
    if d.is_float() {
        let v: Vec<f64> = t.floats().iter().map(|x| if x.is_nan() { f64::NEG_INFINITY } else { *x }).collect();
        Box::new(move |a, b| v[a] > v[b])
    } else {
        let v = t.ints();
        Box::new(move |a, b| v[a] > v[b])
    }
}

/// `shape` is that of the indices: how many it has along the axis is how many are wanted.
pub(super) fn top_k(t: &Tensor, axis: usize, shape: &[usize]) -> Result<Tensor> {
    let d = t.dtype().ok_or("block storage")?;
    let greater = ordering(t, d);
    let (n, k) = (t.shape()[axis], shape[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut out = vec![0i64; outer * k * inner];
    for row in 0..outer * inner {
        let (o, i) = (row / inner, row % inner);
        let at = |j: usize| (o * n + j) * inner + i;
        let mut order: Vec<usize> = (0..n).collect();
        // A stable sort leaves equals in their order.
        order.sort_by(|a, b| greater(at(*b), at(*a)).cmp(&greater(at(*a), at(*b))));
        for (j, index) in order.into_iter().take(k).enumerate() {
            out[(o * k + j) * inner + i] = index as i64;
        }
    }
    Ok(Tensor::from_i64(shape, &out)?)
}

fn fold<T: Copy>(values: &[T], [outer, n, inner]: [usize; 3], identity: T, f: fn(T, T) -> T) -> Vec<T> {
    let mut out = vec![identity; outer * inner];
    for o in 0..outer {
        for i in 0..n {
            let row = &values[(o * n + i) * inner..][..inner];
            out[o * inner..][..inner].iter_mut().zip(row).for_each(|(a, v)| *a = f(*a, *v));
        }
    }
    out
}
