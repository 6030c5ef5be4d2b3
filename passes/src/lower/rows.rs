//! Reductions, softmax and norms: row programs.

use super::{
    Lowering,
    emit::{self, Args, Body, Dest, Launch, Reads},
    lazy::{Builder, Lazy, Leaf},
};
use crate::PassError;
use kiln_core::{
    BinaryOp, Buffer, CompareOp, DType, Dim, KernelSpec, Onto, Phase, ReduceOp, RowSpec, UnaryOp, ValueId,
};
use kiln_ir::{Node, NodeId, Op};

/// A row kernel under construction: rows are the leading axes of its space, the last axis runs along the row.
pub(super) struct Rows {
    shape: Vec<Dim>,
    args: Args,
    reads: Reads,
    write_buffers: Vec<Buffer>,
    phases: Vec<Phase>,
    values: u32,
    flops: i64,
}

impl Rows {
    pub fn new(shape: &[Dim]) -> Rows {
        Rows {
            shape: shape.to_vec(),
            args: Args::default(),
            reads: Reads::default(),
            write_buffers: vec![],
            phases: vec![],
            values: 0,
            flops: 0,
        }
    }

    /// Reduces what `f` makes of the row; gives the number of the row value.
    pub fn reduce(&mut self, op: ReduceOp, f: impl FnOnce(&mut Builder) -> ValueId) -> u32 {
        let mut body = Body::new();
        let value = f(&mut body.builder);
        let done = emit::finish(body, &[value], &mut self.args, &mut self.reads);
        self.flops += done.flops_per_point + 1;
        self.phases.push(Phase::Reduce { program: done.program, value: done.values[0], op });
        self.values += 1;
        self.values - 1
    }

    /// Computes a row value from others; gives its number.
    pub fn scalar(&mut self, f: impl FnOnce(&mut Builder) -> ValueId) -> u32 {
        let mut body = Body::new();
        let value = f(&mut body.builder);
        let done = emit::finish(body, &[value], &mut self.args, &mut self.reads);
        self.phases.push(Phase::Scalar { program: done.program, exports: done.values, writes: vec![] });
        self.values += 1;
        self.values - 1
    }

    /// Stores one value per row.
    pub fn store_row(&mut self, dest: &Dest, f: impl FnOnce(&mut Builder) -> ValueId) {
        let mut body = Body::new();
        let value = f(&mut body.builder);
        body.store(value, dest);
        let done = emit::finish(body, &[], &mut self.args, &mut self.reads);
        self.write_buffers.extend(done.write_buffers);
        self.phases.push(Phase::Scalar { program: done.program, exports: vec![], writes: done.writes });
    }

    /// Stores a value at each element of the row.
    pub fn store(&mut self, dest: &Dest, f: impl FnOnce(&mut Builder) -> ValueId) {
        let mut body = Body::new();
        let value = f(&mut body.builder);
        body.store(value, dest);
        let done = emit::finish(body, &[], &mut self.args, &mut self.reads);
        self.flops += done.flops_per_point;
        self.write_buffers.extend(done.write_buffers);
        self.phases.push(Phase::Map { program: done.program, writes: done.writes });
    }

    /// Stores a value at each element of the row, one after the other, combined with another.
    pub fn scan(&mut self, op: ReduceOp, onto: Onto, dest: &Dest, f: impl FnOnce(&mut Builder) -> ValueId) {
        let mut body = Body::new();
        let value = f(&mut body.builder);
        body.store(value, dest);
        let done = emit::finish(body, &[], &mut self.args, &mut self.reads);
        self.flops += done.flops_per_point + 1;
        self.write_buffers.extend(done.write_buffers);
        let program = done.program;
        self.phases.extend(done.writes.into_iter().map(|write| Phase::Scan {
            program: program.clone(),
            op,
            onto,
            write,
        }));
    }

    pub fn finish(mut self) -> Launch {
        let sizes = self.args.sizes(&self.shape);
        let points: Dim = self.shape.iter().cloned().product();
        let streams = self.reads.buffers.len() + self.write_buffers.len();
        let operands = self.reads.buffers.iter().chain(&self.write_buffers).copied().collect();
        let (len, rows) = sizes.split_last().map_or((kiln_core::Size::Const(1), &[][..]), |(l, r)| (*l, r));
        let spec = RowSpec { rows: rows.to_vec(), len, reads: self.reads.accesses, phases: self.phases };
        Launch {
            spec: KernelSpec::Row(spec),
            operands,
            args: self.args.dims,
            flops: points.clone() * Dim::from(self.flops),
            bytes: points * Dim::from(4 * streams),
        }
    }
}

