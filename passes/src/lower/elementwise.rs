//! Elementwise ops, rotations, concatenation and padding.

use super::{
    Lowering, Value,
    anchor::Anchor,
    emit::{self, Body, Dest, Launch},
    lazy::{Builder, Lazy, Source},
};
use crate::PassError;
use kiln_core::formula::{Algebra, gelu};
use kiln_core::{BinaryOp, Buffer, DType, Dim, ElementOp, UnaryOp, ValueId};
use kiln_ir::{ArgKind, Node, NodeId, Op};
use std::{convert::Infallible, sync::Arc};

/// A lazy converted to another element type.
pub(super) fn cast(x: &Lazy, to: DType) -> Lazy {
    let mut b = Builder::default();
    let v = b.import(x);
    let v = b.cast(v, to);
    b.finish_with(x.shape.clone(), v)
}

/// The rotation of the pairs `(x_i, x_{i + d/2})`: one kernel over half of the head that stores both halves.
pub(super) fn rope([x, cos, sin]: &[Lazy; 3], dest: &Dest) -> Launch {
    let half = x.shape[3].floor_div(&2.into());
    let (low, high) = (x.slice(3, &0.into(), &half), x.slice(3, &half, &half));
    let spread = |t: &Lazy| t.insert_axis(2, x.shape[2].clone());
    let mut body = Body::new();
    let b = &mut body.builder;
    let (low_v, high_v) = (b.import(&low), b.import(&high));
    let (c, s) = (b.import(&spread(cos)), b.import(&spread(sin)));
    let product = |b: &mut Builder, x, y| b.binary(BinaryOp::Mul, x, y);
    let (a1, a2) = (product(b, low_v, c), product(b, high_v, s));
    let first = b.binary(BinaryOp::Sub, a1, a2);
    let (b1, b2) = (product(b, high_v, c), product(b, low_v, s));
    let second = b.binary(BinaryOp::Add, b1, b2);
    // Data-dependent addresses are the same for every element of a head.
    let halved = |l: &Lazy| l.slice(3, &0.into(), &half);
    let part = |offset: Dim| Dest {
        offset: dest.offset.clone() + offset * dest.strides[3].clone(),
        indirect: dest.indirect.iter().map(|(l, s)| (halved(l), s.clone())).collect(),
        condition: dest.condition.as_ref().map(halved),
        ..dest.clone()
    };
    body.store(first, &part(0.into()));
    body.store(second, &part(half.clone()));
    emit::map_body(&low.shape, body)
}

impl Lowering<'_, '_> {
    pub(super) fn elementwise(&mut self, id: NodeId, node: &Node) -> Result<Value, PassError> {
        // At most one matmul can take the op as its epilogue; others are emitted first.
        let mut anchor: Option<Arc<Anchor>> = None;
        let mut operands: Vec<Lazy> = Vec::with_capacity(node.operands.len());
        for o in &node.operands {
            let absorbed = match self.value(*o)? {
                Value::Anchored(a, l) if self.absorbs(*o, node) => match &anchor {
                    Some(first) if !Arc::ptr_eq(first, &a) => None,
                    _ => Some((a, l)),
                },
                _ => None,
            };
            match absorbed {
                Some((a, l)) => {
                    anchor = Some(a);
                    operands.push(l);
                }
                None => operands.push(self.lazy(*o)?),
            }
        }
        let mut b = Builder::default();
        let values: Vec<ValueId> = operands.iter().map(|l| b.import(l)).collect();
        let result = apply(&node.op, &mut b, &values);
        let lazy = b.finish_with(self.ty(id).shape.to_vec(), result);
        // What a matmul's epilogue reads of a state is read when the matmul is emitted, which may be after a write.
        let reads_state = anchor.is_some() && lazy.reads_state();
        let shared = self.use_count(id) > 1 && !lazy.is_cheap();
        let large = lazy.insts.len() > 64 || lazy.leaves.len() > 8;
        // A matmul melts only into a value with one user of its own, or none that computes.
        let (value, shared) = match anchor {
            Some(anchor) => (Value::Anchored(anchor, lazy), self.use_count(id) > 1),
            None => (Value::Lazy(lazy), shared),
        };
        if (shared || large || reads_state) && !self.is_static(id) {
            self.values[id.index()] = Some(value);
            return self.buffer(id).map(Value::Lazy);
        }
        Ok(value)
    }

    /// Whether a matmul's value may melt into its user: it has no other.
    fn absorbs(&self, id: NodeId, user: &Node) -> bool {
        self.results[id.index()] == 0 && self.users[id.index()].iter().all(|u| std::ptr::eq(self.f.node(*u), user))
    }

