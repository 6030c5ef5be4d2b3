//! Scores of logits.

/// `exp(x) / sum(exp(x))`.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f32> = logits.iter().map(|x| (x - max).exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.into_iter().map(|x| x / sum).collect()
}

/// `1 / (1 + exp(-x))` of each.
pub(super) fn sigmoid(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

/// The places of all scores, best first; equal ones in their order.
pub(super) fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    places
}

/// The place of the best score, the first of equal ones; `None` where there is none.
pub(super) fn best(scores: &[f32]) -> Option<usize> {
    let mut places = 0..scores.len();
    let first = places.next()?;
    Some(places.fold(first, |best, i| if scores[i] > scores[best] { i } else { best }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_probabilities() {
        // exp(0) : exp(ln 3) = 1 : 3
        let scores = softmax(&[0.0, 3f32.ln()]);
        assert!((scores[0] - 0.25).abs() < 1e-6 && (scores[1] - 0.75).abs() < 1e-6, "{scores:?}");
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5], "nothing overflows");
        assert_eq!(softmax(&[]), [0f32; 0]);
        // 1 / (1 + exp(-ln 3)) = 3 / 4
        let scores = sigmoid(&[0.0, 3f32.ln()]);
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[1] - 0.75).abs() < 1e-6, "{scores:?}");
    }

    #[test]
    fn the_best_comes_first() {
        assert_eq!(ranking(&[0.1, 0.7, 0.2, 0.7]), [1, 3, 2, 0]);
        assert_eq!(best(&[0.1, 0.7, 0.2, 0.7]), Some(1));
        assert_eq!(best(&[]), None);
    }
}
