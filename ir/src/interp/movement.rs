//! Ops that move elements without computing on them, and iota.

use super::{Result, Tensor, tensor::byte_len};
use kiln_core::Storage;

/// Sizes before, at and after an axis, multiplied; the last in bytes.
struct Split {
    outer: usize,
    axis: usize,
    inner_bytes: usize,
}

fn split(t: &Tensor, axis: usize) -> Split {
    let (outer, size) = (t.shape()[..axis].iter().product::<usize>(), t.shape()[axis]);
    // Block storage is split at axis 0 only, where rows are whole blocks.
    let inner_bytes = t.bytes().len().checked_div(outer * size).unwrap_or(0);
    Split { outer, axis: size, inner_bytes }
}

fn with_axis(t: &Tensor, axis: usize, size: usize) -> Vec<usize> {
    let mut shape = t.shape().to_vec();
    shape[axis] = size;
    shape
}

/// An empty buffer for a tensor of that shape, after checking that it can exist.
fn buffer(storage: Storage, shape: &[usize]) -> Result<Vec<u8>> {
    let bytes = byte_len(storage, shape).ok_or_else(|| format!("{storage}{shape:?} is too large"))?;
    Ok(Vec::with_capacity(bytes))
}

pub(super) fn iota(shape: &[usize], axis: usize) -> Result<Tensor> {
    let inner: usize = shape[axis + 1..].iter().product();
    let count = byte_len(kiln_core::DType::I64.into(), shape).ok_or("the shape is too large")? / 8;
    let values: Vec<i64> = (0..count).map(|i| (i / inner % shape[axis]) as i64).collect();
    Ok(Tensor::from_i64(shape, &values)?)
}

/// Elements of `t` in the order of `shape`, which has one stride of `t` (in elements) per axis.
fn strided(t: &Tensor, shape: &[usize], strides: &[usize]) -> Result<Tensor> {
    let size = t.dtype().ok_or("block storage")?.size();
    let mut out = buffer(t.storage(), shape)?;
    if !shape.contains(&0) {
        let (rows, columns, last) = match (shape.split_last(), strides.split_last()) {
            (Some((n, rows)), Some((s, _))) => (rows, *n, *s),
            _ => (shape, 1, 1),
        };
        let src = t.bytes();
        for_each_offset(rows, strides, |offset| {
            if last == 1 {
                out.extend_from_slice(&src[offset * size..(offset + columns) * size]);
                return;
            }
            for i in 0..columns {
                let at = (offset + i * last) * size;
                out.extend_from_slice(&src[at..at + size]);
            }
        });
    }
    Ok(Tensor::from_bytes(t.storage(), shape, out)?)
}