    pub(super) fn concat(&mut self, id: NodeId, node: &Node, axis: usize) -> Result<Lazy, PassError> {
        let dest = self.destination(id);
        let label = self.label(id);
        let mut start = Dim::constant(0);
        for o in &node.operands {
            let value = self.lazy(*o)?;
            let len = value.shape[axis].clone();
            let part = Dest { offset: start.clone() * dest.strides[axis].clone(), ..dest.clone() };
            self.launch(emit::map(&value.shape.clone(), &[(value, part)]), label.clone());
            start = start + len;
        }
        Ok(self.in_destination(id, &dest))
    }

    pub(super) fn pad(&mut self, id: NodeId, axis: usize, low: &Dim, high: &Dim, v: f64) -> Result<Lazy, PassError> {
        let dest = self.destination(id);
        let label = self.label(id);
        let ty = self.ty(id);
        let x = self.lazy(self.f.node(id).operands[0])?;
        let len = x.shape[axis].clone();
        let filler = |n: &Dim| {
            let mut shape = ty.shape.to_vec();
            shape[axis] = n.clone();
            Lazy::splat(&shape, ty.dtype().unwrap_or(DType::F32), v)
        };
        let parts = [(Dim::constant(0), filler(low)), (low.clone(), x), (low.clone() + len, filler(high))];
        for (start, value) in parts {
            if !value.shape[axis].is(0) {
                let part = Dest { offset: start * dest.strides[axis].clone(), ..dest.clone() };
                self.launch(emit::map(&value.shape.clone(), &[(value, part)]), label.clone());
            }
        }
        Ok(self.in_destination(id, &dest))
    }

    /// The value of a node that was written to its destination.
    pub(super) fn in_destination(&mut self, id: NodeId, dest: &Dest) -> Lazy {
        let ty = self.ty(id);
        self.stored(id, super::Leaf::contiguous(dest.buffer, ty.storage, &ty.shape))
    }

    /// Writes new rows into a state, in place.
    pub(super) fn cache_update(&mut self, id: NodeId, node: &Node) -> Result<Lazy, PassError> {
        let cache = self.lazy(node.operands[0])?;
        match self.place(node.operands[0], &cache) {
            Some(place) => {
                self.keep_views(id, place.buffer, None);
                self.update_in_place(node, &place, &cache.shape)?;
                Ok(cache)
            }
            None => self.functional_update(id, node, &cache),
        }
    }

    /// Where a value lies, if it is a version of a state: nothing reads that after it was consumed.
    fn place(&self, id: NodeId, value: &Lazy) -> Option<Dest> {
        self.info.version_of(id)?;
        let leaf = value.as_buffer()?;
        match leaf.source {
            Source::Buffer(buffer) => Some(Dest::from_leaf(leaf, buffer)),
            Source::Index => None,
        }
    }

    /// Stores a value in a state, in place.
    pub(super) fn write(&mut self, id: NodeId, node: &Node) -> Result<Lazy, PassError> {
        let (state, new) = (self.lazy(node.operands[0])?, node.operands[1]);
        let Some(place) = self.place(node.operands[0], &state) else {
            // The next version of an ordinary value is the value that is written.
            return self.lazy(new);
        };
        // A value that only this uses may read elements where they are written. What reads a state elsewhere is a program: other
        // values had it copied.
        let mut value = self.value(new)?;
        let elsewhere = match &value {
            Value::Lazy(l) => l.leaves.iter().any(|l| l.reads(place.buffer) && state.as_buffer() != Some(l)),
            _ => false,
        };
        let in_place = !elsewhere && self.use_count(new) == 1;
        self.keep_views(id, place.buffer, in_place.then_some(new));
        if !in_place {
            value = Value::Lazy(self.buffer(new)?);
        }
        let label = self.label(id);
        self.store(&value, &place, label);
        Ok(state)
    }

    /// Copies the views of a state that are used by the node or after it: the node overwrites what they look at. `but` is a value that
    /// only the node uses.
    fn keep_views(&mut self, id: NodeId, state: Buffer, but: Option<NodeId>) {
        for (view, _) in self.f.nodes().take(id.index()).filter(|(view, _)| Some(*view) != but) {
            let Some(Value::Lazy(lazy)) = &self.values[view.index()] else { continue };
            let looks = lazy.leaves.iter().any(|l| l.reads(state)) && self.info.version_of(view).is_none();
            let used = self.results[view.index()] > 0 || self.users[view.index()].iter().any(|u| *u >= id);
            if looks && used {
                let copy = self.copy(&lazy.clone(), self.ty(view).storage, self.label(view));
                self.values[view.index()] = Some(Value::Lazy(copy));
            }
        }
    }

    /// A cache that is an ordinary value is copied first.
    fn functional_update(&mut self, id: NodeId, node: &Node, cache: &Lazy) -> Result<Lazy, PassError> {
        let dest = self.destination(id);
        let label = self.label(id);
        self.launch(emit::map(&cache.shape.clone(), &[(cache.clone(), dest.clone())]), label);
        self.update_in_place(node, &dest, &cache.shape)?;
        Ok(self.in_destination(id, &dest))
    }

