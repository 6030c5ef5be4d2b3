//! What the variants of all entries share: kernels, weights, states, and what `prepare` computes.

use super::{emit::Launch, lazy::Lazy};
use crate::PassError;
use kiln_core::{
    Buffer, DType, Dim, KernelEntry, KernelSpec, Plan, PreparedSpec, Schedule, StateSpec, Step, Storage, Symbols,
    TargetSpec, WeightSpec,
};
use kiln_ir::{Arg, ArgKind, Function, FunctionInfo, Literal, Op, TensorType};
use std::{collections::HashMap, sync::Arc};

/// The bytes of a constant of the graph, stored among the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstantData {
    /// Number of the weight.
    pub weight: u32,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// A static value, up to names: equal keys are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StaticKey(u32);

#[derive(PartialEq, Eq, Hash)]
enum KeyNode {
    Weight(u32),
    Op(Op, Vec<StaticKey>),
}

/// Steps under construction with their intermediates.
#[derive(Default)]
pub(crate) struct Steps {
    pub steps: Vec<Step>,
    pub temporaries: Vec<Dim>,
}

pub(crate) struct Shared<'a> {
    pub target: &'a TargetSpec,
    pub plan: Plan,
    pub constants: Vec<ConstantData>,
    pub prepare: Steps,
    /// Static values that are computed already, by key.
    pub prepared: HashMap<StaticKey, Lazy>,
    /// Packed right-hand sides, by value, panel and parts, and how they are stored.
    pub packed: HashMap<(StaticKey, i64, i64), (Buffer, DType)>,
    keys: HashMap<KeyNode, StaticKey>,
    kernels: HashMap<KernelSpec, u32>,
}

impl<'a> Shared<'a> {
    pub fn new(target: &'a TargetSpec, symbols: &Symbols) -> Self {
        Shared {
            target,
            plan: Plan { symbols: symbols.clone(), ..Plan::default() },
            constants: vec![],
            prepare: Steps::default(),
            prepared: HashMap::new(),
            packed: HashMap::new(),
            keys: HashMap::new(),
            kernels: HashMap::new(),
        }
    }

    /// The number of a launch's kernel.
    fn kernel(&mut self, spec: KernelSpec) -> u32 {
        if let Some(k) = self.kernels.get(&spec) {
            return *k;
        }
        let k = self.plan.kernels.len() as u32;
        let symbol = format!("kiln_{}_{k}", spec.template());
        self.plan.kernels.push(KernelEntry { symbol, spec: spec.clone(), entry: 0 });
        self.kernels.insert(spec, k);
        k
    }

    /// The step that a launch is.
    pub fn step(&mut self, launch: Launch, label: Arc<str>) -> Step {
        let shared_out = super::emit::shared_out(&launch, self.target);
        let Launch { spec, operands, args, flops, bytes } = launch;
        Step { kernel: self.kernel(spec), operands, args, launch: shared_out, label, flops, bytes }
    }

