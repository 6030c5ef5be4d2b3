//! Which nodes a gradient passes through: those that a wanted argument reaches, and that a given result depends on.

use super::work::{Question, Work};
use kiln_ir::{FuncId, Function, Node, NodeId, Op, Type};
use std::collections::{BTreeSet, HashMap};

/// The way back through a function.
pub(super) struct Way {
    /// Whether a node depends on a wanted argument, through floats.
    reached: Vec<bool>,
    /// Those of them that a given result depends on.
    useful: BTreeSet<NodeId>,
    /// For each call on the way, which of its results are.
    given: HashMap<NodeId, Vec<bool>>,
}

impl Way {
    /// The way that a question asks about.
    pub fn of(work: &Work<'_>, f: &Function, question: &Question) -> Way {
        let reached = reach(work, f, &question.wanted);
        let is_reached = |id: NodeId| reached.nodes[id.index()];
        let ends = f.outputs.iter().zip(&question.given).filter(|(_, given)| **given).map(|(o, _)| o.value);
        let useful = f.needs_within(ends.filter(|id| is_reached(*id)), is_reached);
        let mut given: HashMap<NodeId, Vec<bool>> = HashMap::new();
        for node in useful.iter().map(|id| f.node(*id)) {
            if let Op::Get(i) = &node.op {
                let call = node.operands[0];
                let results = given.entry(call).or_insert_with(|| vec![false; reached.calls[&call].len()]);
                results[*i as usize] = true;
            }
        }
        Way { reached: reached.nodes, useful, given }
    }

    /// Whether a node lies on the way.
    pub fn passes(&self, node: NodeId) -> bool {
        self.useful.contains(&node)
    }

    /// Whether a wanted argument reaches a node.
    pub fn reaches(&self, node: NodeId) -> bool {
        self.reached[node.index()]
    }

    /// The operands whose gradients are wanted.
    pub fn wanted(&self, node: &Node) -> Vec<bool> {
        operands(&self.reached, &node.operands)
    }

    /// What a call on the way asks of the function that it calls.
    pub fn question(&self, id: NodeId, node: &Node) -> Option<Question> {
        let Op::Call(function) = node.op else { return None };
        let given = self.given.get(&id)?.clone();
        Some(Question { function, wanted: self.wanted(node), given })
    }
}

/// What the wanted arguments reach in a function.
struct Reach {
    nodes: Vec<bool>,
    /// For each call, which of its results are reached.
    calls: HashMap<NodeId, Vec<bool>>,
}

/// What the wanted arguments of a function reach.
fn reach(work: &Work<'_>, f: &Function, wanted: &[bool]) -> Reach {
    let mut out = Reach { nodes: Vec::with_capacity(f.len()), calls: HashMap::new() };
    for (id, node) in f.nodes() {
        let reached = match &node.op {
            Op::Arg(i) => wanted[*i as usize],
            Op::Get(i) => out.calls.get(&node.operands[0]).is_some_and(|results| results[*i as usize]),
            Op::Call(callee) => {
                let wanted = operands(&out.nodes, &node.operands);
                let results = if wanted.contains(&true) {
                    results(work, *callee, &wanted)
                } else {
                    vec![false; work.module.function(*callee).outputs.len()]
                };
                let any = results.contains(&true);
                out.calls.insert(id, results);
                any
            }
            _ => is_float(&node.ty) && node.operands.iter().any(|o| out.nodes[o.index()]),
        };
        out.nodes.push(reached);
    }
    out
}

/// Which results of a function the wanted arguments reach.
fn results(work: &Work<'_>, id: FuncId, wanted: &[bool]) -> Vec<bool> {
    let f = work.module.function(id);
    let reached = reach(work, f, wanted);
    f.outputs.iter().map(|o| reached.nodes[o.value.index()]).collect()
}

/// Which operands are reached.
fn operands(reached: &[bool], operands: &[NodeId]) -> Vec<bool> {
    operands.iter().map(|o| reached[o.index()]).collect()
}

fn is_float(ty: &Type) -> bool {
    ty.tensor().and_then(|t| t.dtype()).is_some_and(|d| d.is_float())
}
