//! A function with the way back behind it, as two.

use super::joint::Joint;
use super::work::{Question, Split, Work};
use kiln_ir::{Arg, ArgKind, Class, Function, Node, NodeId, Op};
use std::collections::{BTreeMap, HashMap};

/// Splits a function where the way back begins. What the way back reads is saved, but for what costs nothing to make again: constants,
/// and views of what it has.
pub(super) fn split(work: &mut Work<'_>, question: &Question, joint: &Joint) -> Split {
    let f = &joint.function;
    let results = question.given.len();
    let mut cut = Cut { f, own: joint.own, args: BTreeMap::new(), saved: vec![], read: HashMap::new() };
    let mut backward = Function::new(format!("{}.backward", f.name), false);
    // Arguments come first, in the order that a call gives them: found by walking the way back once without writing it.
    for (_, node) in f.nodes().filter(|(id, _)| id.index() >= joint.own) {
        node.operands.iter().for_each(|o| cut.need(*o));
    }
    f.outputs[results..].iter().for_each(|o| cut.need(o.value));
    for (i, node) in &cut.args {
        cut.read.insert(*node, backward.add_arg(f.args[*i].clone()));
    }
    for (i, value) in cut.saved.iter().enumerate() {
        let ty = f.tensor(*value).clone();
        let name = format!("saved.{i}").into();
        let id = backward.add_arg(Arg { name, ty, kind: ArgKind::Input, default: None, range: None });
        cut.read.insert(*value, id);
    }
    for (id, node) in f.nodes().filter(|(id, _)| id.index() >= joint.own) {
        let now = match &node.op {
            Op::Arg(i) => backward.add_arg(f.args[*i as usize].clone()),
            _ => {
                let operands = node.operands.iter().map(|o| cut.read(&mut backward, *o)).collect();
                backward.push(Node { operands, ..node.clone() })
            }
        };
        cut.read.insert(id, now);
    }
    for o in &f.outputs[results..] {
        let value = cut.read(&mut backward, o.value);
        backward.add_output(o.name.clone(), value, None);
    }

    let mut forward = Function::new(format!("{}.forward", f.name), false);
    for (_, node) in f.nodes().take(joint.own) {
        match &node.op {
            Op::Arg(i) => forward.add_arg(f.args[*i as usize].clone()),
            _ => forward.push(node.clone()),
        };
    }
    for o in &f.outputs[..results] {
        forward.add_output(o.name.clone(), o.value, o.updates);
    }
    for (i, value) in cut.saved.iter().enumerate() {
        forward.add_output(format!("saved.{i}"), *value, None);
    }
    let gradients = joint.gradients.iter().map(|g| g.map(|number| number - results)).collect();
    let (arguments, saved) = (cut.args.into_keys().collect(), cut.saved.len());
    let (forward, backward) = (forward.without_dead_nodes(), backward.without_dead_nodes());
    let forward = work.push_named(forward);
    let backward = work.push_named(backward);
    Split { forward, backward, arguments, saved, gradients }
}

/// What the way back reads of the function's own nodes.
struct Cut<'a> {
    f: &'a Function,
    own: usize,
    /// The node of each argument that is read.
    args: BTreeMap<usize, NodeId>,
    saved: Vec<NodeId>,
    /// What stands for a node in the backward function.
    read: HashMap<NodeId, NodeId>,
}

impl Cut<'_> {
    /// Whether a node is made again rather than saved.
    fn is_remade(&self, id: NodeId) -> bool {
        let op = &self.f.node(id).op;
        let view = matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_));
        view || (op.class() == Class::Source && !matches!(op, Op::Arg(_)))
    }

    fn need(&mut self, id: NodeId) {
        if id.index() >= self.own {
            return;
        }
        if let Op::Arg(i) = self.f.node(id).op {
            self.args.insert(i as usize, id);
        } else if self.is_remade(id) {
            self.f.node(id).operands.iter().for_each(|o| self.need(*o));
        } else if !self.saved.contains(&id) {
            self.saved.push(id);
        }
    }

    fn read(&mut self, out: &mut Function, id: NodeId) -> NodeId {
        if let Some(known) = self.read.get(&id) {
            return *known;
        }
        let node = self.f.node(id);
        let operands = node.operands.iter().map(|o| self.read(out, *o)).collect();
        let now = out.push(Node { operands, ..node.clone() });
        self.read.insert(id, now);
        now
    }
}
