//! The graph under construction: a stack of frames, one for each function that is being traced.
//!
//! A value belongs to the frame that made it. Used in an inner frame, it becomes an argument of every function in between; that is
//! how blocks capture.

use crate::{Error, Mismatch};
use kiln_ir::{Arg, ArgKind, Class, FuncId, Function, IrError, NodeId, Op, SourceLine, Symbols, TensorType, Type};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

/// Which frame, over all traces of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FrameId(u64);

/// A node of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) frame: FrameId,
    pub(crate) node: NodeId,
}

/// What is traced so far.
#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) symbols: Symbols,
    pub(crate) functions: Vec<Function>,
    pub(crate) blocks: HashMap<BlockKey, FuncId>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) error: Option<Error>,
    pub(crate) missing: Vec<String>,
    /// Parameters in types that nothing is computed in: the checkpoint's names, and the types.
    pub(crate) unsupported: Vec<(String, String)>,
    pub(crate) mismatched: Vec<Mismatch>,
}

/// One function while it is traced.
pub(crate) struct Frame {
    pub(crate) id: FrameId,
    pub(crate) function: Function,
    /// For a block: the argument that stands for a node of the frame around it.
    pub(crate) captures: HashMap<NodeId, NodeId>,
    /// For a block: the node of the frame around it that each argument stands for.
    pub(crate) operands: Vec<NodeId>,
    /// The states that have been used here, by their names in the entry.
    pub(crate) states: BTreeMap<Arc<str>, StateVersion>,
    state_of: HashMap<NodeId, Arc<str>>,
    /// For an entry: its parameters.
    params: HashMap<Arc<str>, NodeId>,
    /// Parameters brought to the compute type.
    converted: HashMap<NodeId, NodeId>,
    names: BTreeSet<Arc<str>>,
}

/// What makes two blocks the same function: everything but names and source lines.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    args: Vec<(TensorType, ArgKind)>,
    nodes: Vec<(Op, Vec<NodeId>, Type)>,
    outputs: Vec<(NodeId, Option<u32>)>,
}

impl BlockKey {
    pub(crate) fn of(f: &Function) -> BlockKey {
        BlockKey {
            args: f.args.iter().map(|a| (a.ty.clone(), a.kind)).collect(),
            nodes: f.nodes().map(|(_, n)| (n.op.clone(), n.operands.clone(), n.ty.clone())).collect(),
            outputs: f.outputs.iter().map(|o| (o.value, o.updates)).collect(),
        }
    }
}

/// The latest version of a state.
#[derive(Clone, Copy)]
pub(crate) struct StateVersion {
    pub(crate) arg: u32,
    pub(crate) latest: NodeId,
    pub(crate) updated: Option<SourceLine>,
}

impl Frame {
    pub(crate) fn new(name: &str, entry: bool) -> Frame {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Frame {
            id: FrameId(NEXT.fetch_add(1, Ordering::Relaxed)),
            function: Function::new(name, entry),
            captures: HashMap::new(),
            operands: vec![],
            states: BTreeMap::new(),
            state_of: HashMap::new(),
            params: HashMap::new(),
            converted: HashMap::new(),
            names: BTreeSet::new(),
        }
    }

    /// Adds an argument.
    pub(crate) fn add_arg(&mut self, arg: Arg) -> NodeId {
        self.names.insert(arg.name.clone());
        self.function.add_arg(arg)
    }

    /// Adds an argument that holds the first version of a state here; `state` is its name in the entry.
    pub(crate) fn add_state(&mut self, state: Arc<str>, arg: Arg) -> NodeId {
        let number = self.function.args.len() as u32;
        let node = self.add_arg(arg);
        self.states.insert(state.clone(), StateVersion { arg: number, latest: node, updated: None });
        self.state_of.insert(node, state);
        node
    }

    /// Notes that `node` is the next version of a state.
    pub(crate) fn set_version(&mut self, name: &Arc<str>, node: NodeId, line: Option<SourceLine>) {
        if let Some(state) = self.states.get_mut(name) {
            state.latest = node;
            state.updated = line;
            self.state_of.insert(node, name.clone());
        }
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(crate) fn state_of(&self, node: NodeId) -> Option<&Arc<str>> {
        self.state_of.get(&node)
    }

    /// That a node, if it is a version of a state, is the latest one.
    fn fresh(&self, node: NodeId) -> Result<(), String> {
        let Some(name) = self.state_of.get(&node) else { return Ok(()) };
        match self.states.get(name) {
            Some(state) if state.latest != node => {
                let by = state.updated.map(|l| format!(" at {l}")).unwrap_or_default();
                Err(format!("the state `{name}` was updated{by}: use the tensor that the update returned"))
            }
            _ => Ok(()),
        }
    }

    /// A name for the argument that stands for `node` of `outer`: the outer name, of parameters and states the part after the number
    /// of the layer, so that a repeated block reads the same whichever layer was traced first.
    fn capture_name(&self, outer: &Frame, node: NodeId) -> Arc<str> {
        let full: Arc<str> = match (&outer.function.node(node).op, outer.state_of.get(&node)) {
            (_, Some(state)) => state.clone(),
            (Op::Arg(i), None) => outer.function.args[*i as usize].name.clone(),
            _ => "x".into(),
        };
        let parts: Vec<&str> = full.split('.').collect();
        let after = parts.iter().rposition(|p| p.parse::<u64>().is_ok()).map_or(0, |i| i + 1);
        let short: Arc<str> = parts[after..].join(".").into();
        let numbered = (1..).map(|n| Arc::from(format!("{full}_{n}")));
        let mut names = [short, full.clone()].into_iter().filter(|n| !n.is_empty()).chain(numbered);
        names.find(|n| !self.names.contains(n)).unwrap_or(full)
    }
}

impl Builder {
    /// Records an error, unless there is one already.
    pub(crate) fn fail(&mut self, error: impl Into<Error>) {
        if self.error.is_none() {
            self.error = Some(error.into());
        }
    }

