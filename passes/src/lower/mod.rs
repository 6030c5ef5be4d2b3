//! Inlined entries to schedules of kernels.
//!
//! Nodes are walked in order. Views and cheap elementwise ops stay [`Lazy`] and melt into whatever uses them; an op that needs a template
//! (matmul, rows, attention, …) asks for its operands as buffers and emits a launch. A matmul stays *anchored* while its one user is
//! elementwise, so that bias, residual, activation and gate become its epilogue. What depends on static parameters only is
//! emitted into `prepare`, once for all entries.

mod anchor;
mod attention;
mod dot;
mod elementwise;
mod emit;
mod fusion;
mod lazy;
mod lowering;
mod rows;
mod shared;

pub use attention::CACHE_SHARE;
pub use fusion::{FusedGroup, FusedStep, Fusion, fusion};
pub use shared::ConstantData;

use crate::{PassError, variants};
use emit::{Dest, Launch};
use kiln_core::{
    Buffer, Dim, DimBounds, InputSpec, OutputSpec, Plan, Schedule, Signature, Storage, TargetSpec, Variant,
};
use kiln_ir::ranges::{self, Demand};
use kiln_ir::{ArgKind, Function, Module, Node, NodeId, Op, TensorType};
use lazy::{Lazy, Leaf, Source};
use lowering::{Lowering, Value};
use shared::Shared;
use std::{collections::BTreeSet, sync::Arc};

/// A plan without code, and what goes with it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plan; kernels have no entry offsets and weights no file offsets yet.
    pub plan: Plan,
    /// Bytes of the weights that are constants of the graph.
    pub constants: Vec<ConstantData>,
    /// The module as it was lowered, for the artifact and for `kiln inspect --ir`.
    pub module: Module,
}

/// The plan of a module's entries, which have no calls, no composites without a template, and f32 in place of f16 and bf16.
pub(crate) fn lower(module: &Module, target: &TargetSpec) -> Result<Compiled, PassError> {
    let mut shared = Shared::new(target, &module.symbols);
    for (_, flat) in module.entries() {
        let slots = checked_slots(flat)?;
        let mut variants = vec![];
        let room = room_for_constant_starts(flat);
        for mut range in variants::ranges(module, flat) {
            range.guards.extend(room.iter().map(|dim| (dim.clone(), DimBounds { min: 0, max: i64::MAX })));
            let (function, info) = variants::variant(flat, &range)?;
            let schedule = Lowering::new(&mut shared, &function, flat, &info, &range)?.run()?;
            variants.push(Variant { guards: range.guards, schedule });
        }
        let signature = signature(flat, variants, &slots);
        shared.plan.signatures.push(signature);
    }
    let constants = std::mem::take(&mut shared.constants);
    Ok(Compiled { plan: shared.into_plan()?, constants, module: module.clone() })
}

/// What the entry has to ask of its inputs so that two rows never write to the same slot of a cache at once.
fn checked_slots(f: &Function) -> Result<Vec<Demand>, PassError> {
    let demands = ranges::demands(f);
    let mut checked = vec![];
    for (id, node) in f.nodes().filter(|(_, node)| node.op == Op::CacheUpdate) {
        let slots = node.operands[2];
        let elements = f.tensor(slots).elements();
        let asked: Vec<&Demand> = demands.iter().filter(|d| d.node == id && d.operand == 2).collect();
        match (&f.node(slots).op, &asked[..]) {
            (_, [one]) if f.args[one.arg as usize].ty.elements() == elements => checked.push((*one).clone()),
            _ if elements.is(1) => {}
            (Op::Constant(l), _) if are_distinct(l.to_f64()) => {}
            _ => {
                return Err(PassError::Unsupported {
                    function: f.name.to_string(),
                    node: format!("{id}: {}", node.op),
                    reason:
                        "its slots are computed, so that nobody can see to it that no two are equal: make them an input"
                            .into(),
                });
            }
        }
    }
    Ok(checked)
}

/// What of a cache is left behind what is written to a constant place; it must not be negative.
fn room_for_constant_starts(f: &Function) -> Vec<Dim> {
    let mut room: Vec<Dim> = vec![];
    for (_, node) in f.nodes().filter(|(_, node)| node.op == Op::CacheUpdate) {
        let length = |operand: usize| f.tensor(node.operands[operand]).shape[1].clone();
        let Some(start) = ranges::constant(f, node.operands[3]) else { continue };
        let left = length(0) - length(1) - start.into();
        if left.as_const().is_none_or(|n| n < 0) && !room.contains(&left) {
            room.push(left);
        }
    }
    room
}

fn are_distinct(mut values: Vec<f64>) -> bool {
    values.sort_unstable_by(f64::total_cmp);
    values.windows(2).all(|pair| pair[0] != pair[1])
}

