//! Gradients of ops along an axis.

use super::{Gradient, Result};
use crate::{IrError, NodeId, Op, Real};
use kiln_core::{BinaryOp, CompareOp, Dim, ReduceOp, UnaryOp};

impl Gradient<'_> {
    pub(crate) fn reduce(&mut self, op: ReduceOp, axis: usize) -> Result<()> {
        let x = self.x[0];
        let mut kept = self.b.shape(x);
        kept[axis] = 1.into();
        let mut along = |id| {
            let id = self.b.reshape(id, kept.clone())?;
            self.b.broadcast(id, x)
        };
        let dy = along(self.dy)?;
        let dx = match op {
            ReduceOp::Sum => dy,
            ReduceOp::Max | ReduceOp::Min => {
                let y = along(self.y)?;
                let best = self.b.op(Op::Compare(CompareOp::Eq), &[x, y])?;
                let (one, zero) = (self.b.number(1.0, x)?, self.zeros(x)?);
                let ones = self.b.op(Op::Select, &[best, one, zero])?;
                let count = self.b.reduce(ReduceOp::Sum, ones, axis)?;
                let count = self.b.broadcast(count, x)?;
                let share = self.b.binary(BinaryOp::Div, dy, count)?;
                self.b.op(Op::Select, &[best, share, zero])?
            }
            ReduceOp::Prod => {
                // The product of the others, which a quotient by x would not be where x is 0.
                let before = self.product_of_others(x, axis, false)?;
                let after = self.product_of_others(x, axis, true)?;
                let others = self.mul(before, after)?;
                self.mul(dy, others)?
            }
            ReduceOp::ArgMax => return Ok(()),
        };
        self.give(0, dx);
        Ok(())
    }

    /// For each element along an axis, the product of all before it, or of all after it.
    fn product_of_others(&mut self, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
        let size = self.b.shape(x)[axis].clone();
        let running = self.b.op(Op::Cumulative { op: ReduceOp::Prod, axis, reverse }, &[x])?;
        let (low, high): (Dim, Dim) = if reverse { (0.into(), 1.into()) } else { (1.into(), 0.into()) };
        let start = high.clone();
        let padded = self.b.op(Op::Pad { axis, low, high, value: Real::new(1.0) }, &[running])?;
        self.b.op(Op::Slice { axis, start, len: size }, &[padded])
    }

    pub(crate) fn cumulative(&mut self, op: ReduceOp, axis: usize, reverse: bool) -> Result<()> {
        if op != ReduceOp::Sum {
            let op = Op::Cumulative { op, axis, reverse }.to_string();
            let reason = "of the running operations only the sum has a gradient".into();
            return Err(IrError::NoGradient { op, reason });
        }
        let dx = self.b.op(Op::Cumulative { op, axis, reverse: !reverse }, &[self.dy])?;
        self.give(0, dx);
        Ok(())
    }

    /// `y (dy - Σ dy y)`
    pub(crate) fn softmax(&mut self, axis: usize) -> Result<()> {
        let dx = self.softmax_of(self.y, self.dy, axis)?;
        self.give(0, dx);
        Ok(())
    }

    /// The gradient of what a softmax was taken of, from its result and the result's gradient.
    pub(super) fn softmax_of(&mut self, y: NodeId, dy: NodeId, axis: usize) -> Result<NodeId> {
        let product = self.mul(dy, y)?;
        let sum = self.b.reduce(ReduceOp::Sum, product, axis)?;
        let sum = self.b.broadcast(sum, y)?;
        let centred = self.sub(dy, sum)?;
        self.mul(centred, y)
    }

    /// `dy e^(x - y)`
    pub(crate) fn log_sum_exp(&mut self) -> Result<()> {
        let x = self.x[0];
        let y = self.b.broadcast(self.y, x)?;
        let difference = self.sub(x, y)?;
        let share = self.b.unary(UnaryOp::Exp, difference)?;
        let dy = self.b.broadcast(self.dy, x)?;
        let dx = self.mul(dy, share)?;
        self.give(0, dx);
        Ok(())
    }

    /// With `r = 1 / sqrt(mean(x²) + eps)`, `n = x r` and `g = dy w`: `dx = r (g - n mean(g n))`, `dw = Σ dy n`.
    pub(crate) fn rms_norm(&mut self, eps: f64) -> Result<()> {
        self.norm(self.x[0], eps, false)
    }

    /// With `c = x - mean(x)`, `r = 1 / sqrt(mean(c²) + eps)`, `n = c r` and `g = dy w`: `dx = r (g - mean(g) - n mean(g n))`,
    /// `dw = Σ dy n`, `db = Σ dy`.
    pub(crate) fn layer_norm(&mut self, eps: f64) -> Result<()> {
        let centred = self.b.centred(self.x[0])?;
        self.norm(centred, eps, true)
    }

    fn norm(&mut self, x: NodeId, eps: f64, centred: bool) -> Result<()> {
        let (weight, dy) = (self.x[1], self.dy);
        let scale = self.b.inverse_rms(x, eps)?;
        let normed = self.mul(x, scale)?;
        if self.wants(0) {
            let wide = self.b.broadcast(weight, x)?;
            let g = self.mul(dy, wide)?;
            let product = self.mul(g, normed)?;
            let share = self.b.mean(product)?;
            let share = self.b.broadcast(share, x)?;
            let along = self.mul(normed, share)?;
            let mut rest = self.sub(g, along)?;
            if centred {
                let mean = self.b.mean(g)?;
                let mean = self.b.broadcast(mean, x)?;
                rest = self.sub(rest, mean)?;
            }
            let dx = self.mul(scale, rest)?;
            self.give(0, dx);
        }
        if self.wants(1) {
            let product = self.mul(dy, normed)?;
            let dw = self.sum_to(product, weight)?;
            self.give(1, dw);
        }
        if centred && self.wants(2) {
            let db = self.sum_to(dy, self.x[2])?;
            self.give(2, db);
        }
        Ok(())
    }

    /// Turned back by the same angles; `dcos` and `dsin` are sums over the heads.
    pub(crate) fn rope(&mut self) -> Result<()> {
        let (x, cos, sin, dy) = (self.x[0], self.x[1], self.x[2], self.dy);
        if self.wants(0) {
            let back = self.b.unary(UnaryOp::Neg, sin)?;
            let dx = self.b.op(Op::Rope, &[dy, cos, back])?;
            self.give(0, dx);
        }
        if !self.wants(1) && !self.wants(2) {
            return Ok(());
        }
        let half = self.b.shape(cos)[2].clone();
        let mut part = |id, start: Dim| self.b.op(Op::Slice { axis: 3, start, len: half.clone() }, &[id]);
        let (a, b) = (part(x, 0.into())?, part(x, half.clone())?);
        let (da, db) = (part(dy, 0.into())?, part(dy, half.clone())?);
        // The halves of the result are a cos - b sin and b cos + a sin.
        for (operand, op, pairs) in [(1, BinaryOp::Add, [(da, a), (db, b)]), (2, BinaryOp::Sub, [(db, a), (da, b)])] {
            if !self.wants(operand) {
                continue;
            }
            let first = self.mul(pairs[0].0, pairs[0].1)?;
            let second = self.mul(pairs[1].0, pairs[1].1)?;
            let terms = self.b.binary(op, first, second)?;
            let sum = self.b.op(Op::Reduce { op: ReduceOp::Sum, axis: 2, keep: false }, &[terms])?;
            self.give(operand, sum);
        }
        Ok(())
    }
}