/// Calls `f` with `Σ index[i] * strides[i]` for each index into `shape`, in row-major order; no size is zero.
pub(super) fn for_each_offset(shape: &[usize], strides: &[usize], mut f: impl FnMut(usize)) {
    let mut index = vec![0usize; shape.len()];
    let mut offset = 0;
    loop {
        f(offset);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}

/// Elements between neighbours along each axis.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

pub(super) fn transpose(t: &Tensor, perm: &[usize]) -> Result<Tensor> {
    let from = strides(t.shape());
    let shape: Vec<usize> = perm.iter().map(|p| t.shape()[*p]).collect();
    strided(t, &shape, &perm.iter().map(|p| from[*p]).collect::<Vec<_>>())
}

pub(super) fn broadcast(t: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let misfit = || format!("{} does not broadcast to {shape:?}", t.ty());
    let skip = shape.len().checked_sub(t.shape().len()).ok_or_else(misfit)?;
    let mut to = vec![0; skip];
    for ((n, stride), wanted) in t.shape().iter().zip(strides(t.shape())).zip(&shape[skip..]) {
        match n {
            n if n == wanted => to.push(stride),
            1 => to.push(0),
            _ => return Err(misfit()),
        }
    }
    strided(t, shape, &to)
}

pub(super) fn slice(t: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
    let s = split(t, axis);
    let end = start.checked_add(len).filter(|end| *end <= s.axis);
    let end =
        end.ok_or_else(|| format!("{start}..{} lies outside the axis of size {}", start.saturating_add(len), s.axis))?;
    let shape = with_axis(t, axis, len);
    let mut out = buffer(t.storage(), &shape)?;
    for row in 0..s.outer {
        let base = row * s.axis;
        out.extend_from_slice(&t.bytes()[(base + start) * s.inner_bytes..(base + end) * s.inner_bytes]);
    }
    Ok(Tensor::from_bytes(t.storage(), shape, out)?)
}

pub(super) fn concat(operands: &[Tensor], axis: usize) -> Result<Tensor> {
    let first = operands.first().ok_or("takes at least one operand")?;
    let shape = with_axis(first, axis, operands.iter().map(|t| t.shape()[axis]).sum());
    let mut out = buffer(first.storage(), &shape)?;
    for row in 0..shape[..axis].iter().product() {
        for t in operands {
            let s = split(t, axis);
            let bytes = s.axis * s.inner_bytes;
            out.extend_from_slice(&t.bytes()[row * bytes..(row + 1) * bytes]);
        }
    }
    Ok(Tensor::from_bytes(first.storage(), shape, out)?)
}

pub(super) fn pad(t: &Tensor, axis: usize, low: usize, high: usize, value: f64) -> Result<Tensor> {
    let s = split(t, axis);
    let size = s.axis.checked_add(low).and_then(|n| n.checked_add(high)).ok_or("the result is too large")?;
    let shape = with_axis(t, axis, size);
    let mut out = buffer(t.storage(), &shape)?;
    let mut element = vec![];
    t.dtype().ok_or("block storage")?.write(value, &mut element);
    let inner: usize = shape[axis + 1..].iter().product();
    for row in 0..s.outer {
        out.extend(element.iter().cycle().take(low * inner * element.len()));
        out.extend_from_slice(&t.bytes()[row * s.axis * s.inner_bytes..(row + 1) * s.axis * s.inner_bytes]);
        out.extend(element.iter().cycle().take(high * inner * element.len()));
    }
    Ok(Tensor::from_bytes(t.storage(), shape, out)?)
}

pub(super) fn take(t: &Tensor, indices: &Tensor, axis: usize, shape: &[usize]) -> Result<Tensor> {
    let s = split(t, axis);
    let indices = indices.ints();
    let mut out = buffer(t.storage(), shape)?;
    if s.axis == 0 && !shape.contains(&0) {
        return Err("takes rows of an axis of size 0".into());
    }
    for row in 0..s.outer {
        for i in &indices {
            let i = (*i).clamp(0, (s.axis.max(1) - 1) as i64) as usize;
            let at = (row * s.axis + i) * s.inner_bytes;
            out.extend_from_slice(&t.bytes()[at..at + s.inner_bytes]);
        }
    }
    Ok(Tensor::from_bytes(t.storage(), shape, out)?)
}

pub(super) fn gather(t: &Tensor, indices: &Tensor, axis: usize) -> Result<Tensor> {
    let size = t.dtype().ok_or("block storage")?.size();
    let (n, k) = (t.shape()[axis], indices.shape()[axis]);
    let inner: usize = t.shape()[axis + 1..].iter().product();
    let mut out = buffer(t.storage(), indices.shape())?;
    for (place, i) in indices.ints().into_iter().enumerate() {
        if n == 0 {
            return Err("gathers from an axis of size 0".into());
        }
        let i = i.clamp(0, n as i64 - 1) as usize;
        let at = (place / (k * inner) * n + i) * inner + place % inner;
        out.extend_from_slice(&t.bytes()[at * size..(at + 1) * size]);
    }
    Ok(Tensor::from_bytes(t.storage(), indices.shape(), out)?)
}

/// Sums are of exact numbers, rounded once.
pub(super) fn scatter_add(t: &Tensor, indices: &Tensor, updates: &Tensor, axis: usize) -> Result<Tensor> {
    let d = t.dtype().ok_or("block storage")?;
    let (n, k) = (t.shape()[axis], updates.shape()[axis]);
    let inner: usize = t.shape()[axis + 1..].iter().product();
    let place = |from: usize, i: i64| {
        let i = usize::try_from(i).ok().filter(|i| *i < n)?;
        Some((from / (k * inner) * n + i) * inner + from % inner)
    };
    let places: Vec<Option<usize>> = indices.ints().into_iter().enumerate().map(|(from, i)| place(from, i)).collect();
    if d.is_float() {
        let mut out = t.floats();
        places.iter().zip(updates.floats()).for_each(|(at, u)| at.iter().for_each(|at| out[*at] += u));
        return Ok(Tensor::from_f64(d, t.shape(), &out)?);
    }
    let mut out = t.ints();
    let add = |a: &mut i64, u: i64| *a = a.wrapping_add(u);
    places.iter().zip(updates.ints()).for_each(|(at, u)| at.iter().for_each(|at| add(&mut out[*at], u)));
    Ok(Tensor::from_ints(d, t.shape(), &out)?)
}
