//! Stochastic gradient descent.

use super::{Optimizer, Step, Trained};
use crate::Tensor;

/// `torch.optim.SGD`, with momentum (dampening 0) and without Nesterov's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sgd {
    /// How much of the last step stays; none for 0.
    pub momentum: f64,
    /// How fast parameters shrink: a multiple of the parameter is part of its gradient.
    pub weight_decay: f64,
}

impl Optimizer for Sgd {
    fn update(&self, step: &Step, parameter: &Tensor, gradient: &Tensor, trained: &Trained) -> Tensor {
        let mut gradient = gradient.clone();
        if trained.decays && self.weight_decay != 0.0 {
            gradient = gradient + parameter * self.weight_decay;
        }
        if self.momentum != 0.0 {
            let buffer = step.moment("momentum_buffer", trained);
            gradient = buffer.write(&(&buffer * self.momentum + gradient));
        }
        parameter - gradient * &step.learning_rate
    }
}
