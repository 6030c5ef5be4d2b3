//! Composites: the named formulas that passes know how to keep whole or to open.

use super::Tensor;
use kiln_ir::{AttentionAttrs, Op, Real};

impl Tensor {
    /// `e^x` over its sum along an axis.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        match self.axis("softmax", axis, self.rank()) {
            Some(axis) => self.then(Op::Softmax { axis }),
            None => Tensor::poisoned(&self.cx),
        }
    }

    /// `log Σ e^x` along an axis, which stays with size 1; no exponential overflows.
    #[track_caller]
    pub fn log_sum_exp(&self, axis: isize) -> Tensor {
        match self.axis("log_sum_exp", axis, self.rank()) {
            Some(axis) => self.then(Op::LogSumExp { axis }),
            None => Tensor::poisoned(&self.cx),
        }
    }

    /// `x / sqrt(mean(x²) + eps) * weight` over the last axis.
    #[track_caller]
    pub fn rms_norm(&self, weight: &Tensor, eps: f64) -> Tensor {
        self.cx.apply(Op::RmsNorm { eps: Real::new(eps) }, &[self, weight])
    }

    /// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis.
    #[track_caller]
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
        self.cx.apply(Op::LayerNorm { eps: Real::new(eps) }, &[self, weight, bias])
    }

    /// Rotary embedding of `[batch, s, heads, dim]` by cos and sin `[batch, s, dim / 2]`: turns the pairs `(x_i, x_{i + dim / 2})`.
    #[track_caller]
    pub fn rope(&self, cos: &Tensor, sin: &Tensor) -> Tensor {
        self.cx.apply(Op::Rope, &[self, &cos.to_dtype(self.dtype()), &sin.to_dtype(self.dtype())])
    }

    /// Attention of queries `[batch, s, heads, dim]` to keys and values `[batch, t, kv_heads, dim]`; `operands` are those that the
    /// attributes ask for, in the order that [`Op::Attention`] gives.
    #[track_caller]
    pub fn attention(&self, key: &Tensor, value: &Tensor, operands: &[&Tensor], attributes: AttentionAttrs) -> Tensor {
        self.cx.apply(Op::Attention(attributes), &[&[self, key, value], operands].concat())
    }

    /// The next version of a cache `[rows, t, ..]`: `new[b, j]` stands at `[slots[b], starts[b] + j]`, as far as that is within `0..t`.
    /// This version cannot be used any more.
    #[track_caller]
    pub fn cache_update(&self, new: &Tensor, slots: &Tensor, starts: &Tensor) -> Tensor {
        self.cx.apply(Op::CacheUpdate, &[self, new, slots, starts])
    }

    /// The next version of a state, or of a parameter that was loaded to be written: the value, which has this one's type. This version
    /// cannot be used any more.
    #[track_caller]
    pub fn write(&self, value: &Tensor) -> Tensor {
        self.cx.apply(Op::Write, &[self, value])
    }
}
