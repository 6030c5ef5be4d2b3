//! What builders are made of: ops that are added where they do something.

use super::super::facts::{Graph, tensor};
use super::super::term::{Term, split};
use egg::Id;
use kiln_ir::{BinaryOp, DType, Dim, Literal, Op, Real, TensorType};

/// Adds an op.
pub fn add(graph: &mut Graph, op: &Op, operands: &[Id]) -> Id {
    let (head, attrs) = split(op);
    let mut children = operands.to_vec();
    children.extend(attrs.into_iter().map(|a| graph.add(Term::attr(a))));
    graph.add(Term::new(head, children))
}

/// The type of a tensor class.
pub fn ty(graph: &Graph, id: Id) -> Option<TensorType> {
    tensor(graph, id).map(|t| t.ty.clone())
}

/// The operand, with its axes permuted where the permutation does something.
pub fn permuted(graph: &mut Graph, x: Id, perm: &[usize]) -> Id {
    if perm.iter().copied().eq(0..perm.len()) { x } else { add(graph, &Op::Transpose(perm.to_vec()), &[x]) }
}

/// The operand in that shape.
pub fn reshaped(graph: &mut Graph, x: Id, shape: Vec<Dim>) -> Option<Id> {
    let same = *ty(graph, x)?.shape == *shape;
    Some(if same { x } else { add(graph, &Op::Reshape(shape), &[x]) })
}

/// The operand broadcast to that shape.
pub fn spread(graph: &mut Graph, x: Id, shape: &[Dim]) -> Option<Id> {
    let same = *ty(graph, x)?.shape == *shape;
    Some(if same { x } else { add(graph, &Op::Broadcast(shape.to_vec()), &[x]) })
}

/// A tensor of one value.
pub fn filled(graph: &mut Graph, value: f64, like: &TensorType) -> Option<Id> {
    let scalar = add(graph, &Op::Constant(Literal::scalar(like.dtype()?, value)), &[]);
    spread(graph, scalar, &like.shape)
}

/// A constant of one value, all its elements written out; shapes that laws need are vectors of a norm's length.
pub fn constant(graph: &mut Graph, dtype: DType, shape: &[usize], value: f64) -> Option<Id> {
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= LONGEST_CONSTANT)?;
    let literal = Literal::from_f64(dtype, shape.to_vec(), &vec![value; count])?;
    Some(add(graph, &Op::Constant(literal), &[]))
}

const LONGEST_CONSTANT: usize = 1 << 20;

/// The value of a tensor of one value, as a model would write it: of what rounds to an f32, the shortest decimal.
pub fn value(graph: &Graph, id: Id) -> Option<Real> {
    let t = tensor(graph, id)?;
    let v = t.splat?;
    match t.ty.dtype()? {
        DType::F32 => (v.get() as f32).to_string().parse().ok().map(Real::new),
        _ => Some(v),
    }
}

/// `a and b`, of two bool tensors.
pub fn both(graph: &mut Graph, a: Id, b: Id) -> Id {
    add(graph, &Op::Binary(BinaryOp::And), &[a, b])
}