    /// Records a misuse of the DSL.
    pub(crate) fn misuse(&mut self, reason: impl Into<String>, line: SourceLine) {
        self.fail(Error::Definition { reason: reason.into(), line });
    }

    /// The error of an op that does not fit its operands, in the form that the IR gives it.
    pub(crate) fn op_error(&mut self, op: &str, operands: &[&TensorType], reason: impl Into<String>, line: SourceLine) {
        let operands = operands.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
        self.fail(IrError::Type { op: op.into(), operands, reason: format!("{} (at {line})", reason.into()) });
    }

    /// The node by which the innermost frame knows a value, captured if need be.
    pub(crate) fn resolve(&mut self, value: Value) -> Result<NodeId, String> {
        let depth = self.frames.iter().position(|f| f.id == value.frame).ok_or(
            "uses a tensor of another entry, or from inside a block that has ended: return it from the block's closure",
        )?;
        let mut node = value.node;
        self.frames[depth].fresh(node)?;
        for inner in depth + 1..self.frames.len() {
            node = self.capture(inner, node);
            self.frames[inner].fresh(node)?;
        }
        Ok(node)
    }

    fn capture(&mut self, inner: usize, node: NodeId) -> NodeId {
        let (outer, rest) = self.frames.split_at_mut(inner);
        let (outer, frame) = (&outer[inner - 1], &mut rest[0]);
        if let Some(arg) = frame.captures.get(&node) {
            return *arg;
        }
        let kind = match outer.function.node(node).op {
            Op::Arg(i) if matches!(outer.function.args[i as usize].kind, ArgKind::Param { .. }) => {
                outer.function.args[i as usize].kind
            }
            _ => ArgKind::Input,
        };
        let (name, ty) = (frame.capture_name(outer, node), outer.function.tensor(node).clone());
        let arg = match outer.state_of.get(&node) {
            Some(state) => {
                let kind = outer.states.get(state).map_or(ArgKind::State, |v| outer.function.args[v.arg as usize].kind);
                frame.add_state(state.clone(), Arg { name, ty, kind, default: None, range: None })
            }
            None => frame.add_arg(Arg { name, ty, kind, default: None, range: None }),
        };
        frame.captures.insert(node, arg);
        frame.operands.push(node);
        arg
    }

    /// Appends an op to the innermost frame.
    pub(crate) fn apply(&mut self, op: Op, operands: &[Value], line: SourceLine) -> Result<Value, Error> {
        let definition = |reason: String| Error::Definition { reason, line };
        let nodes: Vec<NodeId> = operands
            .iter()
            .map(|v| self.resolve(*v).map_err(|reason| definition(format!("`{}` {reason}", op.name()))))
            .collect::<Result<_, _>>()?;
        let Some(frame) = self.frames.last_mut() else {
            return Err(definition(format!("`{}` stands outside of every entry", op.name())));
        };
        let updated = if op.class() == Class::Write { frame.state_of.get(&nodes[0]).cloned() } else { None };
        let node = frame.function.add_at(op, &nodes, Some(line))?;
        if let Some(name) = updated {
            frame.set_version(&name, node, Some(line));
        }
        Ok(Value { frame: frame.id, node })
    }

    /// The entry's argument for a parameter, made where it is used first.
    pub(crate) fn param(&mut self, arg: Arg) -> Result<Value, String> {
        if arg.kind.is_written()
            && let Some(latest) = self.latest(&arg.name)
        {
            return Ok(latest);
        }
        let frame = self.frames.first_mut().ok_or("a parameter is used outside of every entry")?;
        if let Some(node) = frame.params.get(&arg.name) {
            return Ok(Value { frame: frame.id, node: *node });
        }
        if frame.has_name(&arg.name) {
            return Err(format!("`{}` is the name of a parameter and of another argument", arg.name));
        }
        let name = arg.name.clone();
        let node = if arg.kind.is_written() { frame.add_state(name.clone(), arg) } else { frame.add_arg(arg) };
        frame.params.insert(name, node);
        Ok(Value { frame: frame.id, node })
    }

    /// A parameter converted by `op`, once in each frame.
    pub(crate) fn convert(&mut self, param: Value, op: Op, line: SourceLine) -> Result<Value, Error> {
        let node = self.resolve(param).map_err(|reason| Error::Definition { reason, line })?;
        let Some(frame) = self.frames.last_mut() else {
            return Err(Error::Definition { reason: "a parameter is used outside of every entry".into(), line });
        };
        if let Some(node) = frame.converted.get(&node) {
            return Ok(Value { frame: frame.id, node: *node });
        }
        let converted = frame.function.add_at(op, &[node], Some(line))?;
        frame.converted.insert(node, converted);
        Ok(Value { frame: frame.id, node: converted })
    }

    /// The latest version of a state, in the innermost frame that has used it.
    pub(crate) fn latest(&self, state: &str) -> Option<Value> {
        let of = |f: &Frame| f.states.get(state).map(|v| Value { frame: f.id, node: v.latest });
        self.frames.iter().rev().find_map(of)
    }
}
