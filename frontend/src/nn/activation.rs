//! Activations.

use crate::Tensor;

/// The nonlinearity of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Φ(x)`
    Gelu,
    /// The tanh approximation of [`Gelu`](Self::Gelu).
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The activation of each element.
    #[track_caller]
    pub fn forward(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Relu => x.relu(),
            Activation::Tanh => x.tanh(),
        }
    }
}