impl Lowering<'_, '_> {
    pub(super) fn reduce(
        &mut self,
        id: NodeId,
        x: NodeId,
        op: ReduceOp,
        axis: usize,
        keep: bool,
    ) -> Result<Lazy, PassError> {
        let (x, perm) = self.row_last(x, axis)?;
        let dest = self.destination(id);
        // The destination has no stride along the row; a kept axis of size 1 is the last of the rows' strides.
        let mut strides = dest.strides.clone();
        if keep {
            strides = perm.iter().map(|p| dest.strides[*p].clone()).collect();
            strides.pop();
        }
        strides.push(0.into());
        let row_dest = Dest { strides, ..dest.clone() };
        let wide = x.dtype().computed_in();
        let mut rows = Rows::new(&x.shape);
        let r = rows.reduce(op, |b| {
            let v = b.import(&x);
            b.cast(v, wide)
        });
        let given = if op == ReduceOp::ArgMax { DType::I64 } else { wide };
        rows.store_row(&row_dest, |b| b.given(r, given));
        let label = self.label(id);
        self.launch(rows.finish(), label);
        Ok(self.in_destination(id, &dest))
    }

    /// Each element combined with those before it along an axis, or with those after it.
    pub(super) fn cumulative(
        &mut self,
        id: NodeId,
        x: NodeId,
        op: ReduceOp,
        axis: usize,
        reverse: bool,
    ) -> Result<Lazy, PassError> {
        let (mut x, perm) = self.row_last(x, axis)?;
        let dest = self.destination(id);
        let mut row_dest = Dest { strides: perm.iter().map(|p| dest.strides[*p].clone()).collect(), ..dest.clone() };
        if reverse {
            let last = x.shape.len() - 1;
            let stride = row_dest.strides[last].clone();
            row_dest.offset = row_dest.offset + (x.shape[last].clone() - 1.into()) * stride.clone();
            row_dest.strides[last] = Dim::from(-1) * stride;
            x = x.flip(last);
        }
        let mut rows = Rows::new(&x.shape);
        rows.scan(op, Onto::Before, &row_dest, |b| b.import(&x));
        let label = self.label(id);
        self.launch(rows.finish(), label);
        Ok(self.in_destination(id, &dest))
    }

    /// A copy, and then the updates of each line along the axis, one after the other: so sums have one order.
    pub(super) fn scatter_add(&mut self, id: NodeId, node: &Node, axis: usize) -> Result<Lazy, PassError> {
        let x = self.lazy(node.operands[0])?;
        let indices = self.lazy(node.operands[1])?;
        let dest = self.destination(id);
        let label = self.label(id);
        self.launch(emit::map(&x.shape.clone(), &[(x.clone(), dest.clone())]), label.clone());
        let (updates, perm) = self.row_last(node.operands[2], axis)?;
        let indices = indices.transpose(&perm);
        let mut strides: Vec<Dim> = perm.iter().map(|p| dest.strides[*p].clone()).collect();
        let stride = std::mem::replace(&mut strides[perm.len() - 1], 0.into());
        let row_dest = Dest {
            strides,
            indirect: vec![(indices.clone(), stride)],
            condition: Some(indices.is_below(&x.shape[axis])),
            ..dest.clone()
        };
        let mut rows = Rows::new(&updates.shape);
        rows.scan(ReduceOp::Sum, Onto::Stored, &row_dest, |b| b.import(&updates));
        self.launch(rows.finish(), label);
        Ok(self.in_destination(id, &dest))
    }

    /// Softmax, or the logarithm of what it divides by.
    pub(super) fn softmax(&mut self, id: NodeId, x: NodeId, axis: usize, log_sum: bool) -> Result<Lazy, PassError> {
        let (x, perm) = self.row_last(x, axis)?;
        let dest = self.destination(id);
        let mut row_dest = Dest { strides: perm.iter().map(|p| dest.strides[*p].clone()).collect(), ..dest.clone() };
        let wide = x.dtype().computed_in();
        let exponential = |b: &mut Builder, max: u32| {
            let v = b.import(&x);
            let v = b.cast(v, wide);
            let m = b.given(max, wide);
            let d = b.binary(BinaryOp::Sub, v, m);
            b.unary(UnaryOp::Exp, d)
        };
        let mut rows = Rows::new(&x.shape);
        let max = rows.reduce(ReduceOp::Max, |b| {
            let v = b.import(&x);
            b.cast(v, wide)
        });
        let sum = rows.reduce(ReduceOp::Sum, |b| exponential(b, max));
        if log_sum {
            // The destination has one place for each row.
            if let Some(along) = row_dest.strides.last_mut() {
                *along = 0.into();
            }
            rows.store_row(&row_dest, |b| {
                let (s, m) = (b.given(sum, wide), b.given(max, wide));
                let s = b.unary(UnaryOp::Log, s);
                b.binary(BinaryOp::Add, s, m)
            });
        } else {
            rows.store(&row_dest, |b| {
                let e = exponential(b, max);
                let s = b.given(sum, wide);
                b.binary(BinaryOp::Div, e, s)
            });
        }
        let label = self.label(id);
        self.launch(rows.finish(), label);
        Ok(self.in_destination(id, &dest))
    }

