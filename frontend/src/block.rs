//! Finishing a function: what a block returns, how equal blocks become one function, and how it is called.

use crate::{
    Tensor,
    builder::{BlockKey, Builder, Frame, Value},
};
use kiln_ir::{ArgKind, FuncId, Function, Node, NodeId, Op, SourceLine};
use std::collections::HashMap;

/// What a block may return: tensors, and tuples, arrays, vectors and options of them.
pub trait Values {
    /// The same with each tensor replaced by what `f` makes of it, in order.
    fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self;
}

impl Values for Tensor {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self {
        f(self)
    }
}

impl Values for () {
    fn map(self, _: &mut dyn FnMut(Tensor) -> Tensor) -> Self {}
}

impl<T: Values> Values for Option<T> {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self {
        self.map(|v| v.map(f))
    }
}

impl<T: Values> Values for Vec<T> {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self {
        self.into_iter().map(|v| v.map(f)).collect()
    }
}

impl<T: Values, const N: usize> Values for [T; N] {
    fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self {
        self.map(|v| v.map(f))
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),*))*) => {$(
        impl<$($t: Values),*> Values for ($($t,)*) {
            fn map(self, f: &mut dyn FnMut(Tensor) -> Tensor) -> Self {
                ($(self.$i.map(f),)*)
            }
        }
    )*};
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

impl Frame {
    /// The function as it goes into the module, with its arguments first, and the numbers that those arguments had while tracing.
    ///
    /// Values that no result needs are dropped; so are arguments without a use, except the inputs and states of an entry, which are
    /// its signature.
    fn tidy(&self) -> (Function, Vec<usize>) {
        let f = &self.function;
        let live = f.needs(f.outputs.iter().map(|o| o.value));
        let arg_nodes = |(id, node): (NodeId, &Node)| match node.op {
            Op::Arg(i) => Some((i as usize, id)),
            _ => None,
        };
        let kept: Vec<(usize, NodeId)> = f
            .nodes()
            .filter_map(arg_nodes)
            .filter(|(i, id)| live.contains(id) || (f.entry && !matches!(f.args[*i].kind, ArgKind::Param { .. })))
            .collect();
        let updated = |arg: usize| f.outputs.iter().any(|o| o.updates == Some(arg as u32));
        let mut out = f.shell();
        let mut renamed = HashMap::new();
        for (i, id) in &kept {
            let mut arg = f.args[*i].clone();
            if arg.kind == ArgKind::State && !f.entry && !updated(*i) {
                arg.kind = ArgKind::Input; // read, not consumed
            }
            renamed.insert(*id, out.add_arg(arg));
        }
        for (id, node) in f.nodes().filter(|(id, n)| live.contains(id) && !matches!(n.op, Op::Arg(_))) {
            let mut node = node.clone();
            node.operands.iter_mut().for_each(|o| *o = renamed[o]);
            renamed.insert(id, out.push(node));
        }
        let number = |arg: u32| kept.iter().position(|(i, _)| *i == arg as usize).map(|i| i as u32);
        for o in &f.outputs {
            out.add_output(o.name.clone(), renamed[&o.value], o.updates.and_then(number));
        }
        (out, kept.into_iter().map(|(i, _)| i).collect())
    }

    /// Makes the states that were updated here results of the function.
    fn return_states(&mut self) {
        let mut updated: Vec<_> = self.states.values().filter(|s| s.updated.is_some()).copied().collect();
        updated.sort_by_key(|s| s.arg);
        for state in updated {
            let name = self.function.args[state.arg as usize].name.clone();
            self.function.add_output(name, state.latest, Some(state.arg));
        }
    }
}

impl Builder {
    /// Ends an entry.
    pub(crate) fn finish_entry(&mut self) {
        let Some(mut frame) = self.frames.pop() else { return };
        frame.return_states();
        self.functions.push(frame.tidy().0);
    }

    /// Ends a block that returns these values: it becomes a function, unless an equal one is there, and is called. The results are
    /// those of the call, in order; `None` if there is an error.
    pub(crate) fn finish_block(&mut self, results: &[Value], line: SourceLine) -> Option<Vec<Value>> {
        let resolved: Result<Vec<NodeId>, String> = results.iter().map(|v| self.resolve(*v)).collect();
        let mut frame = self.frames.pop()?;
        let nodes = match resolved {
            Ok(nodes) => nodes,
            Err(reason) => {
                self.misuse(format!("the block's result {reason}"), line);
                return None;
            }
        };
        // A state's version is returned as its update; what else is returned comes first, each value once.
        let mut returned: Vec<NodeId> = vec![];
        for node in nodes.iter().filter(|n| frame.state_of(**n).is_none()) {
            if !returned.contains(node) {
                returned.push(*node);
            }
        }
        for (i, node) in returned.iter().enumerate() {
            frame.function.add_output(if i == 0 { "y".into() } else { format!("y_{i}") }, *node, None);
        }
        frame.return_states();
        let (function, kept) = frame.tidy();
        let gets = self.call(function, kept.iter().map(|i| frame.operands[*i]).collect(), line)?;
        let outer = self.frames.last_mut()?;
        // The versions that the outer frame goes on with.
        for (name, state) in frame.states.iter().filter(|(_, s)| s.updated.is_some()) {
            let at = frame.function.outputs.iter().position(|o| o.updates == Some(state.arg))?;
            outer.set_version(name, gets[at], state.updated);
        }
        let id = outer.id;
        let value = |node: &NodeId| {
            let node = match frame.state_of(*node) {
                Some(state) => outer.states.get(state)?.latest,
                None => gets[returned.iter().position(|r| r == node)?],
            };
            Some(Value { frame: id, node })
        };
        nodes.iter().map(value).collect()
    }

    /// Calls a block's function from the innermost frame; gives the nodes of its results.
    fn call(&mut self, mut function: Function, operands: Vec<NodeId>, line: SourceLine) -> Option<Vec<NodeId>> {
        let outputs = function.outputs.len();
        let frame = self.frames.last_mut()?;
        if outputs == 0 {
            return Some(vec![]);
        }
        let functions = &mut self.functions;
        let id = *self.blocks.entry(BlockKey::of(&function)).or_insert_with(|| {
            let name = function.name.to_string();
            let taken = |n: &str| functions.iter().any(|f| *f.name == *n);
            let mut numbered = (2..).map(|i| format!("{name}.{i}"));
            if taken(&name)
                && let Some(free) = numbered.find(|n| !taken(n))
            {
                function.name = free.into();
            }
            functions.push(function);
            FuncId(functions.len() as u32 - 1)
        });
        let made = frame.function.add_call(id, &self.functions[id.index()], &operands).and_then(|call| {
            (0..outputs as u32).map(|i| frame.function.add_at(Op::Get(i), &[call], Some(line))).collect()
        });
        match made {
            Ok(gets) => Some(gets),
            Err(e) => {
                self.fail(e);
                None
            }
        }
    }
}
