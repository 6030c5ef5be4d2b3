//! Gradients of ops that move elements: each element's gradient moves back, and meets others where the element went to several places.

use super::{Gradient, Result};
use crate::{NodeId, Op, Real};
use kiln_core::{BinaryOp, CompareOp, Dim, ReduceOp};

/// The permutation that undoes one.
pub(super) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(to, from)| inverse[*from] = to);
    inverse
}

impl Gradient<'_> {
    pub(crate) fn reshape(&mut self) -> Result<()> {
        let shape = self.b.shape(self.x[0]);
        let dx = self.b.reshape(self.dy, shape)?;
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn transpose(&mut self, perm: &[usize]) -> Result<()> {
        let dx = self.b.op(Op::Transpose(inverse(perm)), &[self.dy])?;
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn broadcast(&mut self) -> Result<()> {
        let dx = self.sum_to(self.dy, self.x[0])?;
        self.give(0, dx);
        Ok(())
    }

    /// The sum of `x`, which a tensor of the shape of `like` broadcasts to, over what was repeated.
    pub(super) fn sum_to(&mut self, x: NodeId, like: NodeId) -> Result<NodeId> {
        let (wide, narrow) = (self.b.shape(x), self.b.shape(like));
        let front = wide.len() - narrow.len();
        let mut x = x;
        if front > 0 {
            // What stands in front is one axis: a sum of sums would round more often.
            let rows = wide[..front].iter().cloned().product();
            x = self.b.reshape(x, [vec![rows], wide[front..].to_vec()].concat())?;
            x = self.b.op(Op::Reduce { op: ReduceOp::Sum, axis: 0, keep: false }, &[x])?;
        }
        for (axis, (wide, narrow)) in wide[front..].iter().zip(&narrow).enumerate() {
            if wide != narrow {
                x = self.b.reduce(ReduceOp::Sum, x, axis)?;
            }
        }
        Ok(x)
    }

    pub(crate) fn slice(&mut self, axis: usize, start: &Dim, len: &Dim) -> Result<()> {
        let size = self.b.shape(self.x[0])[axis].clone();
        let high = size - start.clone() - len.clone();
        let pad = Op::Pad { axis, low: start.clone(), high, value: Real::new(0.0) };
        let dx = self.b.op(pad, &[self.dy])?;
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn pad(&mut self, axis: usize, low: &Dim) -> Result<()> {
        let len = self.b.shape(self.x[0])[axis].clone();
        let dx = self.b.op(Op::Slice { axis, start: low.clone(), len }, &[self.dy])?;
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn concat(&mut self, axis: usize) -> Result<()> {
        let mut start = Dim::constant(0);
        for operand in 0..self.x.len() {
            let len = self.b.shape(self.x[operand])[axis].clone();
            if self.wants(operand) {
                let part = Op::Slice { axis, start: start.clone(), len: len.clone() };
                let dx = self.b.op(part, &[self.dy])?;
                self.give(operand, dx);
            }
            start = start + len;
        }
        Ok(())
    }

    /// The indices along an axis of `x`, each within it.
    fn clamped(&mut self, indices: NodeId, x: NodeId, axis: usize) -> Result<NodeId> {
        let size = self.b.shape(x)[axis].clone();
        let last = self.b.op(Op::DimSize(size - 1.into()), &[])?;
        let last = self.b.broadcast(last, indices)?;
        let first = self.zeros(indices)?;
        let indices = self.b.binary(BinaryOp::Max, indices, first)?;
        self.b.binary(BinaryOp::Min, indices, last)
    }

    pub(crate) fn take(&mut self, axis: usize) -> Result<()> {
        let (x, indices) = (self.x[0], self.x[1]);
        let (shape, picked) = (self.b.shape(x), self.b.shape(indices));
        let count: Dim = picked.into_iter().product();
        let mut rows = shape.clone();
        rows[axis] = count.clone();
        let updates = self.b.reshape(self.dy, rows.clone())?;
        let indices = self.clamped(indices, x, axis)?;
        let mut along = vec![Dim::constant(1); shape.len()];
        along[axis] = count;
        let indices = self.b.reshape(indices, along)?;
        let indices = self.b.broadcast_to(indices, rows)?;
        let zeros = self.zeros(x)?;
        let dx = self.b.op(Op::ScatterAdd { axis }, &[zeros, indices, updates])?;
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn gather(&mut self, axis: usize) -> Result<()> {
        let x = self.x[0];
        let indices = self.clamped(self.x[1], x, axis)?;
        let zeros = self.zeros(x)?;
        // One element of each row goes there: every other element can tell that it is not the one, and nothing is scattered.
        let dx = if self.b.shape(indices)[axis].is(1) {
            let place = self.b.op(Op::Iota { shape: self.b.shape(x), axis }, &[])?;
            let indices = self.b.broadcast(indices, x)?;
            let chosen = self.b.op(Op::Compare(CompareOp::Eq), &[place, indices])?;
            let dy = self.b.broadcast(self.dy, x)?;
            self.b.op(Op::Select, &[chosen, dy, zeros])?
        } else {
            self.b.op(Op::ScatterAdd { axis }, &[zeros, indices, self.dy])?
        };
        self.give(0, dx);
        Ok(())
    }

    pub(crate) fn scatter_add(&mut self, axis: usize) -> Result<()> {
        let (x, indices, dy) = (self.x[0], self.x[1], self.dy);
        self.give(0, dy);
        if self.wants(2) {
            let picked = self.b.op(Op::Gather { axis }, &[dy, indices])?;
            let inside = self.clamped(indices, x, axis)?;
            let inside = self.b.op(Op::Compare(CompareOp::Eq), &[indices, inside])?;
            let zero = self.zeros(picked)?;
            let updates = self.b.op(Op::Select, &[inside, picked, zero])?;
            self.give(2, updates);
        }
        Ok(())
    }
}
