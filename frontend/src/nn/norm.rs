//! Normalisation over the last axis.

use crate::{Module, Param, Tensor};

/// `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// `[features]`.
    pub weight: Param,
    eps: f64,
    one_plus: bool,
}

impl RmsNorm {
    /// For vectors of `features` elements.
    pub fn new(features: usize, eps: f64) -> RmsNorm {
        RmsNorm { weight: Param::new([features]), eps, one_plus: false }
    }

    /// As Gemma has it: times `1 + weight`.
    pub fn one_plus(features: usize, eps: f64) -> RmsNorm {
        RmsNorm { one_plus: true, ..RmsNorm::new(features, eps) }
    }

    /// `[.., features]` to the same.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.beside(x);
        x.rms_norm(&if self.one_plus { weight + 1.0 } else { weight }, self.eps)
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// `[features]`.
    pub weight: Param,
    /// `[features]`.
    pub bias: Option<Param>,
    eps: f64,
}

impl LayerNorm {
    /// For vectors of `features` elements.
    pub fn new(features: usize, eps: f64) -> LayerNorm {
        LayerNorm { weight: Param::new([features]), bias: Some(Param::new([features])), eps }
    }

    /// As [`new`](Self::new), without a bias.
    pub fn without_bias(features: usize, eps: f64) -> LayerNorm {
        LayerNorm { bias: None, ..Self::new(features, eps) }
    }

    /// `[.., features]` to the same.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.beside(x);
        let bias = match &self.bias {
            Some(bias) => bias.beside(x),
            None => x.context().scalar(weight.dtype(), 0.0).broadcast_to(weight.shape()),
        };
        x.layer_norm(&weight, &bias, self.eps)
    }
}