    /// The weight buffer of a parameter.
    pub fn weight(&mut self, f: &Function, arg: &Arg) -> Result<u32, PassError> {
        let shape: Option<Vec<usize>> =
            arg.ty.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok())).collect();
        let shape = shape.ok_or_else(|| PassError::Unsupported {
            function: f.name.to_string(),
            node: format!("parameter `{}`: {}", arg.name, arg.ty),
            reason: "a parameter has a constant shape, this one has a symbol".into(),
        })?;
        if let Some(i) = self.plan.weights.iter().position(|w| w.name == *arg.name) {
            let known = &self.plan.weights[i];
            if known.storage != arg.ty.storage || known.shape != shape {
                return Err(PassError::Conflict {
                    name: arg.name.to_string(),
                    first: format!("{}{:?}", known.storage, known.shape),
                    second: format!("{}{shape:?}", arg.ty.storage),
                });
            }
            return Ok(i as u32);
        }
        self.plan.weights.push(WeightSpec { name: arg.name.to_string(), storage: arg.ty.storage, shape, offset: 0 });
        Ok(self.plan.weights.len() as u32 - 1)
    }

    /// The weight buffer that holds a constant.
    pub fn constant(&mut self, literal: &Literal) -> u32 {
        let same = |c: &&ConstantData| {
            let w = &self.plan.weights[c.weight as usize];
            *c.bytes == *literal.bytes() && w.storage == Storage::Dense(literal.dtype()) && w.shape == literal.shape()
        };
        if let Some(c) = self.constants.iter().find(same) {
            return c.weight;
        }
        let weight = self.plan.weights.len() as u32;
        self.plan.weights.push(WeightSpec {
            name: format!("const.{}", self.constants.len()),
            storage: literal.dtype().into(),
            shape: literal.shape().to_vec(),
            offset: 0,
        });
        self.constants.push(ConstantData { weight, bytes: literal.bytes().into() });
        weight
    }

    /// The buffer of a state, or of a parameter that may change: each session has its own, which begins as the weight.
    pub fn state(&mut self, f: &Function, arg: &Arg) -> Result<u32, PassError> {
        let initial = if arg.kind == ArgKind::State { None } else { Some(self.weight(f, arg)?) };
        if let Some(i) = self.plan.states.iter().position(|s| s.name == *arg.name) {
            let known = &self.plan.states[i];
            if known.storage != arg.ty.storage || known.shape != *arg.ty.shape || known.initial != initial {
                let text = |ty: &TensorType, own: Option<u32>| match own {
                    _ if known.initial == initial => ty.to_string(),
                    Some(_) => format!("the parameter {ty}"),
                    None => format!("the state {ty}"),
                };
                return Err(PassError::Conflict {
                    name: arg.name.to_string(),
                    first: text(&TensorType::new(known.storage, known.shape.clone()), known.initial),
                    second: text(&arg.ty, initial),
                });
            }
            return Ok(i as u32);
        }
        let shape = arg.ty.shape.to_vec();
        self.plan.states.push(StateSpec { name: arg.name.to_string(), storage: arg.ty.storage, shape, initial });
        Ok(self.plan.states.len() as u32 - 1)
    }

    /// The plan, with `prepare`. What only `prepare` itself reads is not kept: it is an intermediate there.
    pub fn into_plan(self) -> Result<Plan, PassError> {
        let Shared { mut plan, mut prepare, .. } = self;
        let variants = || plan.signatures.iter().flat_map(|s| &s.variants).flat_map(|v| &v.schedule.steps);
        let mut kept = vec![false; plan.prepared.len()];
        for operand in variants().flat_map(|step| &step.operands) {
            if let Buffer::Prepared(n) = operand {
                kept[*n as usize] = true;
            }
        }
        let mut left = vec![];
        let mut renamed = vec![];
        for (spec, kept) in plan.prepared.drain(..).zip(kept) {
            renamed.push(match kept {
                true => {
                    left.push(spec);
                    Buffer::Prepared(left.len() as u32 - 1)
                }
                false => prepare.temporary(Dim::from(spec.bytes as i64)),
            });
        }
        plan.prepared = left;
        let variants = plan.signatures.iter_mut().flat_map(|s| &mut s.variants).flat_map(|v| &mut v.schedule.steps);
        for operand in variants.chain(&mut prepare.steps).flat_map(|step| &mut step.operands) {
            if let Buffer::Prepared(n) = operand {
                *operand = renamed[*n as usize];
            }
        }
        plan.prepare = prepare.finish(&plan.symbols)?;
        Ok(plan)
    }

    /// A buffer that `prepare` fills.
    pub fn prepared_buffer(&mut self, name: String, bytes: i64) -> Buffer {
        self.plan.prepared.push(PreparedSpec { name, bytes: bytes.max(0) as u64 });
        Buffer::Prepared(self.plan.prepared.len() as u32 - 1)
    }

    /// The key of each static node.
    pub fn static_keys(&mut self, f: &Function, info: &FunctionInfo) -> Result<Vec<Option<StaticKey>>, PassError> {
        let mut keys: Vec<Option<StaticKey>> = Vec::with_capacity(f.len());
        for (id, node) in f.nodes() {
            let key = match &node.op {
                _ if !info.is_static(id) => None,
                Op::Arg(i) => Some(KeyNode::Weight(self.weight(f, &f.args[*i as usize])?)),
                // What a static node is made from is static.
                op => {
                    let operands: Option<Vec<StaticKey>> = node.operands.iter().map(|o| keys[o.index()]).collect();
                    operands.map(|o| KeyNode::Op(op.clone(), o))
                }
            };
            let next = StaticKey(self.keys.len() as u32);
            keys.push(key.map(|k| *self.keys.entry(k).or_insert(next)));
        }
        Ok(keys)
    }
}

impl Steps {
    /// A new intermediate of that size.
    pub fn temporary(&mut self, bytes: Dim) -> Buffer {
        self.temporaries.push(bytes);
        Buffer::Temporary(self.temporaries.len() as u32 - 1)
    }

    /// The schedule, with every intermediate in its place.
    pub fn finish(self, symbols: &Symbols) -> Result<Schedule, PassError> {
        crate::memory::plan(self.steps, &self.temporaries, symbols)
    }
}
