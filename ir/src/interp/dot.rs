//! Sums of products.

use super::{Result, Tensor, movement::for_each_offset, movement::strides, tensor::read_floats};
use crate::DotDims;
use kiln_core::DType;

/// Rows of the larger operand that are unpacked at a time.
const ROWS: usize = 16;

/// An operand as a matrix of rows over the summed axes, for each index of the batch axes.
struct Operand<'a> {
    dtype: DType,
    bytes: &'a [u8],
    /// Element offsets of each batch index, row, and summed index; they add up.
    batch: Vec<usize>,
    rows: Vec<usize>,
    summed: Vec<usize>,
    /// Whether the summed index counts neighbours.
    contiguous: bool,
}

fn offsets(t: &Tensor, axes: &[usize]) -> Vec<usize> {
    let all = strides(t.shape());
    let shape: Vec<usize> = axes.iter().map(|a| t.shape()[*a]).collect();
    let mut out = Vec::with_capacity(shape.iter().product());
    if !shape.contains(&0) {
        for_each_offset(&shape, &axes.iter().map(|a| all[*a]).collect::<Vec<_>>(), |o| out.push(o));
    }
    out
}

impl<'a> Operand<'a> {
    fn new(t: &'a Tensor, batch: &[usize], contract: &[usize]) -> Result<Self> {
        let summed = offsets(t, contract);
        Ok(Operand {
            dtype: t.dtype().ok_or("block storage")?,
            bytes: t.bytes(),
            batch: offsets(t, batch),
            rows: offsets(t, &DotDims::free(t.shape().len(), batch, contract)),
            contiguous: summed.iter().enumerate().all(|(i, o)| i == *o),
            summed,
        })
    }

    /// Rows `from..to` of a batch index as f64, row-major.
    fn unpack(&self, batch: usize, from: usize, to: usize, out: &mut [f64]) {
        let (size, k) = (self.dtype.size(), self.summed.len());
        let element = |at: usize| &self.bytes[at * size..(at + 1) * size];
        let base = |row: usize| self.batch[batch] + self.rows[row];
        if k == 0 {
            return;
        }
        if self.contiguous {
            for (row, out) in (from..to).zip(out.chunks_exact_mut(k)) {
                read_floats(self.dtype, &self.bytes[base(row) * size..(base(row) + k) * size], out);
            }
            return;
        }
        // The rows are the neighbours in memory, most often: walk them innermost.
        for (i, s) in self.summed.iter().enumerate() {
            for row in from..to {
                read_floats(self.dtype, element(base(row) + s), &mut out[(row - from) * k + i..][..1]);
            }
        }
    }
}

pub(super) fn dot_general(d: &DotDims, lhs: &Tensor, rhs: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let dtype = lhs.dtype().ok_or("block storage")?;
    if rhs.dtype().is_none() {
        let dense = Tensor::from_f64(DType::F32, rhs.shape().to_vec(), &rhs.to_f64_vec())?;
        return dot_general(d, lhs, &dense, shape);
    }
    if !dtype.is_float() {
        return integers(d, lhs, rhs, shape, dtype);
    }
    let (l, r) = (Operand::new(lhs, &d.lhs_batch, &d.lhs_contract)?, Operand::new(rhs, &d.rhs_batch, &d.rhs_contract)?);
    let (m, n, k) = (l.rows.len(), r.rows.len(), l.summed.len());
    let mut out = vec![0.0; l.batch.len() * m * n];
    // The operand with fewer rows is unpacked whole, the other a few rows at a time.
    let swap = m > n;
    let (small, large) = if swap { (&r, &l) } else { (&l, &r) };
    let mut packed = vec![0.0; small.rows.len() * k];
    let mut strip = vec![0.0; ROWS.min(large.rows.len()) * k];
    if k > 0 {
        for (batch, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
            small.unpack(batch, 0, small.rows.len(), &mut packed);
            for from in (0..large.rows.len()).step_by(ROWS) {
                let to = (from + ROWS).min(large.rows.len());
                large.unpack(batch, from, to, &mut strip);
                for (i, a) in packed.chunks_exact(k).enumerate() {
                    for (j, b) in (from..to).zip(strip.chunks_exact(k)) {
                        out[if swap { j * n + i } else { i * n + j }] = dot(a, b);
                    }
                }
            }
        }
    }
    Ok(Tensor::from_f64(dtype, shape, &out)?)
}

/// The sum of products, in eight partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn integers(d: &DotDims, lhs: &Tensor, rhs: &Tensor, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let (l, r) = (Operand::new(lhs, &d.lhs_batch, &d.lhs_contract)?, Operand::new(rhs, &d.rhs_batch, &d.rhs_contract)?);
    let (a, b) = (lhs.ints(), rhs.ints());
    let mut out = Vec::with_capacity(shape.iter().product());
    for (la, rb) in l.batch.iter().zip(&r.batch) {
        for i in &l.rows {
            for j in &r.rows {
                let products = l.summed.iter().zip(&r.summed).map(|(p, q)| a[la + i + p].wrapping_mul(b[rb + j + q]));
                out.push(products.fold(0i64, i64::wrapping_add));
            }
        }
    }
    Ok(Tensor::from_ints(dtype, shape, &out)?)
}
