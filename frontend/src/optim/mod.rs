//! Optimizers: how parameters change by their gradients.
//!
//! [`apply`] traces an entry that takes the sum of the gradients in states, clips it, updates the parameters, and makes the sum
//! zero again. The moments that an optimizer keeps are states, too: zero in the beginning.

mod adamw;
mod sgd;

pub use adamw::AdamW;
pub use sgd::Sgd;

use crate::{Context, DType, Dim, LoadOptions, Module, Param, Path, Tensor};
use kiln_ir::Storage;

/// A parameter that is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it decays: transformers spares the biases and the parameters of norms ([`decays`]).
    pub decays: bool,
}

/// The state that holds the sum of a parameter's gradients.
pub fn gradient_state(parameter: &str) -> String {
    format!("gradient_sum.{parameter}")
}

/// The state that counts the steps.
pub const STEPS: &str = "steps";

/// Whether transformers' `Trainer` lets a parameter decay, by its name: not if it is a bias or belongs to a norm.
pub fn decays(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_norm = |part: &str| part == "norm" || part.ends_with("_norm") || part == "ln_f" || (part.starts_with("ln_"));
    !(name.contains("bias") || name.contains("layernorm") || name.contains("rmsnorm") || name.split('.').any(is_norm))
}

/// An optimizer's formula.
pub trait Optimizer {
    /// The next value of a parameter, f32. Its moments are states, made with [`Step::moment`].
    fn update(&self, step: &Step, parameter: &Tensor, gradient: &Tensor, trained: &Trained) -> Tensor;
}

/// What an update knows of the step that it is part of.
pub struct Step<'a> {
    /// Where it is traced.
    pub cx: &'a Context,
    /// f32, a scalar.
    pub learning_rate: Tensor,
    /// f64, a scalar: 1 in the first step.
    pub number: Tensor,
}

impl Step<'_> {
    /// A state of the parameter's shape, zero in the beginning; `kind` is PyTorch's name of it, such as `exp_avg`.
    pub fn moment(&self, kind: &str, trained: &Trained) -> Tensor {
        self.cx.state(&format!("{kind}.{}", trained.name), DType::F32, dims(&trained.shape))
    }
}

fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|n| Dim::from(*n)).collect()
}

/// The parameters as a module, each under its whole name.
struct Parameters(Vec<(String, Param)>);

impl Module for Parameters {
    fn visit_params<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.0.iter().for_each(|(name, param)| path.field(name, |path| visit(path.as_str(), param)));
    }

    fn visit_params_mut(&mut self, path: &mut Path, visit: &mut dyn FnMut(&str, &mut Param)) {
        self.0.iter_mut().for_each(|(name, param)| path.field(name, |path| visit(path.as_str(), param)));
    }
}

/// Parameters that are known by what is said of them.
struct Known<'a>(&'a [Trained]);

impl crate::ParamSource for Known<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let found = self.0.iter().find(|t| t.name == name)?;
        Some((DType::F32.into(), found.shape.clone()))
    }
}

/// Traces the entry `apply`: one step of an optimizer over all parameters.
///
/// Inputs, f32 scalars: `learning_rate`; `gradient_scale`, a factor of every gradient (one over the number of batches that were summed; 1
/// if left out); `max_grad_norm`, the norm to which the gradient is clipped as PyTorch's `clip_grad_norm_` does it (0 for none, if left
/// out). Outputs, f32: `grad_norm`, the norm of the whole gradient before clipping, and `grad_norms` `[parameters]`, those of its parts in
/// the order of `trained`.
///
/// # Errors
/// None for a sound optimizer.
pub fn apply(optimizer: &dyn Optimizer, trained: &[Trained]) -> Result<kiln_ir::Module, crate::Error> {
    crate::trace(|cx| {
        let params = trained.iter().map(|t| (t.name.clone(), Param::new(t.shape.clone()))).collect();
        let mut params = Parameters(params);
        cx.load(&mut params, &Known(trained), LoadOptions { dtype: DType::F32, live: true });
        cx.entry("apply", |cx| define(cx, optimizer, trained, &params));
    })
}

fn define(cx: &Context, optimizer: &dyn Optimizer, trained: &[Trained], params: &Parameters) {
    use kiln_ir::DefaultFill::{Ones, Zeros};
    let scalar: [Dim; 0] = [];
    let learning_rate = cx.input("learning_rate", DType::F32, scalar.clone());
    let scale = cx.input_or("gradient_scale", DType::F32, scalar.clone(), Ones);
    let max_norm = cx.input_or("max_grad_norm", DType::F32, scalar.clone(), Zeros);
    let steps = cx.state(STEPS, DType::I64, scalar);
    let steps = steps.write(&(&steps + 1));

    let sums: Vec<Tensor> =
        trained.iter().map(|t| cx.state(&gradient_state(&t.name), DType::F32, dims(&t.shape))).collect();
    let gradients: Vec<Tensor> = sums.iter().map(|sum| sum * &scale).collect();
    let squares: Vec<Tensor> = gradients.iter().map(|g| (g * g).flatten(0, -1).sum(0).unsqueeze(0)).collect();
    let Some((first, rest)) = squares.split_first() else { return };
    let squares = first.cat(&rest.iter().collect::<Vec<_>>(), 0);
    cx.output("grad_norms", &squares.sqrt());
    let norm = squares.sum(0).sqrt();
    cx.output("grad_norm", &norm);
    // As PyTorch clips: by max_norm / (norm + 1e-6), but never up. Without a limit the factor is 1.
    let factor = (&max_norm / (&norm + 1e-6)).minimum(1.0);
    let factor = max_norm.gt(0.0).where_cond(&factor, 1.0);

    let step = Step { cx, learning_rate, number: steps.to_dtype(DType::F64) };
    for ((trained, (_, param)), (gradient, sum)) in trained.iter().zip(&params.0).zip(gradients.iter().zip(&sums)) {
        let value = param.beside(gradient);
        let next = optimizer.update(&step, &value, &(gradient * &factor), trained);
        value.write(&next);
        sum.write(&cx.scalar(DType::F32, 0.0).broadcast_to(dims(&trained.shape)));
    }
}

#[cfg(test)]
mod tests {
    use super::decays;

    #[test]
    fn biases_and_norms_do_not_decay() {
        for name in [
            "bert.encoder.layer.0.attention.output.LayerNorm.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "model.norm.weight",
            "transformer.h.0.ln_1.weight",
            "transformer.ln_f.weight",
            "classifier.bias",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ] {
            assert!(!decays(name), "{name}");
        }
        for name in
            ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "normaliser.weight", "lm_head.weight"]
        {
            assert!(decays(name), "{name}");
        }
    }
}
