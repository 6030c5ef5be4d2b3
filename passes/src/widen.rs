//! Computing in f32 what is written in f16 or bf16, for targets that have no arithmetic of such types.
//!
//! Weights, states, inputs and results keep their types, and so does what is computed from weights alone, once. Everything else is f32,
//! between kernels too, so that a value is rounded where the graph says so (a cast, a state, a result) and nowhere else: nearer to the
//! exact result than rounding after each op, as specs/numerics.md allows.

use kiln_ir::{AttentionAttrs, DType, Function, FunctionInfo, IrError, Literal, NodeId, Op};
use std::collections::HashMap;

/// The function with f32 in place of f16 and bf16, but for what stays as it is stored.
///
/// # Errors
/// None for a verified function.
pub fn widen(f: &Function, info: &FunctionInfo) -> Result<Function, IrError> {
    let mut out = Widened { f: f.shell(), wide: HashMap::new() };
    let mut renamed: Vec<NodeId> = Vec::with_capacity(f.len());
    // What is computed from static parameters alone, without constants.
    let mut kept: Vec<bool> = Vec::with_capacity(f.len());
    for (id, node) in f.nodes() {
        let mut operands: Vec<NodeId> = node.operands.iter().map(|o| renamed[o.index()]).collect();
        let from_weights = !operands.is_empty() && node.operands.iter().all(|o| kept[o.index()]);
        let keep = info.is_static(id) && (matches!(node.op, Op::Arg(_)) || from_weights);
        kept.push(keep);
        let id = match &node.op {
            Op::Arg(i) => out.f.add_arg(f.args[*i as usize].clone()),
            Op::Constant(l) => match l.splat().filter(|_| l.dtype().is_half()) {
                Some(value) => {
                    let scalar = out.add(Op::Constant(Literal::scalar(DType::F32, value)), &[])?;
                    let shape = l.dims();
                    if shape.is_empty() { scalar } else { out.add(Op::Broadcast(shape), &[scalar])? }
                }
                None => out.f.add_at(node.op.clone(), &[], node.source)?,
            },
            op => {
                match op {
                    _ if keep => {}
                    // Rows are picked as they are stored.
                    Op::Take { .. } | Op::Gather { .. } => {}
                    Op::CacheUpdate | Op::Write => operands[1] = out.as_stored(operands[1], operands[0])?,
                    // Keys and values lie in a cache.
                    Op::Attention(AttentionAttrs { cached: true, .. }) => {
                        operands[0] = out.as_stored(operands[0], operands[1])?;
                    }
                    _ => operands.iter_mut().try_for_each(|o| out.widen(o))?,
                }
                out.f.add_at(op.clone(), &operands, node.source)?
            }
        };
        renamed.push(id);
    }
    for o in &f.outputs {
        let mut value = renamed[o.value.index()];
        if let (Some(want), Some(found)) = (f.tensor(o.value).dtype(), out.dtype(value))
            && want != found
        {
            value = out.add(Op::Cast(want), &[value])?;
        }
        out.f.add_output(o.name.clone(), value, o.updates);
    }
    Ok(out.f)
}

struct Widened {
    f: Function,
    /// The f32 form of a narrow value.
    wide: HashMap<NodeId, NodeId>,
}

impl Widened {
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, IrError> {
        self.f.add(op, operands)
    }

    fn dtype(&self, id: NodeId) -> Option<DType> {
        self.f.ty(id).tensor()?.dtype()
    }

    /// Replaces a narrow value by its f32 form.
    fn widen(&mut self, id: &mut NodeId) -> Result<(), IrError> {
        if self.dtype(*id).is_some_and(DType::is_half) {
            *id = match self.wide.get(id) {
                Some(wide) => *wide,
                None => {
                    let wide = self.add(Op::Cast(DType::F32), &[*id])?;
                    self.wide.insert(*id, wide);
                    wide
                }
            };
        }
        Ok(())
    }

    /// The value in the type of another.
    fn as_stored(&mut self, id: NodeId, like: NodeId) -> Result<NodeId, IrError> {
        match self.dtype(like).filter(|d| self.dtype(id) != Some(*d)) {
            Some(d) => self.add(Op::Cast(d), &[id]),
            None => Ok(id),
        }
    }
}
