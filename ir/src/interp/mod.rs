//! The interpreter: the plain meaning of every op, and the oracle of everything else.
//!
//! [`run`] evaluates an entry node by node. Each op computes on exact numbers (floats in f64, integers in i64) and rounds once to
//! its element type, so that an f32 sum of any length, an `exp` or an attention is the correctly rounded one as far as f64 carries;
//! sums, differences, products, quotients and square roots of f32, f16 and bf16 are exactly IEEE's. Composites are evaluated by
//! their meaning, not through [`crate::compose`].
//!
//! A value is freed after its last use. Arguments share their bytes with the caller, so weights are not copied.

mod attention;
mod composite;
mod conv;
mod dot;
mod elementwise;
mod movement;
mod reduce;
mod result;
mod sizes;
mod tensor;
#[cfg(test)]
mod tests;

pub use sizes::Sizes;
pub use tensor::{SharedBytes, Tensor, relative_error};

use crate::{FuncId, Function, IrError, Module, NodeId, Op, TensorType, verify};
use result::Result;

/// Evaluates a function on its arguments, in the order of [`Function::args`], and gives its results in the order of
/// [`Function::outputs`]. Size symbols take the values in `sizes`, or those that follow from the arguments' shapes.
///
/// # Errors
/// [`IrError::Verify`] for a module that the verifier rejects. [`IrError::Eval`]: no such function, arguments that do not fit, a symbol out of bounds or without a value, or a size or slice
/// that has no meaning for these symbols.
pub fn run(
    module: &Module,
    entry: &str,
    args: &[Tensor],
    sizes: &[(&str, i64)],
) -> std::result::Result<Vec<Tensor>, IrError> {
    run_observed(module, entry, args, sizes, &mut |_, _, _| {})
}

/// As [`run`], showing each tensor to `observe` as it is computed, those of called functions too.
///
/// # Errors
/// As [`run`].
pub fn run_observed(
    module: &Module,
    entry: &str,
    args: &[Tensor],
    sizes: &[(&str, i64)],
    observe: &mut dyn FnMut(&Function, NodeId, &Tensor),
) -> std::result::Result<Vec<Tensor>, IrError> {
    let error = |reason| IrError::Eval { function: entry.into(), reason };
    verify(module)?;
    let (id, f) = module.find(entry).ok_or_else(|| error("there is no such function".into()))?;
    let sizes = sizes::infer(module, f, args, sizes).map_err(error)?;
    Interpreter { module, sizes: &sizes, observe }.function(id, args.to_vec())
}

/// The size symbols' values that follow from the arguments' shapes and those given.
///
/// # Errors
/// [`IrError::Eval`] as [`run`] gives it for arguments that do not fit.
pub fn infer_sizes(
    module: &Module,
    entry: &str,
    args: &[Tensor],
    given: &[(&str, i64)],
) -> std::result::Result<Sizes, IrError> {
    let error = |reason| IrError::Eval { function: entry.into(), reason };
    let (_, f) = module.find(entry).ok_or_else(|| error("there is no such function".into()))?;
    sizes::infer(module, f, args, given).map_err(error)
}

/// Evaluates one op, such as a constant expression. `ty` is the result's type.
///
/// # Errors
/// [`IrError::Eval`] with the op's name: operands that do not fit, or an op that is evaluated in a function only
/// (`arg`, `call`, `get`).
pub fn eval_op(op: &Op, operands: Vec<Tensor>, ty: &TensorType, sizes: &Sizes) -> std::result::Result<Tensor, IrError> {
    let error = |reason| IrError::Eval { function: op.name().into(), reason };
    let types: Vec<crate::Type> = operands.iter().map(|t| t.ty().into()).collect();
    // A reshape's or broadcast's attributes may name symbols where the operand's type has their values.
    if !matches!(op, Op::Reshape(_) | Op::Broadcast(_)) {
        let inferred = op.infer(&types.iter().collect::<Vec<_>>()).map_err(|e| error(e.to_string()))?;
        let shape = |t: &TensorType| sizes::shape(&t.shape, sizes).map_err(error);
        match inferred.tensor() {
            Some(t) if t.storage == ty.storage && shape(t)? == shape(ty)? => {}
            _ => return Err(error(format!("gives {inferred}, not {ty}"))),
        }
    }
    evaluate(op, operands, ty, sizes).map_err(error)
}

