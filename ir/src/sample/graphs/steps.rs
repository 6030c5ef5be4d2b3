//! What one step of a random module does: each looks for operands, makes those that are missing, and adds a node or a few.

use super::{Choice, Graph, symbol};
use crate::{ArgKind, AttentionAttrs, ConvAttrs, DType, DotDims, NodeId, Op, Real, TensorType};
use kiln_core::{BinaryOp, CompareOp, Dim, ReduceOp, UnaryOp};

impl Graph<'_> {
    pub(super) fn unary(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let unary = [UnaryOp::Neg, UnaryOp::Tanh, UnaryOp::Abs, UnaryOp::Sin, UnaryOp::Cos, UnaryOp::Erf];
        let op = match usize::from(c[2]) % 11 {
            6 => Op::Sigmoid,
            7 => Op::Silu,
            8 => Op::Gelu { tanh: false },
            9 => Op::Gelu { tanh: true },
            // The written-out form of silu.
            10 => {
                let s = self.add(Op::Sigmoid, &[x])?;
                return self.add(Op::Binary(BinaryOp::Mul), &[x, s]);
            }
            n => Op::Unary(unary[n]),
        };
        self.add(op, &[x])
    }

    pub(super) fn binary(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let y = self.of_type(&self.ty(x), c[2]);
        let ops = [BinaryOp::Add, BinaryOp::Mul, BinaryOp::Sub, BinaryOp::Max, BinaryOp::Min, BinaryOp::Div];
        let op = ops[usize::from(c[3]) % ops.len()];
        let y = if op == BinaryOp::Div { self.positive(y)? } else { y };
        self.add(Op::Binary(op), &[x, y])
    }

    pub(super) fn by_constant(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let values = [1.0, 0.5, 2.0, 0.0, -1.0, 0.25, 3.0];
        let constant = self.splat(x, values[usize::from(c[2]) % values.len()])?;
        let ops = [BinaryOp::Mul, BinaryOp::Add, BinaryOp::Sub];
        let operands = if c[4].is_multiple_of(2) { [x, constant] } else { [constant, x] };
        self.add(Op::Binary(ops[usize::from(c[3]) % ops.len()]), &operands)
    }

    pub(super) fn with_bias(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let shape = self.ty(x).shape.to_vec();
        let n = shape.last()?.as_const()?;
        let bias = self.weight(&[n]);
        let bias = self.add_unlisted(Op::Broadcast(shape), &[bias])?;
        let op = if c[2].is_multiple_of(2) { BinaryOp::Add } else { BinaryOp::Mul };
        self.add(Op::Binary(op), &[x, bias])
    }

    pub(super) fn positive_unary(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let ops = [UnaryOp::Sqrt, UnaryOp::Rsqrt, UnaryOp::Log];
        match usize::from(c[2]) % 5 {
            3 => {
                let small = self.add(Op::Unary(UnaryOp::Tanh), &[x])?;
                self.add(Op::Unary(UnaryOp::Exp), &[small])
            }
            4 => {
                let base = self.positive(x)?;
                let exponent = self.splat(x, [2.0, 0.5, 1.0, -1.0][usize::from(c[3]) % 4])?;
                self.add(Op::Binary(BinaryOp::Pow), &[base, exponent])
            }
            n => {
                let p = self.positive(x)?;
                self.add(Op::Unary(ops[n]), &[p])
            }
        }
    }

    /// Comparisons, choices, conversions, sizes.
    pub(super) fn chosen(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let ty = self.ty(x);
        match c[3] % 4 {
            0 | 1 => {
                let y = self.of_type(&ty, c[2]);
                let compare = CompareOp::ALL[usize::from(c[4]) % CompareOp::ALL.len()];
                let mut condition = self.add(Op::Compare(compare), &[x, y])?;
                if c[3] % 4 == 1 {
                    condition = self.add(Op::Unary(UnaryOp::Not), &[condition])?;
                }
                self.add(Op::Select, &[condition, y, x])
            }
            2 if c[4] % 3 == 2 => {
                let number = self.f.args.len() as u32;
                let kind = if ty.shape.iter().all(|d| d.as_const().is_some()) && c[2] % 2 == 1 {
                    ArgKind::Param { live: true }
                } else {
                    ArgKind::State
                };
                let state = self.add_arg(&ty, kind);
                let next = self.add(Op::Binary(BinaryOp::Add), &[state, x])?;
                let version = self.add_unlisted(Op::Write, &[state, next])?;
                self.states.push((number, version));
                self.add(Op::Unary(UnaryOp::Neg), &[version])
            }
            2 => {
                let axis = usize::from(c[2]).checked_rem(ty.rank())?;
                let indices = self.add_unlisted(Op::Iota { shape: ty.shape.to_vec(), axis }, &[])?;
                let position = self.add(Op::Cast(self.float), &[indices])?;
                self.add(Op::Binary(BinaryOp::Sub), &[x, position])
            }
            _ => {
                let size = self.add_unlisted(Op::DimSize(symbol("b") + symbol("s")), &[])?;
                let size = self.add_unlisted(Op::Cast(self.float), &[size])?;
                let size = self.add_unlisted(Op::Broadcast(ty.shape.to_vec()), &[size])?;
                self.add(Op::Binary(BinaryOp::Mul), &[x, size])
            }
        }
    }

    pub(super) fn transpose(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.pick(c[1], |t| t.rank() > 1)?;
        let mut perm: Vec<usize> = (0..self.ty(x).rank()).collect();
        let n = perm.len();
        perm.swap(usize::from(c[2]) % n, n - 1);
        if c[3] % 2 == 1 {
            perm.swap(0, usize::from(c[4]) % n);
        }
        self.add(Op::Transpose(perm), &[x])
    }

    pub(super) fn reshape(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.pick(c[1], |_| true)?;
        let mut shape = self.ty(x).shape.to_vec();
        let axis = usize::from(c[2]).checked_rem(shape.len()).unwrap_or(0);
        match c[3] % 3 {
            0 if axis + 1 < shape.len() => {
                let next = shape.remove(axis + 1);
                shape[axis] = shape[axis].clone() * next;
            }
            1 if shape.get(axis).is_some_and(|d| d.exact_div(&2.into()).is_some()) => {
                let half = shape[axis].exact_div(&2.into())?;
                shape.splice(axis..=axis, if c[4].is_multiple_of(2) { [2.into(), half] } else { [half, 2.into()] });
            }
            _ => shape.insert(axis, 1.into()),
        }
        self.add(Op::Reshape(shape), &[x])
    }

    pub(super) fn broadcast(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.pick(c[1], |_| true)?;
        let mut shape = self.ty(x).shape.to_vec();
        match shape.iter().position(|d| d.is(1)).filter(|_| c[2].is_multiple_of(2)) {
            Some(axis) => shape[axis] = [3.into(), symbol("s")][usize::from(c[3]) % 2].clone(),
            None => shape.insert(0, 2.into()),
        }
        self.add(Op::Broadcast(shape), &[x])
    }

    pub(super) fn slice(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.pick(c[1], |t| t.rank() > 0)?;
        let axis = usize::from(c[2]) % self.ty(x).rank();
        let size = self.ty(x).shape[axis].clone();
        let (start, len) = match size.as_const() {
            Some(n) => {
                let start = i64::from(c[3]) % n;
                (start.into(), Dim::from(1 + i64::from(c[4]) % (n - start)))
            }
            None => (size - 1.into(), 1.into()),
        };
        self.add(Op::Slice { axis, start, len }, &[x])
    }

    pub(super) fn concat_or_pad(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.pick(c[1], |t| t.rank() > 0)?;
        let axis = usize::from(c[2]) % self.ty(x).rank();
        if c[3] % 3 == 2 {
            let value = Real::new(f64::from(c[4] % 2));
            return self.add(Op::Pad { axis, low: i64::from(c[4] % 3).into(), high: 1.into(), value }, &[x]);
        }
        let y = if c[3] % 3 == 1 { x } else { self.of_type(&self.ty(x), c[4]) };
        self.add(Op::Concat { axis }, &[x, y])
    }

    pub(super) fn reduce(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let axis = usize::from(c[2]).checked_rem(self.ty(x).rank())?;
        let ops = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod, ReduceOp::ArgMax];
        let op = ops[usize::from(c[3]) % ops.len()];
        let size = self.ty(x).shape[axis].as_const();
        match size.filter(|_| c[4] % 5 == 4) {
            Some(n) => {
                let k = 1 + usize::from(c[3]) % n as usize;
                let top = self.add(Op::TopK { axis, k }, &[x])?;
                let picked = self.add(Op::Gather { axis }, &[x, top])?;
                self.add(Op::ScatterAdd { axis }, &[x, top, picked])
            }
            None if c[4] % 5 == 3 && op != ReduceOp::ArgMax => {
                self.add(Op::Cumulative { op, axis, reverse: c[3] % 2 == 1 }, &[x])
            }
            None => self.add(Op::Reduce { op, axis, keep: c[4].is_multiple_of(2) }, &[x]),
        }
    }

    /// A product with a weight, in either layout; or two that share their input.
    pub(super) fn linear(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let rank = self.ty(x).rank();
        let k = self.ty(x).shape.last()?.as_const()?;
        if c[3] % 4 == 3 && rank > 2 && self.ty(x).shape[1].as_const().is_some() {
            return self.conv(x, c);
        }
        let mut last = None;
        for i in 0..1 + c[4] % 2 {
            let n = [4, 8, 6][usize::from(c[2] + i) % 3];
            let transposed = c[3] % 3 == 2;
            let w = self.weight(&if transposed { [k, n] } else { [n, k] });
            let axes = DotDims { rhs_contract: vec![usize::from(!transposed)], ..DotDims::linear(rank) };
            last = self.add(Op::DotGeneral(axes), &[x, w]);
        }
        last
    }

    /// Windows of two elements along the axes after the second, where these have a size that is known.
    fn conv(&mut self, x: NodeId, c: Choice) -> Option<NodeId> {
        let shape = self.ty(x).shape.to_vec();
        let kernel: Vec<i64> = shape[2..].iter().map(|d| d.as_const().map_or(1, |n| n.min(2))).collect();
        let mut attrs = ConvAttrs::plain(kernel.len());
        attrs.strides[0] = 1 + usize::from(c[4]) % 2;
        attrs.low[0] = usize::from(c[2]) % 2;
        let weight = self.weight(&[&[4, shape[1].as_const()?][..], &kernel].concat());
        self.add(Op::Conv(attrs), &[x, weight])
    }

    /// A product of two values over their last axes, batched over all but the last two.
    pub(super) fn product(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let rank = self.ty(x).rank();
        let y = self.of_type(&self.ty(x), c[2]);
        let batch: Vec<usize> = (0..rank.checked_sub(2)?).collect();
        let axes = DotDims {
            lhs_batch: batch.clone(),
            rhs_batch: batch,
            lhs_contract: vec![rank - 1],
            rhs_contract: vec![rank - 1],
        };
        self.add(Op::DotGeneral(axes), &[x, y])
    }

    pub(super) fn norm(&mut self, c: Choice) -> Option<NodeId> {
        let x = self.float(c[1]);
        let axis = usize::from(c[3]).checked_rem(self.ty(x).rank())?;
        // An epsilon that keeps rows of equal values from being blown up.
        let eps = Real::new(0.1);
        match c[2] % 4 {
            0 => return self.add(Op::Softmax { axis }, &[x]),
            1 => return self.add(Op::LogSumExp { axis }, &[x]),
            _ => {}
        }
        let n = self.ty(x).shape.last()?.as_const()?;
        let weight = self.weight(&[n]);
        if c[2] % 4 == 2 {
            return self.add(Op::RmsNorm { eps }, &[x, weight]);
        }
        let bias = self.weight(&[n]);
        self.add(Op::LayerNorm { eps }, &[x, weight, bias])
    }

    pub(super) fn rows_of_table(&mut self, c: Choice) -> Option<NodeId> {
        let indices = if c[2].is_multiple_of(2) {
            let ty = TensorType::new(DType::I64, [symbol("b"), symbol("s")]);
            self.add_arg(&ty, ArgKind::Input)
        } else {
            self.add_unlisted(Op::Iota { shape: vec![symbol("s")], axis: 0 }, &[])?
        };
        let table = match self.pick(c[1], |t| t.rank() > 0).filter(|_| c[3] % 2 == 1) {
            Some(x) => x,
            None => self.weight(&[5, 8]),
        };
        let axis = usize::from(c[4]) % self.ty(table).rank();
        self.add(Op::Take { axis }, &[table, indices])
    }

    /// Attention over values that are given, perhaps rotated, or over a cache that takes them in.
    pub(super) fn attention(&mut self, c: Choice) -> Option<NodeId> {
        let head = |heads: i64| [symbol("b"), symbol("s"), heads.into(), 4.into()];
        let (wide, narrow) = (self.floats(head(4)), self.floats(head(2)));
        let mut q = self.of_type(&wide, c[1]);
        let k = self.of_type(&narrow, c[2]);
        let v = self.of_type(&narrow, c[2] / 2);
        if c[3] % 2 == 1 {
            let angles = self.floats([symbol("b"), symbol("s"), 2.into()]);
            let (cos, sin) = (self.of_type(&angles, 0), self.of_type(&angles, 1));
            q = self.add(Op::Rope, &[q, cos, sin])?;
        }
        let cached = c[4] % 3 == 2;
        let attrs = AttentionAttrs {
            scale: Real::new(0.5),
            causal: c[4].is_multiple_of(2),
            window: (c[3] % 8 > 5).then_some(2),
            cached,
            mask: !cached && c[3] % 4 == 3,
        };
        let mut operands = vec![q, k, v];
        if cached {
            let rows = TensorType::new(DType::I64, [symbol("b")]);
            let (slots, starts) = (self.add_arg(&rows, ArgKind::Input), self.add_arg(&rows, ArgKind::Input));
            for new in &mut operands[1..] {
                let ty = self.floats([4.into(), 12.into(), 2.into(), 4.into()]);
                let number = self.f.args.len() as u32;
                let state = self.add_arg(&ty, ArgKind::State);
                // A view of what the state held before.
                self.add(Op::Transpose(vec![1, 0, 2, 3]), &[state])?;
                *new = self.add_unlisted(Op::CacheUpdate, &[state, *new, slots, starts])?;
                self.states.push((number, *new));
            }
            operands.extend([slots, starts]);
        }
        if attrs.mask {
            let ty = TensorType::new(DType::Bool, [symbol("b"), symbol("s")]);
            operands.push(self.add_arg(&ty, ArgKind::Input));
        }
        self.add(Op::Attention(attrs), &operands)
    }
}
