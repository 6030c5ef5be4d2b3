//! Gradients of ops.
//!
//! The row of an op in the table names the rule of its gradient, if it has one. A rule appends nodes: from the operands, the result and
//! the gradient of the result (of a scalar, by the result) to the gradient of each operand that is wanted. Each is the transposed
//! Jacobian of the op applied to the gradient of the result.
//!
//! `specs/gradients.md` says what a rule gives where its op has no derivative. Composites of f16 and bf16 compute their gradients in f32
//! and round them, as they do their values.

mod axis;
mod elementwise;
mod movement;
mod product;

use crate::{DType, Function, IrError, NodeId, Op, TensorType, builder::Builder};
use kiln_core::BinaryOp;

type Result<T> = std::result::Result<T, IrError>;

/// Appends the gradients of a node's operands, given that of its value, which has its type. There is none for an operand that is not
/// `wanted`, and for one that the value does not depend on smoothly: an index, a condition.
///
/// # Errors
/// [`IrError::NoGradient`]: the op has no rule for it.
pub fn append(f: &mut Function, node: NodeId, gradient: NodeId, wanted: &[bool]) -> Result<Vec<Option<NodeId>>> {
    let (op, source) = (f.node(node).op.clone(), f.node(node).source);
    let mut operands = f.node(node).operands.clone();
    let types: Vec<TensorType> = operands.iter().map(|o| f.tensor(*o).clone()).collect();
    let mut b = Builder { f, source };
    let (mut y, mut dy) = (node, gradient);
    let narrow = op.is_composite() && b.f.tensor(node).dtype().is_some_and(DType::is_half);
    if narrow {
        for id in operands.iter_mut().chain([&mut y, &mut dy]) {
            if b.f.tensor(*id).dtype().is_some_and(DType::is_half) {
                *id = b.op(Op::Cast(DType::F32), &[*id])?;
            }
        }
    }
    let out = vec![None; operands.len()];
    let mut g = Gradient { b, x: &operands, y, dy, wanted, out };
    match op.gradient(&mut g) {
        Some(result) => result?,
        None => {
            let reason = "this op has no rule for its gradient".into();
            return Err(IrError::NoGradient { op: op.to_string(), reason });
        }
    }
    let Gradient { mut b, mut out, .. } = g;
    if narrow {
        for (gradient, ty) in out.iter_mut().zip(&types) {
            if let (Some(id), Some(d)) = (gradient.as_mut(), ty.dtype().filter(|d| d.is_half())) {
                *id = b.op(Op::Cast(d), &[*id])?;
            }
        }
    }
    Ok(out)
}

/// What a rule works with.
pub(crate) struct Gradient<'a> {
    b: Builder<'a>,
    /// The operands.
    x: &'a [NodeId],
    /// The result.
    y: NodeId,
    /// The gradient of the result.
    dy: NodeId,
    /// For each operand, whether its gradient is wanted.
    wanted: &'a [bool],
    out: Vec<Option<NodeId>>,
}

impl Gradient<'_> {
    /// Whether the gradient of that operand is wanted.
    fn wants(&self, operand: usize) -> bool {
        self.wanted.get(operand).copied().unwrap_or(false)
    }

    /// States the gradient of an operand.
    fn give(&mut self, operand: usize, gradient: NodeId) {
        if self.wants(operand) {
            self.out[operand] = Some(gradient);
        }
    }

    fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.b.binary(BinaryOp::Mul, a, b)
    }

    fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.b.binary(BinaryOp::Sub, a, b)
    }

    /// `x * number`
    fn scaled(&mut self, x: NodeId, number: f64) -> Result<NodeId> {
        self.b.with_number(BinaryOp::Mul, x, number)
    }

    /// Zeros of the type of `like`.
    fn zeros(&mut self, like: NodeId) -> Result<NodeId> {
        self.b.number(0.0, like)
    }
}
