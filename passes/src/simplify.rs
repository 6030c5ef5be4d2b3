//! Merges equal nodes and drops dead ones, after inlining made blocks meet.

use kiln_ir::{Function, Node, NodeId, Op};
use std::collections::HashMap;

/// The function with every pair of equal nodes merged (same op, same operands) and without dead nodes.
///
/// State versions are never merged: an op that consumes one has no equal, since its operand is consumed once.
pub fn simplify(f: &Function) -> Function {
    let mut out = f.shell();
    let mut renamed: Vec<NodeId> = Vec::with_capacity(f.len());
    let mut known: HashMap<(Op, Vec<NodeId>), NodeId> = HashMap::new();
    for (_, node) in f.nodes() {
        let operands: Vec<NodeId> = node.operands.iter().map(|o| renamed[o.index()]).collect();
        if let Op::Arg(i) = node.op {
            renamed.push(out.add_arg(f.args[i as usize].clone()));
            continue;
        }
        // A view that changes nothing is its operand.
        if operands.len() == 1
            && matches!(node.op, Op::Reshape(_) | Op::Broadcast(_) | Op::Cast(_) | Op::Slice { .. } | Op::Concat { .. })
            && !matches!(&node.op, Op::Slice { start, .. } if !start.is(0))
            && *out.ty(operands[0]) == node.ty
        {
            renamed.push(operands[0]);
            continue;
        }
        let id = *known
            .entry((node.op.clone(), operands.clone()))
            .or_insert_with(|| out.push(Node { operands, ..node.clone() }));
        renamed.push(id);
    }
    for o in &f.outputs {
        out.add_output(o.name.clone(), renamed[o.value.index()], o.updates);
    }
    out.without_dead_nodes()
}