enum Value {
    Tensor(Tensor),
    Tuple(Vec<Tensor>),
}

struct Interpreter<'a> {
    module: &'a Module,
    sizes: &'a Sizes,
    observe: &'a mut dyn FnMut(&Function, NodeId, &Tensor),
}

impl Interpreter<'_> {
    fn function(&mut self, id: FuncId, args: Vec<Tensor>) -> std::result::Result<Vec<Tensor>, IrError> {
        let f = self.module.function(id);
        let mut uses_left = vec![0usize; f.len()];
        f.nodes().flat_map(|(_, n)| &n.operands).for_each(|o| uses_left[o.index()] += 1);
        f.outputs.iter().for_each(|o| uses_left[o.value.index()] += 1);
        let mut values: Vec<Option<Value>> = Vec::with_capacity(f.len());
        let mut args: Vec<Option<Tensor>> = args.into_iter().map(Some).collect();
        for (id, node) in f.nodes() {
            let error = |reason: String| {
                let line = node.source.map(|s| format!(" at {s}")).unwrap_or_default();
                IrError::Eval { function: f.name.to_string(), reason: format!("{id} ({}){line}: {reason}", node.op) }
            };
            let value = match &node.op {
                Op::Arg(i) => args
                    .get_mut(*i as usize)
                    .and_then(Option::take)
                    .map(Value::Tensor)
                    .ok_or_else(|| error("there is no such argument".into()))?,
                Op::Get(i) => {
                    let call = node.operands.first().copied().ok_or_else(|| error("expected a call".into()))?;
                    uses_left[call.index()] -= 1;
                    match &values[call.index()] {
                        Some(Value::Tuple(ts)) if (*i as usize) < ts.len() => Value::Tensor(ts[*i as usize].clone()),
                        _ => return Err(error("the call has no such result".into())),
                    }
                }
                op => {
                    let operands: Result<Vec<Tensor>> =
                        node.operands.iter().map(|o| take(&mut values, &mut uses_left, *o)).collect();
                    let operands = operands.map_err(error)?;
                    match op {
                        Op::Call(callee) => Value::Tuple(self.function(*callee, operands)?),
                        op => {
                            let ty = node.ty.tensor().ok_or_else(|| error("its type is not a tensor".into()))?;
                            Value::Tensor(evaluate(op, operands, ty, self.sizes).map_err(error)?)
                        }
                    }
                }
            };
            if let Value::Tensor(t) = &value {
                (self.observe)(f, id, t);
            }
            values.push((uses_left[id.index()] > 0).then_some(value));
            if let (Op::Get(_), Some(call)) = (&node.op, node.operands.first())
                && uses_left[call.index()] == 0
            {
                values[call.index()] = None;
            }
        }
        f.outputs
            .iter()
            .map(|o| {
                take(&mut values, &mut uses_left, o.value)
                    .map_err(|reason| IrError::Eval { function: f.name.to_string(), reason })
            })
            .collect()
    }
}

/// The value of a node, moved out at its last use.
fn take(values: &mut [Option<Value>], uses_left: &mut [usize], id: NodeId) -> Result<Tensor> {
    let missing = || format!("{id} is not a tensor that comes before its user");
    let slot = values.get_mut(id.index()).ok_or_else(missing)?;
    uses_left[id.index()] -= 1;
    match slot {
        Some(Value::Tensor(t)) if uses_left[id.index()] > 0 => Ok(t.clone()),
        Some(Value::Tensor(_)) => match slot.take() {
            Some(Value::Tensor(t)) => Ok(t),
            _ => Err(missing()),
        },
        _ => Err(missing()),
    }
}