    /// A kernel for each pick: the largest of what is left of a row, then the first place where it stands. What is left comes after the
    /// pick before, in the order of values, then of places.
    pub(super) fn top_k(&mut self, id: NodeId, x: NodeId, axis: usize, k: usize) -> Result<Lazy, PassError> {
        let (x, perm) = self.row_last(x, axis)?;
        let dest = self.destination(id);
        let last_axis = perm.len() - 1;
        let mut strides: Vec<Dim> = perm.iter().map(|p| dest.strides[*p].clone()).collect();
        strides[last_axis] = 0.into();
        let at = |pick: usize| dest.offset.clone() + dest.strides[axis].clone() * Dim::from(pick);
        let wide = if x.dtype().is_float() { x.dtype().computed_in() } else { DType::I64 };
        let lowest = if wide.is_float() { f64::NEG_INFINITY } else { i64::MIN as f64 };
        let len = x.shape[last_axis].clone();
        let place = Lazy::iota(&x.shape, last_axis);
        // NaN counts as -inf.
        let key = |b: &mut Builder, x: &Lazy| {
            let v = b.import(x);
            let v = b.cast(v, wide);
            if !wide.is_float() {
                return v;
            }
            let number = b.compare(CompareOp::Eq, v, v);
            let lowest = b.constant(wide, lowest);
            b.select(number, v, lowest)
        };
        // Whether an element is left after a pick, which is a value and its place.
        let is_left = |b: &mut Builder, v: ValueId, (value, index): (u32, u32)| {
            let (last, last_place) = (b.given(value, wide), b.given(index, DType::I64));
            let lower = b.compare(CompareOp::Lt, v, last);
            let same = b.compare(CompareOp::Eq, v, last);
            let here = b.import(&place);
            let later = b.compare(CompareOp::Gt, here, last_place);
            let later = b.binary(BinaryOp::And, same, later);
            b.binary(BinaryOp::Or, lower, later)
        };
        let label = self.label(id);
        for pick in 0..k {
            let mut rows = Rows::new(&x.shape);
            rows.args.offsets = true;
            let before = (pick > 0).then(|| {
                let leaf = Leaf::contiguous(dest.buffer, dest.storage, &[]);
                let leaf = Leaf { offset: at(pick - 1), strides: strides.clone(), ..leaf };
                let picked = Lazy::leaf(&x.shape, leaf);
                let index = rows.scalar(|b| b.import(&picked));
                (rows.scalar(|b| key(b, &x.gather(last_axis, &picked))), index)
            });
            let value = rows.reduce(ReduceOp::Max, |b| {
                let v = key(b, &x);
                let Some(before) = before else { return v };
                let left = is_left(b, v, before);
                let lowest = b.constant(wide, lowest);
                b.select(left, v, lowest)
            });
            let index = rows.reduce(ReduceOp::Min, |b| {
                let v = key(b, &x);
                let largest = b.given(value, wide);
                let mut found = b.compare(CompareOp::Eq, v, largest);
                if let Some(before) = before {
                    let left = is_left(b, v, before);
                    found = b.binary(BinaryOp::And, found, left);
                }
                let (here, nowhere) = (b.import(&place), b.constant(DType::I64, i64::MAX as f64));
                b.select(found, here, nowhere)
            });
            let row_dest = Dest { offset: at(pick), strides: strides.clone(), ..dest.clone() };
            rows.store_row(&row_dest, |b| {
                let index = b.given(index, DType::I64);
                if len.as_const().is_some() {
                    return index;
                }
                // A row may turn out shorter than k.
                let left = b.import(&Lazy::size(&x.shape, len.clone() - pick.into()));
                let zero = b.constant(DType::I64, 0.0);
                let there = b.compare(CompareOp::Gt, left, zero);
                b.select(there, index, zero)
            });
            self.launch(rows.finish(), label.clone());
        }
        Ok(self.in_destination(id, &dest))
    }

