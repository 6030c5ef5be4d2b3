//! A model's program for training: what it computes, the way back, and an optimizer's step.

use crate::Result;
use kiln_core::{BinaryOp, DType};
use kiln_frontend::optim::{self, Optimizer, Trained, gradient_state};
use kiln_ir::{Arg, ArgKind, Function, Module, Op};
use kiln_passes::autodiff::{Autodiff, autodiff, gradient_name};

/// The entry that adds the gradients of a batch's loss to their sums. Its inputs are those of the model's entry `loss`, its output is
/// `loss`, an f32 scalar.
pub const GRAD_ACCUMULATE: &str = "grad_accumulate";

/// The entry that updates the parameters by the sums of their gradients ([`optim::apply`]).
pub const APPLY: &str = "apply";

/// A module that trains, and what it trains.
#[derive(Clone, Debug)]
pub struct TrainingProgram {
    /// Entries `forward`, [`GRAD_ACCUMULATE`] and [`APPLY`], over the same parameters, which are states.
    pub module: Module,
    /// The parameters that the loss depends on. Others stay as they are, as PyTorch leaves those that have no gradient.
    pub trained: Vec<Trained>,
}

/// The program of a model that was traced for training, with an optimizer; `decays` says of each parameter whether it decays.
///
/// # Errors
/// An op on the way from the loss to a parameter that has no gradient.
pub fn training_program(
    model: &Module,
    optimizer: &dyn Optimizer,
    decays: impl Fn(&str) -> bool,
) -> Result<TrainingProgram> {
    let mut module = autodiff(model, &Autodiff::default())?;
    let entry = module.functions.iter_mut().find(|f| f.entry && &*f.name == "loss");
    let entry = entry.ok_or_else(|| crate::Error::Option("the model has no entry `loss` to train by".into()))?;
    let trained = accumulate(entry, decays)?;
    module.append(optim::apply(optimizer, &trained).map_err(kiln_models::Error::Trace)?);
    Ok(TrainingProgram { module, trained })
}

/// Makes an entry that returns gradients one that adds them to states.
fn accumulate(f: &mut Function, decays: impl Fn(&str) -> bool) -> Result<Vec<Trained>> {
    f.name = GRAD_ACCUMULATE.into();
    let mut trained = vec![];
    for i in 0..f.args.len() {
        let (name, ty) = (f.args[i].name.clone(), f.args[i].ty.clone());
        let Some(output) = f.outputs.iter().position(|o| *o.name == *gradient_name(&name)) else { continue };
        let mut gradient = f.outputs.remove(output).value;
        let ty = kiln_ir::TensorType::new(DType::F32, ty.shape);
        if *f.tensor(gradient) != ty {
            gradient = f.add(Op::Cast(DType::F32), &[gradient])?;
        }
        let state = gradient_state(&name);
        let number = f.args.len() as u32;
        let arg = Arg { name: state.clone().into(), ty: ty.clone(), kind: ArgKind::State, default: None, range: None };
        let sum = f.add_arg(arg);
        let next = f.add(Op::Binary(BinaryOp::Add), &[sum, gradient])?;
        let next = f.add(Op::Write, &[sum, next])?;
        f.add_output(state, next, Some(number));
        let shape = ty.shape.iter().map(|d| d.as_const().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)).collect();
        trained.push(Trained { name: name.to_string(), shape, decays: decays(&name) });
    }
    Ok(trained)
}
