//! The tensors of rotary embedding, and what `rope_freqs.weight` means.
//!
//! llama.cpp's converter writes the `llama3` rope scaling of a Hugging Face config not as metadata but as a tensor of
//! `head_dim / 2` divisors of the inverse frequencies. The parameters are found back here: of all that a Llama 3 model uses, the
//! ones that reproduce the tensor. If none does, the file is refused, for dropping the tensor would change the model.

use super::{Gguf, TensorInfo};
use crate::Result;
use crate::config::{RopeConfig, RopeType};
use kiln_core::{DType, Storage};
use serde_json::{Value, json};

const LOW_FREQ_FACTOR: f64 = 1.0;
const HIGH_FREQ_FACTOR: f64 = 4.0;
const TOLERANCE: f32 = 1e-4;

/// The `rope_parameters` that the tensor stands for.
pub(super) fn parameters(gguf: &Gguf, tensor: &TensorInfo, rope_theta: f64) -> Result<Value> {
    let divisors = factors(gguf, tensor)?;
    let half = divisors.len();
    if divisors.iter().all(|&d| d == 1.0) {
        return Ok(json!({ "rope_type": "default", "rope_theta": rope_theta }));
    }
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max));
    let plain = RopeConfig { rope_theta, rope_type: RopeType::Default }.inv_freq(2 * half, None).0;
    for original in (8..=20).map(|power| 1usize << power) {
        let rope_type = RopeType::Llama3 {
            factor,
            low_freq_factor: LOW_FREQ_FACTOR,
            high_freq_factor: HIGH_FREQ_FACTOR,
            original_max_position_embeddings: original,
        };
        let scaled = RopeConfig { rope_theta, rope_type }.inv_freq(2 * half, None).0;
        let same = |((p, s), d): ((&f32, &f32), &f32)| (p / s - d).abs() <= TOLERANCE * d.abs();
        if plain.iter().zip(&scaled).zip(&divisors).all(same) {
            return Ok(json!({
                "rope_type": "llama3",
                "rope_theta": rope_theta,
                "factor": factor,
                "low_freq_factor": LOW_FREQ_FACTOR,
                "high_freq_factor": HIGH_FREQ_FACTOR,
                "original_max_position_embeddings": original,
            }));
        }
    }
    Err(gguf.unsupported(
        "its tensor `rope_freqs.weight` holds divisors of the rotary frequencies that no llama3 rope scaling with \
         low_freq_factor 1 and high_freq_factor 4 gives; use the model's safetensors folder, whose config names the scaling"
            .to_string(),
    ))
}

/// The values of a tensor that belongs to rotary embedding.
pub(super) fn factors(gguf: &Gguf, tensor: &TensorInfo) -> Result<Vec<f32>> {
    if tensor.shape.len() != 1 {
        return Err(
            gguf.corrupt(format!("tensor `{}` has shape {:?}, expected one dimension", tensor.name, tensor.shape))
        );
    }
    if tensor.storage != Some(Storage::Dense(DType::F32)) {
        return Err(
            gguf.unsupported(format!("tensor `{}` is stored as {}, expected f32", tensor.name, tensor.type_name))
        );
    }
    Ok(gguf.stored(tensor).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}