    fn update_in_place(&mut self, node: &Node, cache: &Dest, cache_shape: &[Dim]) -> Result<(), PassError> {
        let new_shape = self.ty(node.operands[1]).shape.to_vec();
        let rank = new_shape.len();
        let (slots, starts) = (self.lazy(node.operands[2])?, self.lazy(node.operands[3])?);
        // Per-row values in the space of the new values.
        let per_row = |l: &Lazy| {
            l.map_leaves(new_shape.clone(), |leaf| {
                let mut s = vec![Dim::constant(0); rank];
                s[0] = leaf.strides[0].clone();
                s
            })
        };
        let slot = per_row(&slots);
        let position = combine(BinaryOp::Add, &per_row(&starts), &Lazy::iota(&new_shape, 1));
        let within = |x: &Lazy, end: &Dim| {
            let mut b = Builder::default();
            let (v, zero) = (b.import(x), b.constant(DType::I64, 0.0));
            let end = b.import(&Lazy::size(&new_shape, end.clone()));
            let above = b.push(ElementOp::Compare(kiln_core::CompareOp::Ge, v, zero), DType::Bool);
            let below = b.push(ElementOp::Compare(kiln_core::CompareOp::Lt, v, end), DType::Bool);
            let both = b.push(ElementOp::Binary(BinaryOp::And, above, below), DType::Bool);
            b.finish_with(new_shape.clone(), both)
        };
        let condition = combine(BinaryOp::And, &within(&slot, &cache_shape[0]), &within(&position, &cache_shape[1]));
        let mut strides = cache.strides.clone();
        strides[0] = 0.into();
        strides[1] = 0.into();
        let dest = Dest {
            strides,
            indirect: vec![(slot, cache.strides[0].clone()), (position, cache.strides[1].clone())],
            condition: Some(condition),
            ..cache.clone()
        };
        // A rotation with no other user is stored straight into the cache.
        let new = node.operands[1];
        let state = match self.f.node(node.operands[0]).op {
            Op::Arg(i) if self.f.args[i as usize].kind == ArgKind::State => self.f.args[i as usize].name.to_string(),
            _ => String::new(),
        };
        let label: Arc<str> = format!("cache_update {state}").into();
        match self.value(new)? {
            value @ Value::Rope(_) if self.use_count(new) == 1 => self.store(&value, &dest, label),
            _ => {
                let value = Value::Lazy(self.lazy(new)?);
                self.store(&value, &dest, label);
            }
        }
        Ok(())
    }
}

fn combine(op: BinaryOp, x: &Lazy, y: &Lazy) -> Lazy {
    let mut b = Builder::default();
    let (u, v) = (b.import(x), b.import(y));
    let w = b.binary(op, u, v);
    b.finish_with(x.shape.clone(), w)
}

/// Appends an elementwise op; composites are written out.
fn apply(op: &Op, b: &mut Builder, x: &[ValueId]) -> ValueId {
    match op {
        Op::Unary(u) => b.unary(*u, x[0]),
        Op::Binary(o) => b.binary(*o, x[0], x[1]),
        Op::Compare(c) => b.push(ElementOp::Compare(*c, x[0], x[1]), DType::Bool),
        Op::Select => b.push(ElementOp::Select(x[0], x[1], x[2]), b.dtype(x[1])),
        Op::Cast(d) => b.cast(x[0], *d),
        Op::Sigmoid => {
            let d = sigmoid_denominator(b, x[0]);
            let one = b.constant(b.dtype(x[0]), 1.0);
            b.binary(BinaryOp::Div, one, d)
        }
        Op::Silu => {
            let d = sigmoid_denominator(b, x[0]);
            b.binary(BinaryOp::Div, x[0], d)
        }
        Op::Gelu { tanh } => {
            let Ok(y) = gelu(b, x[0], *tanh);
            y
        }
        other => unreachable!("`{other}` is not elementwise"),
    }
}

/// `1 + e^-x`
fn sigmoid_denominator(b: &mut Builder, x: ValueId) -> ValueId {
    let n = b.unary(UnaryOp::Neg, x);
    let e = b.unary(UnaryOp::Exp, n);
    let one = b.constant(b.dtype(x), 1.0);
    b.binary(BinaryOp::Add, one, e)
}

/// Formulas as instructions.
impl Algebra for Builder {
    type Value = ValueId;
    type Error = Infallible;

    fn number(&mut self, value: f64, like: ValueId) -> Result<ValueId, Infallible> {
        Ok(self.constant(self.dtype(like), value))
    }

    fn unary(&mut self, op: UnaryOp, x: ValueId) -> Result<ValueId, Infallible> {
        Ok(Builder::unary(self, op, x))
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Result<ValueId, Infallible> {
        Ok(Builder::binary(self, op, a, b))
    }
}
