//! Arithmetic on the logits of one row.

/// The highest logit; NaN is passed over. In lanes, so that the compiler makes vector code of it.
pub(super) fn max(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = logits.chunks_exact(lanes.len());
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, score);
        }
    }
    lanes.into_iter().fold(rest, larger)
}

/// Turns logits into log-probabilities. Where all are minus infinity, they stay; where one is NaN or infinite, all become NaN.
pub(super) fn log_softmax(logits: &mut [f32]) {
    let best = max(logits);
    if best == f32::NEG_INFINITY && !logits.iter().any(|score| score.is_nan()) {
        return;
    }
    let sum: f64 = logits.iter().map(|score| f64::from((score - best).exp())).sum();
    let ln_sum = sum.ln() as f32;
    for score in logits {
        *score = (*score - best) - ln_sum;
    }
}

/// The k-th best logit, for `1 <= k <= logits.len()`; minus infinity where there are fewer. `best` is scratch space. One pass that
/// collects what beats the threshold found so far.
pub(super) fn kth_best(logits: &[f32], k: usize, best: &mut Vec<f32>) -> f32 {
    let full = 2 * k;
    let mut threshold = f32::NEG_INFINITY;
    best.clear();
    for &score in logits {
        // Not `>`: NaN has to come through. It sorts above everything.
        if score <= threshold {
            continue;
        }
        best.push(score);
        if best.len() >= full {
            threshold = *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
            best.truncate(k);
        }
    }
    if best.len() < k {
        return f32::NEG_INFINITY;
    }
    *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: f32 = f32::NEG_INFINITY;

    #[test]
    fn log_softmax_sums_to_one() {
        let mut logits = [1.0, 2.0, X, 3.0, -50.0];
        log_softmax(&mut logits);
        let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{logits:?}");
        assert!(logits[2] == X && (logits[3] - logits[1] - 1.0).abs() < 1e-6);
        let mut none = [X; 3];
        log_softmax(&mut none);
        assert_eq!(none, [X; 3]);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut logits = [0.0, broken];
            log_softmax(&mut logits);
            assert!(logits.iter().all(|l| l.is_nan()), "{logits:?}");
        }
    }
}
