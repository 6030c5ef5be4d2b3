//! Gradients of products.

use super::movement::inverse;
use super::{Gradient, Result};
use crate::{AttentionAttrs, DType, DotDims, IrError, NodeId, Op};
use kiln_core::Dim;

impl Gradient<'_> {
    /// The gradient of each side is a product of the result's gradient with the other side, summed over the other's free axes.
    pub(crate) fn dot_general(&mut self, d: &DotDims) -> Result<()> {
        let ranks = [self.b.shape(self.x[0]).len(), self.b.shape(self.x[1]).len()];
        let free = [
            DotDims::free(ranks[0], &d.lhs_batch, &d.lhs_contract),
            DotDims::free(ranks[1], &d.rhs_batch, &d.rhs_contract),
        ];
        let batch = d.lhs_batch.len();
        let mine = [(&d.lhs_batch, &d.lhs_contract), (&d.rhs_batch, &d.rhs_contract)];
        for side in 0..2 {
            if !self.wants(side) {
                continue;
            }
            let other = 1 - side;
            // Where the other side's free axes stand in the result.
            let first = if other == 0 { batch } else { batch + free[0].len() };
            let dims = DotDims {
                lhs_batch: (0..batch).collect(),
                lhs_contract: (first..first + free[other].len()).collect(),
                rhs_batch: mine[other].0.clone(),
                rhs_contract: free[other].clone(),
            };
            let mut factor = self.x[other];
            if self.b.f.tensor(factor).dtype().is_none() {
                // Blocks lie along what the layer sums, and not along what its gradient sums.
                let dtype = self.b.f.tensor(self.dy).dtype().unwrap_or(DType::F32);
                factor = self.b.op(Op::Dequantize(dtype), &[factor])?;
            }
            let product = self.product(dims, self.dy, factor)?;
            // It has the batch axes, this side's free axes, and the other's summed axes, lowest first, each of which pairs with one of
            // this side's.
            let mut pairs: Vec<(usize, usize)> =
                mine[other].1.iter().copied().zip(mine[side].1.iter().copied()).collect();
            pairs.sort_unstable();
            let axes: Vec<usize> = mine[side]
                .0
                .iter()
                .chain(&free[side])
                .copied()
                .chain(pairs.into_iter().map(|(_, axis)| axis))
                .collect();
            let gradient = self.with_axes(product, &axes)?;
            self.give(side, gradient);
        }
        Ok(())
    }

    /// A product whose summed axes are one where they stand in front on both sides: the gradient of a layer's weight is a sum over
    /// rows, along however many axes they lie, and so a product of two matrices.
    fn product(&mut self, dims: DotDims, dy: NodeId, factor: NodeId) -> Result<NodeId> {
        let count = dims.lhs_contract.len();
        let in_front = |axes: &[usize]| axes.iter().copied().eq(0..count);
        if count == 0 || !dims.lhs_batch.is_empty() || !in_front(&dims.lhs_contract) || !in_front(&dims.rhs_contract) {
            return self.b.op(Op::DotGeneral(dims), &[dy, factor]);
        }
        let (dy_shape, shape) = (self.b.shape(dy), self.b.shape(factor));
        let rows: Dim = shape[..count].iter().cloned().product();
        let mut matrix = |x: NodeId, shape: &[Dim]| {
            let columns = shape[count..].iter().cloned().product();
            self.b.reshape(x, vec![rows.clone(), columns])
        };
        let (left, right) = (matrix(dy, &dy_shape)?, matrix(factor, &shape)?);
        let columns = |x: NodeId, b: &Self| b.b.shape(x)[1].clone();
        let (n, k) = (columns(left, self), columns(right, self));
        let dims = DotDims { lhs_contract: vec![0], rhs_contract: vec![0], ..DotDims::default() };
        // The left side is turned before it is multiplied, the right side read as it lies: the smaller one stands on the left.
        let wide = n.as_const().zip(k.as_const()).is_some_and(|(n, k)| n > k);
        let product = if wide {
            let turned = self.b.op(Op::DotGeneral(dims), &[right, left])?;
            self.b.op(Op::Transpose(vec![1, 0]), &[turned])?
        } else {
            self.b.op(Op::DotGeneral(dims), &[left, right])?
        };
        self.b.reshape(product, [&dy_shape[count..], &shape[count..]].concat())
    }

    /// `x`, whose axis i is axis `axes[i]` of the result.
    fn with_axes(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        if axes.is_sorted() { Ok(x) } else { self.b.op(Op::Transpose(inverse(axes)), &[x]) }
    }

    /// With the weights `p`: `dv = pᵀ dy`, `ds = p (dp - Σ dp p)` for `dp = dy vᵀ`, `dq = scale ds k`, `dk = scale dsᵀ q`.
    /// A score that is not seen has the weight 0, and so no gradient, but where a query sees no key at all.
    pub(crate) fn attention(&mut self, a: &AttentionAttrs) -> Result<()> {
        if a.cached {
            let op = Op::Attention(a.clone()).to_string();
            let reason = "attention over a cache is for generation: train with an entry that has no cache".into();
            return Err(IrError::NoGradient { op, reason });
        }
        let (q, k, v) = (self.x[0], self.x[1], self.x[2]);
        let (q_shape, k_shape, v_shape) = (self.b.shape(q), self.b.shape(k), self.b.shape(v));
        let p = self.b.attention_weights(a, self.x)?.weights;
        // p is [b, kv_heads, s, group, t]; the queries and dy are [b, s, kv_heads, group, dim].
        let group = self.b.shape(p)[3].clone();
        let grouped = |dim| vec![q_shape[0].clone(), q_shape[1].clone(), k_shape[2].clone(), group.clone(), dim];
        let dy = self.b.reshape(self.dy, grouped(v_shape[3].clone()))?;
        let over_queries = DotDims {
            lhs_batch: vec![0, 1],
            rhs_batch: vec![0, 2],
            lhs_contract: vec![2, 3],
            rhs_contract: vec![1, 3],
        };
        if self.wants(2) {
            let dv = self.b.op(Op::DotGeneral(over_queries.clone()), &[p, dy])?;
            let dv = self.b.op(Op::Transpose(vec![0, 2, 1, 3]), &[dv])?;
            self.give(2, dv);
        }
        if !self.wants(0) && !self.wants(1) {
            return Ok(());
        }
        let with_values =
            DotDims { lhs_batch: vec![0, 2], rhs_batch: vec![0, 2], lhs_contract: vec![4], rhs_contract: vec![3] };
        let dp = self.b.op(Op::DotGeneral(with_values), &[dy, v])?;
        let ds = self.softmax_of(p, dp, 4)?;
        let ds = self.scaled(ds, a.scale.get())?;
        if self.wants(0) {
            let with_keys =
                DotDims { lhs_batch: vec![0, 1], rhs_batch: vec![0, 2], lhs_contract: vec![4], rhs_contract: vec![1] };
            let dq = self.b.op(Op::DotGeneral(with_keys), &[ds, k])?;
            let dq = self.b.op(Op::Transpose(vec![0, 2, 1, 3, 4]), &[dq])?;
            let dq = self.b.reshape(dq, q_shape.clone())?;
            self.give(0, dq);
        }
        if self.wants(1) {
            let queries = self.b.reshape(q, grouped(q_shape[3].clone()))?;
            let dk = self.b.op(Op::DotGeneral(over_queries), &[ds, queries])?;
            let dk = self.b.op(Op::Transpose(vec![0, 2, 1, 3]), &[dk])?;
            self.give(1, dk);
        }
        Ok(())
    }
}