/// One op on operands that its typing rule accepts.
fn evaluate(op: &Op, mut operands: Vec<Tensor>, ty: &TensorType, sizes: &Sizes) -> Result<Tensor> {
    let shape = sizes::shape(&ty.shape, sizes)?;
    match op {
        Op::Arg(_) | Op::Call(_) | Op::Get(_) => Err("is evaluated in a function only".into()),
        Op::Constant(l) => Ok(l.into()),
        Op::Iota { axis, .. } => movement::iota(&shape, *axis),
        Op::DimSize(d) => Ok(Tensor::from_i64([], &[sizes::value(d, sizes)?])?),
        Op::Unary(u) => elementwise::unary(*u, &operands[0]),
        Op::Binary(b) => elementwise::binary(*b, &operands[0], &operands[1]),
        Op::Compare(c) => elementwise::compare(*c, &operands[0], &operands[1]),
        Op::Select => elementwise::select(&operands[0], &operands[1], &operands[2]),
        Op::Cast(d) => elementwise::cast(*d, &operands[0]),
        Op::Dequantize(d) => Ok(Tensor::from_f64(*d, shape, &operands[0].to_f64_vec())?),
        Op::Reshape(_) => Ok(operands[0].reshaped(shape)?),
        Op::Transpose(perm) => movement::transpose(&operands[0], perm),
        Op::Broadcast(_) => movement::broadcast(&operands[0], &shape),
        Op::Slice { axis, start, len } => {
            movement::slice(&operands[0], *axis, sizes::size(start, sizes)?, sizes::size(len, sizes)?)
        }
        Op::Concat { axis } => movement::concat(&operands, *axis),
        Op::Pad { axis, low, high, value } => {
            movement::pad(&operands[0], *axis, sizes::size(low, sizes)?, sizes::size(high, sizes)?, value.get())
        }
        Op::Reduce { op, axis, .. } => reduce::reduce(*op, &operands[0], *axis, &shape),
        Op::Take { axis } => movement::take(&operands[0], &operands[1], *axis, &shape),
        Op::Gather { axis } => movement::gather(&operands[0], &operands[1], *axis),
        Op::ScatterAdd { axis } => movement::scatter_add(&operands[0], &operands[1], &operands[2], *axis),
        Op::Cumulative { op, axis, reverse } => reduce::cumulative(*op, &operands[0], *axis, *reverse),
        Op::TopK { axis, .. } => reduce::top_k(&operands[0], *axis, &shape),
        Op::DotGeneral(d) => dot::dot_general(d, &operands[0], &operands[1], &shape),
        Op::CacheUpdate => {
            let (new, slots, starts) = (operands[1].clone(), operands[2].ints(), operands[3].ints());
            attention::cache_update(operands.swap_remove(0), &new, &slots, &starts)
        }
        Op::Conv(a) => conv::conv(a, &operands[0], &operands[1], &shape),
        Op::Write => Ok(operands.swap_remove(1)),
        Op::RmsNorm { eps } => composite::rms_norm(&operands[0], &operands[1], eps.get()),
        Op::LayerNorm { eps } => composite::layer_norm(&operands[0], &operands[1], &operands[2], eps.get()),
        Op::Softmax { axis } => composite::softmax(&operands[0], *axis),
        Op::LogSumExp { axis } => composite::log_sum_exp(&operands[0], *axis, &shape),
        Op::Sigmoid => composite::map(&operands[0], composite::sigmoid),
        Op::Silu => composite::map(&operands[0], |x| x * composite::sigmoid(x)),
        Op::Gelu { tanh } => composite::gelu(&operands[0], *tanh),
        Op::Rope => composite::rope(&operands[0], &operands[1], &operands[2]),
        Op::Attention(a) => attention::attention(a, &operands, &shape),
    }
}