fn signature(f: &Function, variants: Vec<Variant>, slots: &[Demand]) -> Signature {
    let range = |number: usize| {
        let mut range = f.args[number].range.clone();
        slots.iter().filter(|d| d.arg as usize == number).for_each(|d| ranges::narrow(&mut range, &d.range));
        range
    };
    let inputs = f.args.iter().enumerate().filter(|(_, a)| a.kind == ArgKind::Input).map(|(i, a)| InputSpec {
        name: a.name.to_string(),
        storage: a.ty.storage,
        shape: a.ty.shape.to_vec(),
        default: a.default,
        range: range(i),
    });
    let outputs = f.outputs.iter().filter(|o| o.updates.is_none()).map(|o| {
        let ty = f.tensor(o.value);
        OutputSpec { name: o.name.to_string(), storage: ty.storage, shape: ty.shape.to_vec() }
    });
    Signature { name: f.name.to_string(), inputs: inputs.collect(), outputs: outputs.collect(), variants }
}

impl<'s> Lowering<'s, '_> {
    fn run(mut self) -> Result<Schedule, PassError> {
        self.nodes()?;
        self.steps.finish(&self.range.symbols)
    }

    /// Lowers everything that the results need.
    fn nodes(&mut self) -> Result<(), PassError> {
        let f = self.f;
        for (id, _) in f.nodes() {
            // Static nodes are lowered when something asks for them.
            if self.statics[id.index()].is_none() {
                self.value(id)?;
            }
        }
        for (number, o) in f.outputs.iter().filter(|o| o.updates.is_none()).enumerate() {
            let ty = f.tensor(o.value).clone();
            if ty.dtype().is_none() {
                return Err(
                    self.unsupported(o.value, format!("the result `{}` is block storage: dequantize it", o.name))
                );
            }
            let buffer = Buffer::Output(number as u32);
            let value = self.buffer(o.value)?;
            let written = value.as_buffer().is_some_and(|l| l.source == Source::Buffer(buffer));
            if !written {
                let dest = Dest::contiguous(buffer, ty.storage, &ty.shape);
                self.open.push(o.value);
                self.launch(emit::map(&ty.shape, &[(value, dest)]), format!("output {}", o.name));
                self.open.pop();
            }
        }
        Ok(())
    }

    fn unsupported(&self, id: NodeId, reason: impl Into<String>) -> PassError {
        let node = self.f.node(id);
        let line = node.source.map(|s| format!(" at {s}")).unwrap_or_default();
        PassError::Unsupported {
            function: self.f.name.to_string(),
            node: format!("{id}: {} = {}{line}", node.ty, node.op),
            reason: reason.into(),
        }
    }

    fn ty(&self, id: NodeId) -> &'s TensorType {
        self.f.tensor(id)
    }

    fn is_static(&self, id: NodeId) -> bool {
        self.statics[id.index()].is_some()
    }

    /// Sends launches where the node's belong; gives what to restore.
    fn enter(&mut self, id: NodeId) -> bool {
        let is_static = self.is_static(id);
        std::mem::replace(&mut self.in_prepare, is_static)
    }

    fn use_count(&self, id: NodeId) -> usize {
        self.users[id.index()].len() + self.results[id.index()]
    }

    fn launch(&mut self, launch: Launch, label: impl Into<Arc<str>>) {
        let step = self.shared.step(launch, label.into());
        if self.in_prepare {
            self.shared.prepare.steps.push(step);
        } else {
            self.origins.extend(self.open.last());
            self.steps.steps.push(step);
        }
    }

    /// The node's value, lowering the node if that has not happened.
    fn value(&mut self, id: NodeId) -> Result<Value, PassError> {
        if let Some(v) = &self.values[id.index()] {
            return Ok(v.clone());
        }
        let known = self.statics[id.index()].and_then(|k| self.shared.prepared.get(&k).cloned());
        let value = match known {
            Some(lazy) => Value::Lazy(lazy),
            None => {
                let outer = self.enter(id);
                self.open.push(id);
                let value = self.lower_node(id, self.f.node(id));
                self.open.pop();
                self.in_prepare = outer;
                value?
            }
        };
        self.values[id.index()] = Some(value.clone());
        Ok(value)
    }

    fn lower_node(&mut self, id: NodeId, node: &'s Node) -> Result<Value, PassError> {
        let shape = &self.ty(id).shape;
        let operand = |i: usize| node.operands[i];
        Ok(Value::Lazy(match &node.op {
            Op::Arg(i) => self.argument(*i)?,
            Op::Constant(l) => match l.splat() {
                Some(v) => Lazy::splat(shape, l.dtype(), v),
                None => {
                    let buffer = Buffer::Weight(self.shared.constant(l));
                    Lazy::leaf(shape, Leaf::contiguous(buffer, l.dtype().into(), shape))
                }
            },
            Op::Iota { axis, .. } => Lazy::iota(shape, *axis),
            Op::DimSize(d) => Lazy::size(shape, d.clone()),
            op if op.is_elementwise() => return self.elementwise(id, node),
            Op::Dequantize(d) => elementwise::cast(&self.lazy(operand(0))?, *d),
            Op::Transpose(perm) => self.lazy(operand(0))?.transpose(perm),
            Op::Broadcast(to) => self.lazy(operand(0))?.broadcast(to),
            Op::Slice { axis, start, len } => {
                if let Some((dot, part)) = self.halves.get(&id)
                    && let Some(Value::Anchored(anchor, _)) = &self.values[dot.index()]
                {
                    return Ok(Value::Anchored(anchor.clone(), anchor.accumulator(*part)));
                }
                self.lazy(operand(0))?.slice(*axis, start, len)
            }
            Op::Reshape(to) => {
                let x = self.lazy(operand(0))?;
                match x.reshape(to) {
                    Some(view) => view,
                    None => {
                        let x = self.contiguous(operand(0))?;
                        x.reshape(to).ok_or_else(|| self.unsupported(id, "no view of its operand has this shape"))?
                    }
                }
            }
            Op::Take { axis } => {
                let indices = self.lazy(operand(1))?;
                self.lazy(operand(0))?.take(*axis, &indices)
            }
            Op::Gather { axis } => {
                let indices = self.lazy(operand(1))?;
                self.lazy(operand(0))?.gather(*axis, &indices)
            }
            Op::ScatterAdd { axis } => self.scatter_add(id, node, *axis)?,
            Op::Cumulative { op, axis, reverse } => self.cumulative(id, operand(0), *op, *axis, *reverse)?,
            Op::TopK { axis, k } => self.top_k(id, operand(0), *axis, *k)?,
            Op::Concat { axis } => self.concat(id, node, *axis)?,
            Op::Pad { axis, low, high, value } => self.pad(id, *axis, low, high, value.get())?,
            Op::Reduce { op, axis, keep } => self.reduce(id, operand(0), *op, *axis, *keep)?,
            Op::Softmax { axis } => self.softmax(id, operand(0), *axis, false)?,
            Op::LogSumExp { axis } => self.softmax(id, operand(0), *axis, true)?,
            Op::RmsNorm { eps } => {
                if self.is_prologue(id, node)? {
                    let x = self.buffer(operand(0))?;
                    if !x.reads_state() {
                        return Ok(Value::Norm(x, eps.get() as f32));
                    }
                }
                self.norm(id, node, eps.get(), false)?
            }
            Op::LayerNorm { eps } => self.norm(id, node, eps.get(), true)?,
            Op::DotGeneral(d) => return self.dot(id, node, d),
            Op::Rope => {
                let operands = [self.lazy(operand(0))?, self.lazy(operand(1))?, self.lazy(operand(2))?];
                let reads_state = operands.iter().any(Lazy::reads_state);
                let value = Value::Rope(operands);
                if !reads_state {
                    return Ok(value);
                }
                self.values[id.index()] = Some(value);
                self.buffer(id)?
            }
            Op::CacheUpdate => self.cache_update(id, node)?,
            Op::Write => self.write(id, node)?,
            Op::Attention(a) => self.attention(id, node, a)?,
            op => return Err(self.unsupported(id, format!("`{}` has no lowering", op.name()))),
        }))
    }

    fn argument(&mut self, number: u32) -> Result<Lazy, PassError> {
        let arg = &self.f.args[number as usize];
        let buffer = match arg.kind {
            ArgKind::Input => {
                let before = self.f.args[..number as usize].iter().filter(|a| a.kind == ArgKind::Input);
                Buffer::Input(before.count() as u32)
            }
            ArgKind::Param { live: false } => Buffer::Weight(self.shared.weight(self.f, arg)?),
            ArgKind::Param { live: true } | ArgKind::State => {
                // All variants share it, so it has the shape that the entry gives it.
                Buffer::State(self.shared.state(self.entry, &self.entry.args[number as usize])?)
            }
        };
        Ok(Lazy::leaf(&arg.ty.shape, Leaf::contiguous(buffer, arg.ty.storage, &arg.ty.shape)))
    }

    /// The node's value as leaves and a program: anchored values and rotations are emitted, and static values that are not
    /// trivial are prepared when a dynamic node asks.
    fn lazy(&mut self, id: NodeId) -> Result<Lazy, PassError> {
        match self.value(id)? {
            Value::Lazy(l) if self.is_static(id) && !self.in_prepare && !l.is_trivial() => self.buffer(id),
            Value::Lazy(l) => Ok(l),
            _ => self.buffer(id),
        }
    }

    /// The node's value in a buffer, perhaps strided.
    fn buffer(&mut self, id: NodeId) -> Result<Lazy, PassError> {
        let value = self.value(id)?;
        if let Value::Lazy(l) = &value
            && l.as_buffer().is_some()
        {
            return Ok(l.clone());
        }
        let outer = self.enter(id);
        let ty = self.ty(id);
        let dest = self.destination(id);
        let label = self.label(id);
        self.open.push(id);
        self.store(&value, &dest, label);
        self.open.pop();
        self.in_prepare = outer;
        Ok(self.stored(id, Leaf::contiguous(dest.buffer, ty.storage, &ty.shape)))
    }

    /// The node's value in a row-major buffer.
    fn contiguous(&mut self, id: NodeId) -> Result<Lazy, PassError> {
        let lazy = self.buffer(id)?;
        let ty = self.ty(id);
        if lazy.as_buffer().is_some_and(|l| l.is_contiguous(&ty.shape)) {
            return Ok(lazy);
        }
        let outer = self.enter(id);
        self.open.push(id);
        let copy = self.copy(&lazy, ty.storage, self.label(id));
        self.open.pop();
        self.in_prepare = outer;
        Ok(copy)
    }

    /// A row-major copy of a lazy in a new intermediate.
    fn copy(&mut self, lazy: &Lazy, storage: Storage, label: Arc<str>) -> Lazy {
        let buffer = self.temporary(storage, &lazy.shape);
        let dest = Dest::contiguous(buffer, storage, &lazy.shape);
        self.launch(emit::map(&lazy.shape, &[(lazy.clone(), dest)]), label);
        Lazy::leaf(&lazy.shape, Leaf::contiguous(buffer, storage, &lazy.shape))
    }

    /// Emits what a value still lacks, with its result at a destination.
    fn store(&mut self, value: &Value, dest: &Dest, label: Arc<str>) {
        let launch = match value {
            Value::Lazy(l) => emit::map(&l.shape, &[(l.clone(), dest.clone())]),
            Value::Anchored(anchor, l) => {
                let (anchor, l) = (anchor.clone(), l.clone());
                return self.store_anchored(&anchor, &l, dest);
            }
            Value::Rope(operands) => elementwise::rope(operands, dest),
            Value::Norm(x, eps) => rows::norm(x, &[], f64::from(*eps), false, dest),
        };
        self.launch(launch, label);
    }

    /// Remembers that the node's value is in a buffer.
    fn stored(&mut self, id: NodeId, leaf: Leaf) -> Lazy {
        let lazy = Lazy::leaf(&self.ty(id).shape, leaf);
        self.values[id.index()] = Some(Value::Lazy(lazy.clone()));
        if let Some(key) = self.statics[id.index()] {
            self.shared.prepared.insert(key, lazy.clone());
        }
        lazy
    }

    /// A new row-major buffer for a node's value.
    fn destination(&mut self, id: NodeId) -> Dest {
        let ty = self.ty(id);
        let buffer = if self.in_prepare {
            let bytes = ty.bytes().as_const().unwrap_or(0);
            self.shared.prepared_buffer(self.label(id).to_string(), bytes)
        } else if let Some(o) = self.output_of.get(&id) {
            Buffer::Output(*o)
        } else {
            self.steps.temporary(ty.bytes())
        };
        Dest::contiguous(buffer, ty.storage, &ty.shape)
    }

    fn temporary(&mut self, storage: Storage, shape: &[Dim]) -> Buffer {
        let bytes = TensorType::new(storage, shape).bytes();
        if self.in_prepare { self.shared.prepare.temporary(bytes) } else { self.steps.temporary(bytes) }
    }

    /// What a step is called in profiles: its op, and the parameters it uses directly.
    fn label(&self, id: NodeId) -> Arc<str> {
        let is_arg = |n: NodeId| matches!(self.f.node(n).op, Op::Arg(_));
        let used = self.f.needs_within([id], |n| self.is_static(n) || is_arg(n));
        let names = used.into_iter().filter_map(|n| match self.f.node(n).op {
            Op::Arg(i) => Some(&self.f.args[i as usize]).filter(|arg| arg.kind != ArgKind::Input).map(|arg| &*arg.name),
            _ => None,
        });
        let names: BTreeSet<&str> = names.collect();
        let op = self.f.node(id).op.name();
        match names.into_iter().collect::<Vec<_>>().as_slice() {
            [] => op.into(),
            [one] => format!("{op} {one}").into(),
            [first, .., last] => format!("{op} {first} .. {last}").into(),
        }
    }
}
