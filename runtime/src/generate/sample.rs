//! Choosing one token from processed logits.
//!
//! In come the logits `[vocab]` of one row, processed; out goes a token id. Greedy takes the best; sampling draws from the softmax with a
//! counter-based generator: the number that decides token `t` of stream `s` depends on `(seed, s, t)` alone, so that runs repeat and a
//! row's text does not depend on the rows beside it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::hash::{BuildHasher, Hasher};
use thiserror::Error;

/// Why no token can be chosen.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SampleError {
    /// The model computed no number.
    #[error("the logits hold {0}, expected finite numbers: check the weights, or run the model in f32")]
    NotFinite(&'static str),
    /// The processors removed every token.
    #[error("no token is left to choose from: loosen `no_repeat_ngram_size` or the custom logits processors")]
    NothingLeft,
}

/// The token of the highest logit, the first one where several tie.
pub fn argmax(logits: &[f32]) -> Result<u32, SampleError> {
    let mut best = f32::NEG_INFINITY;
    let mut id = None;
    for (i, &score) in logits.iter().enumerate() {
        if score > best {
            (best, id) = (score, Some(i as u32));
        } else if score.is_nan() {
            return Err(SampleError::NotFinite("NaN"));
        }
    }
    id.ok_or(SampleError::NothingLeft)
}

/// Draws a token from the softmax of `logits` by `uniform` in 0..1. Overwrites the logits with scratch values.
pub fn multinomial(logits: &mut [f32], uniform: f64) -> Result<u32, SampleError> {
    let best = logits[argmax(logits)? as usize];
    if best == f32::INFINITY {
        return Err(SampleError::NotFinite("infinity"));
    }
    let mut sum = 0.0f64;
    for weight in logits.iter_mut() {
        *weight = if *weight == f32::NEG_INFINITY { 0.0 } else { (*weight - best).exp() };
        sum += f64::from(*weight);
    }
    let target = uniform * sum;
    let mut cumulative = 0.0;
    let mut last = 0;
    for (id, &weight) in logits.iter().enumerate() {
        if weight > 0.0 {
            cumulative += f64::from(weight);
            last = id as u32;
            if cumulative > target {
                break;
            }
        }
    }
    Ok(last)
}

/// The random numbers of one row.
#[derive(Debug, Clone)]
pub struct RandomStream(ChaCha8Rng);

impl RandomStream {
    /// The stream numbered `stream` under `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream);
        RandomStream(rng)
    }

    /// The number in 0..1 that decides the token at `position`; 53 bits.
    pub fn uniform(&mut self, position: u64) -> f64 {
        // A 64-bit number is two words of the key stream.
        self.0.set_word_pos(2 * u128::from(position));
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A seed for calls that name none, different every time.
pub fn fresh_seed() -> u64 {
    // The hasher's keys are the random numbers that the standard library offers.
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: f32 = f32::NEG_INFINITY;

    #[test]
    fn argmax_takes_the_first_of_the_best() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), Ok(1));
        assert_eq!(argmax(&[X, -7.0, X]), Ok(1));
        assert_eq!(argmax(&[0.0, f32::INFINITY]), Ok(1));
        assert_eq!(argmax(&[-0.0, 0.0]), Ok(0));
    }

    #[test]
    fn what_is_no_distribution_is_an_error() {
        assert_eq!(argmax(&[1.0, f32::NAN]), Err(SampleError::NotFinite("NaN")));
        assert_eq!(argmax(&[X, X]), Err(SampleError::NothingLeft));
        assert_eq!(argmax(&[]), Err(SampleError::NothingLeft));
        assert_eq!(multinomial(&mut [f32::NAN, 1.0], 0.5), Err(SampleError::NotFinite("NaN")));
        assert_eq!(multinomial(&mut [f32::INFINITY, 1.0], 0.5), Err(SampleError::NotFinite("infinity")));
        assert_eq!(multinomial(&mut [X], 0.5), Err(SampleError::NothingLeft));
    }

    #[test]
    fn multinomial_cuts_the_unit_interval_by_probability() {
        let logits = [0.2f32.ln(), X, 0.5f32.ln(), 0.3f32.ln()];
        for (uniform, want) in [(0.0, 0), (0.19, 0), (0.21, 2), (0.69, 2), (0.71, 3), (0.999_999_999, 3)] {
            assert_eq!(multinomial(&mut logits.clone(), uniform), Ok(want), "{uniform}");
        }
        assert_eq!(multinomial(&mut [X, X, 900.0], 0.99), Ok(2));
    }

    #[test]
    fn frequencies_follow_probabilities() {
        let p = [0.05f32, 0.4, 0.25, 0.3];
        let logits: Vec<f32> = p.iter().map(|p| p.ln() + 3.0).collect();
        let mut stream = RandomStream::new(42, 0);
        let n = 20_000u32;
        let mut counts = [0u32; 4];
        for position in 0..n {
            counts[multinomial(&mut logits.clone(), stream.uniform(position.into())).unwrap() as usize] += 1;
        }
        for (count, p) in counts.iter().zip(p) {
            // Four standard deviations.
            let (expected, sd) = (n as f32 * p, (n as f32 * p * (1.0 - p)).sqrt());
            assert!((*count as f32 - expected).abs() < 4.0 * sd, "{counts:?}");
        }
    }

    #[test]
    fn numbers_depend_on_seed_stream_and_position_alone() {
        let mut a = RandomStream::new(7, 1);
        let forward: Vec<f64> = (0..50).map(|i| a.uniform(i)).collect();
        let mut b = RandomStream::new(7, 1);
        let backward: Vec<f64> = (0..50).rev().map(|i| b.uniform(i)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert!(forward.iter().all(|u| (0.0..1.0).contains(u)));
        assert_ne!(forward[0], RandomStream::new(7, 2).uniform(0));
        assert_ne!(forward[0], RandomStream::new(8, 1).uniform(0));
        assert_ne!(fresh_seed(), fresh_seed());
    }
}
