//! A function with the way back behind it.

use super::way::Way;
use super::work::{Question, Work, gradient_name};
use crate::PassError;
use kiln_core::BinaryOp;
use kiln_ir::{Arg, ArgKind, Function, IrError, Literal, Node, NodeId, Op, gradient};
use std::collections::BTreeMap;

/// A function that computes its results, and then gradients of its arguments.
pub(super) struct Joint {
    /// Its arguments are those of the function, then the gradients of its results that are given (of an entry's loss there is none: it is
    /// 1). Its results are those of the function, then the gradients of arguments.
    pub function: Function,
    /// How many of its nodes are the function's own.
    pub own: usize,
    /// For each argument, the number of the result that is its gradient, if the given results depend on it.
    pub gradients: Vec<Option<usize>>,
}

/// A call on the way, and where its parts are.
struct Called {
    /// The call of the forward function.
    call: NodeId,
    question: Question,
    /// What the forward function returns beside the results.
    saved: Vec<NodeId>,
    /// For each result, its gradient so far.
    gradients: Vec<Option<NodeId>>,
}

/// The function of a question with the way back behind it; the functions that its calls become are there.
pub(super) fn joint(work: &mut Work<'_>, f: &Function, way: &Way, question: &Question) -> Result<Joint, PassError> {
    let mut out = f.shell();
    out.entry = false;
    let mut called: BTreeMap<NodeId, Called> = BTreeMap::new();
    let mut renamed: Vec<NodeId> = Vec::with_capacity(f.len());
    for (id, node) in f.nodes() {
        let map = |o: &NodeId| renamed[o.index()];
        let now = match &node.op {
            Op::Arg(i) => out.add_arg(f.args[*i as usize].clone()),
            Op::Call(callee) => {
                let args: Vec<NodeId> = node.operands.iter().map(map).collect();
                match way.question(id, node) {
                    Some(question) => {
                        let forward = work.splits[&question].forward;
                        let call = out.add_call(forward, &work.out[forward.index()], &args)?;
                        let gradients = vec![None; question.given.len()];
                        called.insert(id, Called { call, question, saved: vec![], gradients });
                        call
                    }
                    None => {
                        let callee = work.copy(*callee);
                        out.add_call(callee, &work.out[callee.index()], &args)?
                    }
                }
            }
            _ => out.push(Node { operands: node.operands.iter().map(map).collect(), ..node.clone() }),
        };
        renamed.push(now);
    }
    // In front of where the way back begins.
    for Called { call, question, saved, .. } in called.values_mut() {
        let first = question.given.len() as u32;
        for i in 0..work.splits[question].saved as u32 {
            saved.push(out.add(Op::Get(first + i), &[*call])?);
        }
    }
    let own = out.len();

    let mut gradients: Vec<Option<NodeId>> = vec![None; f.len()];
    let entry = f.entry;
    for (output, _) in f.outputs.iter().zip(&question.given).filter(|(_, given)| **given) {
        let ty = f.tensor(output.value).clone();
        let given = match ty.dtype().filter(|_| entry) {
            Some(d) => out.add(Op::Constant(Literal::scalar(d, 1.0)), &[])?,
            None => {
                let name = gradient_name(&output.name).into();
                out.add_arg(Arg { name, ty, kind: ArgKind::Input, default: None, range: None })
            }
        };
        if way.reaches(output.value) {
            add(&mut out, &mut gradients[output.value.index()], given)?;
        }
    }
    for (id, node) in f.nodes().rev().filter(|(id, _)| way.passes(*id)) {
        let found: Vec<(NodeId, Option<NodeId>)> = match &node.op {
            Op::Arg(_) => continue,
            Op::Get(i) => {
                if let (Some(gradient), Some(called)) = (gradients[id.index()], called.get_mut(&node.operands[0])) {
                    add(&mut out, &mut called.gradients[*i as usize], gradient)?;
                }
                continue;
            }
            Op::Call(_) => {
                let Some(called) = called.get(&id).filter(|c| c.gradients.iter().any(Option::is_some)) else {
                    continue;
                };
                backward(work, &mut out, &node.operands, called, &renamed)?
            }
            op => {
                let Some(gradient) = gradients[id.index()] else { continue };
                let wanted = way.wanted(node);
                let found = gradient::append(&mut out, renamed[id.index()], gradient, &wanted);
                let found = found.map_err(|e| match e {
                    IrError::NoGradient { reason, .. } => PassError::Unsupported {
                        function: f.name.to_string(),
                        node: format!("{id}: {op}{}", node.source.map(|s| format!(" at {s}")).unwrap_or_default()),
                        reason,
                    },
                    e => e.into(),
                })?;
                node.operands.iter().copied().zip(found).collect()
            }
        };
        for (operand, gradient) in found {
            if let Some(gradient) = gradient {
                add(&mut out, &mut gradients[operand.index()], gradient)?;
            }
        }
    }

    for o in &f.outputs {
        out.add_output(o.name.clone(), renamed[o.value.index()], o.updates);
    }
    let mut numbers = vec![None; f.args.len()];
    for (id, node) in f.nodes() {
        if let (Op::Arg(i), Some(gradient)) = (&node.op, gradients[id.index()]) {
            numbers[*i as usize] = Some(out.outputs.len());
            out.add_output(gradient_name(&f.args[*i as usize].name), gradient, None);
        }
    }
    Ok(Joint { function: out, own, gradients: numbers })
}

/// Adds to a gradient: a value that several ops read has the sum of what each gives it.
fn add(f: &mut Function, sum: &mut Option<NodeId>, gradient: NodeId) -> Result<(), IrError> {
    *sum = Some(match *sum {
        Some(so_far) => f.add(Op::Binary(BinaryOp::Add), &[so_far, gradient])?,
        None => gradient,
    });
    Ok(())
}

/// Calls the way back of a call; gives the gradients of its operands.
fn backward(
    work: &Work<'_>,
    out: &mut Function,
    operands: &[NodeId],
    called: &Called,
    renamed: &[NodeId],
) -> Result<Vec<(NodeId, Option<NodeId>)>, PassError> {
    let split = &work.splits[&called.question];
    let callee = &work.out[split.backward.index()];
    let mut args: Vec<NodeId> = split.arguments.iter().map(|i| renamed[operands[*i].index()]).collect();
    args.extend(&called.saved);
    for (i, gradient) in called.gradients.iter().enumerate().filter(|(i, _)| called.question.given[*i]) {
        args.push(match gradient {
            Some(gradient) => *gradient,
            // The loss depends on the result, but not smoothly.
            None => {
                let function = work.module.function(called.question.function);
                let ty = function.tensor(function.outputs[i].value);
                let zero = Literal::scalar(ty.dtype().unwrap_or(kiln_core::DType::F32), 0.0);
                let zero = out.add(Op::Constant(zero), &[])?;
                out.add(Op::Broadcast(ty.shape.to_vec()), &[zero])?
            }
        });
    }
    let call = out.add_call(split.backward, callee, &args)?;
    let mut gradients = Vec::with_capacity(operands.len());
    for (operand, result) in operands.iter().zip(&split.gradients) {
        let gradient = match result {
            Some(result) => Some(out.add(Op::Get(*result as u32), &[call])?),
            None => None,
        };
        gradients.push((*operand, gradient));
    }
    Ok(gradients)
}
