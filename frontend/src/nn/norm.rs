//! Normalisation over the last axis.

use crate::{Module, Param, Tensor};

/// `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// `[features]`.
    pub weight: Param,
    eps: f64,
}

impl RmsNorm {
    /// For vectors of `features` elements.
    pub fn new(features: usize, eps: f64) -> RmsNorm {
        RmsNorm { weight: Param::new([features]), eps }
    }

    /// `[.., features]` to the same.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(&self.weight.beside(x), self.eps)
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`.
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// `[features]`.
    pub weight: Param,
    /// `[features]`.
    pub bias: Param,
    eps: f64,
}

impl LayerNorm {
    /// For vectors of `features` elements.
    pub fn new(features: usize, eps: f64) -> LayerNorm {
        LayerNorm { weight: Param::new([features]), bias: Param::new([features]), eps }
    }

    /// `[.., features]` to the same.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight.beside(x), &self.bias.beside(x), self.eps)
    }
}
