//! The interpreter against the examples of `specs/`, the decomposition of composites, algebraic laws, and burn; random modules; what the
//! parser and the verifier say of any input.

mod against_burn;
mod analysis;
mod cases;
mod decomposition;
mod fuzz;
mod graphs;
mod laws;
mod spec;
mod verifier;

use kiln_ir::{
    Op, Type,
    interp::{Sizes, Tensor, eval_op},
};

/// One op on these tensors.
fn apply(op: Op, operands: &[&Tensor]) -> Tensor {
    let types: Vec<Type> = operands.iter().map(|t| t.ty().into()).collect();
    let ty = op.infer(&types.iter().collect::<Vec<_>>()).expect("well typed");
    let operands = operands.iter().map(|t| (*t).clone()).collect();
    eval_op(&op, operands, ty.tensor().expect("a tensor"), &Sizes::new()).expect("evaluates")
}

/// Random numbers in a tensor of that shape.
fn random(shape: &[usize], random: &mut kiln_ir::sample::Random) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_f32(shape, &values).expect("fits")
}
