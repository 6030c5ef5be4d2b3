//! Rotary position embedding.

use super::Positions;
use crate::Tensor;
use kiln_ir::DType;

/// The inverse frequencies of rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum Frequencies {
    /// The same at every length: `dim / 2` numbers.
    Fixed(Vec<f32>),
    /// NTK scaling: within the original context, the given ones; beyond it they follow from a base that grows with the
    /// [length](Positions::lengths) of the sequence, `theta * (factor * length / original - (factor - 1)) ^ (dim / (dim - 2))`.
    ///
    /// The length is that of the call. (transformers keeps the largest length that a model has seen, so that there what was computed
    /// for one text also changes the next one.)
    Dynamic {
        /// The `dim / 2` numbers within the original context.
        original: Vec<f32>,
        /// The base that they come from.
        theta: f64,
        /// How fast the base grows.
        factor: f64,
        /// Length of the original context.
        max_position_embeddings: usize,
    },
    /// LongRoPE: one set of numbers within the original context, another beyond it. The [length](Positions::lengths) of the sequence
    /// decides, for all of a call's tokens.
    LongRope {
        /// The `dim / 2` numbers within the original context.
        short: Vec<f32>,
        /// The `dim / 2` numbers beyond it.
        long: Vec<f32>,
        /// Length of the original context.
        original_max_position_embeddings: usize,
    },
}

/// Cosines and sines of the angles `position * inverse frequency`.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryEmbedding {
    /// The inverse frequencies.
    pub frequencies: Frequencies,
    /// What cosines and sines are multiplied by: 1, except for YaRN and LongRoPE.
    pub attention_scaling: f32,
}

impl RotaryEmbedding {
    /// Positions `[batch, s]` to cos and sin `[batch, s, dim / 2]`, computed in f32.
    #[track_caller]
    pub fn forward(&self, positions: &Positions) -> (Tensor, Tensor) {
        let position_ids = positions.ids();
        let inv_freq = match &self.frequencies {
            Frequencies::Fixed(frequencies) => constant(position_ids, frequencies),
            Frequencies::Dynamic { original, theta, factor, max_position_embeddings } => {
                dynamic(&lengths(positions), original, *theta, *factor, *max_position_embeddings)
            }
            Frequencies::LongRope { short, long, original_max_position_embeddings } => {
                let beyond = lengths(positions).gt(*original_max_position_embeddings as i64);
                beyond.where_cond(&constant(position_ids, long), &constant(position_ids, short))
            }
        };
        let angles = position_ids.to_dtype(DType::F32).unsqueeze(-1) * inv_freq;
        let scaled = |x: Tensor| match self.attention_scaling {
            1.0 => x,
            scale => x * f64::from(scale),
        };
        (scaled(angles.cos()), scaled(angles.sin()))
    }
}

#[track_caller]
fn constant(beside: &Tensor, values: &[f32]) -> Tensor {
    let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    beside.context().constant(DType::F32, &[values.len()], &values)
}

/// The length of each token's sequence, beside the `dim / 2` numbers that follow from it: `[batch or 1, 1, 1]`.
#[track_caller]
fn lengths(positions: &Positions) -> Tensor {
    positions.lengths().unsqueeze(-1)
}

/// The inverse frequencies at the lengths `[batch or 1, 1, 1]`.
#[track_caller]
fn dynamic(lengths: &Tensor, original: &[f32], theta: f64, factor: f64, context: usize) -> Tensor {
    let dim = 2.0 * original.len() as f64;
    let exponents: Vec<f32> = (0..original.len()).map(|i| (2.0 * i as f64 / dim) as f32).collect();
    // Within the original context the stretch is 1 up to rounding; the select below takes care of that, and of the power of a negative number.
    let beyond = lengths.maximum(context as i64).to_dtype(DType::F32);
    let stretch = beyond * factor / context as f64 - (factor - 1.0);
    let base = stretch.pow(dim / (dim - 2.0)) * theta;
    let stretched = 1.0 / base.pow(&constant(lengths, &exponents));
    lengths.gt(context as i64).where_cond(&stretched, &constant(lengths, original))
}
