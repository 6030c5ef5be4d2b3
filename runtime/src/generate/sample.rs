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
    /// The model gave no token a chance.
    #[error(
        "no token is left to choose from: all logits are minus infinity; check the weights, or run the model in f32"
    )]
    NothingLeft,
    /// A processor removed the last tokens.
    #[error(
        "no token is left to choose from: {option} removed the last of them; loosen it, or what removes tokens before it"
    )]
    Removed {
        /// The option that it comes from.
        option: &'static str,
    },
    /// A processor made infinity of finite logits.
    #[error(
        "{option} makes infinity of the logits; give it a value further from zero, or for the best token at every step set `do_sample` to false"
    )]
    Overflow {
        /// The option that it comes from.
        option: &'static str,
    },
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

/// Fills `best` with the `n` items of the highest scores: the best one first, and an earlier one before a later one of equal score.
pub(super) fn best_of<T>(
    items: impl Iterator<Item = T>,
    n: usize,
    best: &mut Vec<T>,
    score: impl Fn(&T) -> f32,
) -> Result<(), SampleError> {
    let keep_best = |best: &mut Vec<T>| {
        best.sort_by(|a, b| score(b).total_cmp(&score(a)));
        best.truncate(n);
        best.last().map_or(f32::NEG_INFINITY, &score)
    };
    let mut threshold = f32::NEG_INFINITY;
    best.clear();
    for item in items {
        let score = score(&item);
        if score <= threshold && best.len() >= n {
            continue;
        }
        if score.is_nan() {
            return Err(SampleError::NotFinite("NaN"));
        }
        best.push(item);
        if best.len() == 2 * n {
            threshold = keep_best(best);
        }
    }
    keep_best(best);
    Ok(())
}

/// Fills `drawn` with `n` items drawn one after the other from the softmax of the scores of those that are left, by `uniforms` in 0..1;
/// with fewer where there are not so many.
pub(super) fn draw_without_replacement<T>(
    items: impl Iterator<Item = T> + Clone,
    n: usize,
    uniforms: &mut impl Iterator<Item = f64>,
    drawn: &mut Vec<T>,
    score: impl Fn(&T) -> f32,
) -> Result<(), SampleError> {
    drawn.clear();
    let mut best = f32::NEG_INFINITY;
    for item in items.clone() {
        let score = score(&item);
        if score.is_nan() {
            return Err(SampleError::NotFinite("NaN"));
        }
        best = best.max(score);
    }
    let weight = |item: T| {
        let weight = f64::from(score(&item) - best).exp();
        (item, weight)
    };
    let mut pool: Vec<(T, f64)> = items.map(weight).filter(|(_, weight)| *weight > 0.0).collect();
    for uniform in uniforms.take(n) {
        let target = uniform * pool.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut cumulative = 0.0;
        let at = pool.iter().position(|(_, weight)| {
            cumulative += weight;
            cumulative > target
        });
        // Rounding may leave the target beyond the last one.
        let Some(at) = at.or(pool.len().checked_sub(1)) else { break };
        drawn.push(pool.swap_remove(at).0);
    }
    Ok(())
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
    fn the_best_come_in_order_and_ties_by_place() {
        let scores = [3.0, X, 5.0, 3.0, 1.0, 5.0, 4.0, 3.0];
        let best = |n: usize| {
            let mut best = vec![9];
            best_of(0..scores.len(), n, &mut best, |i| scores[*i]).unwrap();
            best
        };
        assert_eq!(best(1), [2]);
        assert_eq!(best(4), [2, 5, 6, 0]);
        assert_eq!(best(20), [2, 5, 6, 0, 3, 7, 4, 1]);
        let mut many = vec![];
        best_of(0..10_000, 5, &mut many, |i| ((i * 7919) % 10_007) as f32).unwrap();
        let mut sorted: Vec<usize> = (0..10_000).collect();
        sorted.sort_by_key(|i| std::cmp::Reverse((i * 7919) % 10_007));
        assert_eq!(many, sorted[..5]);
        assert_eq!(best_of(0..3, 2, &mut many, |_| f32::NAN), Err(SampleError::NotFinite("NaN")));
    }

    #[test]
    fn draws_without_replacement_follow_what_is_left() {
        let p = [0.5f32, 0.0, 0.3, 0.2];
        let draw = |uniforms: &[f64], n| {
            let mut drawn = vec![];
            let mut uniforms = uniforms.iter().copied();
            draw_without_replacement(0..4, n, &mut uniforms, &mut drawn, |i: &usize| p[*i].ln()).unwrap();
            drawn
        };
        assert_eq!(draw(&[0.1, 0.1, 0.1, 0.1], 2).len(), 2);
        let mut all = draw(&[0.9, 0.3, 0.5, 0.5], 4);
        assert_eq!(all[0], 3);
        all.sort_unstable();
        assert_eq!(all, [0, 2, 3], "what has no probability is not drawn, and nothing twice");
        // The second draw, over random numbers: given that 0 left, 2 comes with 0.3 / 0.5.
        let mut stream = RandomStream::new(1, 0);
        let n = 20_000u64;
        let mut second = [0u32; 4];
        for i in 0..n {
            second[draw(&[0.25, stream.uniform(i)], 2)[1]] += 1;
        }
        let (expected, sd) = (n as f64 * 0.6, (n as f64 * 0.24).sqrt());
        assert!((f64::from(second[2]) - expected).abs() < 4.0 * sd, "{second:?}");
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
