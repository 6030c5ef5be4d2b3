//! What depends on what: which nodes a gradient passes through.

use super::Work;
use kiln_ir::{FuncId, Function, NodeId, Op, Type};
use std::collections::HashMap;

/// What the wanted arguments reach in a function.
pub(super) struct Reach {
    /// Whether a node depends on a wanted argument through floats.
    pub nodes: Vec<bool>,
    /// For each call, which of its results do.
    pub calls: HashMap<NodeId, Vec<bool>>,
}

/// What the wanted arguments of a function reach.
pub(super) fn reach(work: &Work<'_>, f: &Function, wanted: &[bool]) -> Reach {
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
pub(super) fn operands(reached: &[bool], operands: &[NodeId]) -> Vec<bool> {
    operands.iter().map(|o| reached[o.index()]).collect()
}

fn is_float(ty: &Type) -> bool {
    ty.tensor().and_then(|t| t.dtype()).is_some_and(|d| d.is_float())
}