    /// RMS norm, or layer norm when `centred`.
    pub(super) fn norm(&mut self, id: NodeId, node: &Node, eps: f64, centred: bool) -> Result<Lazy, PassError> {
        let mut x = self.lazy(node.operands[0])?;
        if !x.is_cheap() {
            x = self.buffer(node.operands[0])?;
        }
        let affine: Result<Vec<Lazy>, PassError> =
            node.operands[1..].iter().map(|o| Ok(self.lazy(*o)?.broadcast(&x.shape))).collect();
        let dest = self.destination(id);
        let launch = norm(&x, &affine?, eps, centred, &dest);
        let label = self.label(id);
        self.launch(launch, label);
        Ok(self.in_destination(id, &dest))
    }

    /// Whether only packed matmuls use an RMS norm, and its weight is one: what the norm divides a row by then goes into them.
    pub(super) fn is_prologue(&mut self, id: NodeId, node: &Node) -> Result<bool, PassError> {
        let users = self.users[id.index()].clone();
        let f = self.f;
        let mut products = true;
        for user in &users {
            products &= match (&f.node(*user).op, &f.node(*user).operands[..]) {
                (Op::DotGeneral(d), [lhs, rhs]) => {
                    let along = d.lhs_contract == [f.tensor(id).rank() - 1];
                    *lhs == id && *rhs != id && along && self.is_packable(*lhs, *rhs, d)
                }
                _ => false,
            };
        }
        let alone = !users.is_empty() && self.results[id.index()] == 0 && !self.is_static(id);
        Ok(products && alone && is_ones(&self.lazy(node.operands[1])?))
    }

    /// A value with one axis moved to the end, cheap enough to be read by several phases; and the permutation.
    fn row_last(&mut self, x: NodeId, axis: usize) -> Result<(Lazy, Vec<usize>), PassError> {
        let mut lazy = self.lazy(x)?;
        if !lazy.is_cheap() {
            lazy = self.buffer(x)?;
        }
        let mut perm: Vec<usize> = (0..lazy.shape.len()).filter(|a| *a != axis).collect();
        perm.push(axis);
        Ok((lazy.transpose(&perm), perm))
    }
}

/// A norm's kernel: over the last axis of `x`, with a weight and a bias as far as given.
pub(super) fn norm(x: &Lazy, affine: &[Lazy], eps: f64, centred: bool, dest: &Dest) -> Launch {
    let shape = &x.shape;
    let wide = x.dtype().computed_in();
    let len = Lazy::size(shape, shape[shape.len() - 1].clone());
    let mean = |b: &mut Builder, sum: u32| {
        let s = b.given(sum, wide);
        let n = b.import(&len);
        let n = b.cast(n, wide);
        b.binary(BinaryOp::Div, s, n)
    };
    let mut rows = Rows::new(shape);
    let centre = centred.then(|| {
        let sum = rows.reduce(ReduceOp::Sum, |b| {
            let v = b.import(x);
            b.cast(v, wide)
        });
        rows.scalar(|b| mean(b, sum))
    });
    let centred_x = |b: &mut Builder| {
        let v = b.import(x);
        let v = b.cast(v, wide);
        match centre {
            Some(c) => {
                let c = b.given(c, wide);
                b.binary(BinaryOp::Sub, v, c)
            }
            None => v,
        }
    };
    let squares = rows.reduce(ReduceOp::Sum, |b| {
        let v = centred_x(b);
        b.binary(BinaryOp::Mul, v, v)
    });
    let factor = rows.scalar(|b| {
        let m = mean(b, squares);
        let e = b.constant(wide, eps);
        let s = b.binary(BinaryOp::Add, m, e);
        b.unary(UnaryOp::Rsqrt, s)
    });
    rows.store(dest, |b| {
        let v = centred_x(b);
        let f = b.given(factor, wide);
        let mut v = b.binary(BinaryOp::Mul, v, f);
        for (i, a) in affine.iter().enumerate() {
            // A weight of ones is what folding leaves behind.
            if i == 0 && is_ones(a) {
                continue;
            }
            let a = b.import(a);
            let a = b.cast(a, wide);
            v = b.binary(if i == 0 { BinaryOp::Mul } else { BinaryOp::Add }, v, a);
        }
        v
    });
    rows.finish()
}

fn is_ones(l: &Lazy) -> bool {
    matches!(l.insts.as_slice(), [i] if *i == Lazy::splat(&[], i.dtype, 1.0).insts[0])
}
