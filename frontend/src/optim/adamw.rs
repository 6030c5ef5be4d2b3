//! AdamW.

use super::{Optimizer, Step, Trained};
use crate::{DType, Tensor};

/// AdamW (Loshchilov and Hutter, 2019) as `torch.optim.AdamW` computes it; with `decoupled: false` it is Adam, whose decay is part of the
/// gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// How much of the mean of the gradients stays from step to step.
    pub beta1: f64,
    /// The same of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of that mean.
    pub eps: f64,
    /// How fast parameters shrink, as a multiple of the learning rate.
    pub weight_decay: f64,
    /// Whether decay is apart from the gradient.
    pub decoupled: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: true }
    }
}

impl Optimizer for AdamW {
    fn update(&self, step: &Step, parameter: &Tensor, gradient: &Tensor, trained: &Trained) -> Tensor {
        let decay = if trained.decays { self.weight_decay } else { 0.0 };
        let (mut parameter, mut gradient) = (parameter.clone(), gradient.clone());
        if decay != 0.0 && self.decoupled {
            parameter = &parameter - &parameter * (&step.learning_rate * decay);
        } else if decay != 0.0 {
            gradient = &gradient + &parameter * decay;
        }
        let (mean, square) = (step.moment("exp_avg", trained), step.moment("exp_avg_sq", trained));
        let mean = mean.write(&(&mean * self.beta1 + &gradient * (1.0 - self.beta1)));
        let square = square.write(&(&square * self.beta2 + (&gradient * &gradient) * (1.0 - self.beta2)));
        // 1 - beta^t loses most digits in f32.
        let correction = |beta: f64| {
            let power = step.cx.scalar(DType::F64, beta).pow(&step.number);
            step.cx.scalar(DType::F64, 1.0) - power
        };
        let step_size = step.learning_rate.to_dtype(DType::F64) / correction(self.beta1);
        let step_size = step_size.to_dtype(DType::F32);
        let root_correction = correction(self.beta2).sqrt().to_dtype(DType::F32);
        let denominator = square.sqrt() / root_correction + self.eps;
        parameter - step_size * (mean / denominator)
    }
}
