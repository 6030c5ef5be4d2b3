//! What happens to the logits of a row before a token is chosen.
//!
//! In come a row's tokens so far and its logits `[vocab]`; the processors edit the logits in place, in transformers' order:
//! repetition penalty, n-grams, and when sampling temperature, top-k, top-p, min-p. A processor keeps scratch space but no memory of a
//! row, so that one list serves all rows of a batch and a row's result does not depend on its neighbours.
//! A removed token gets the logit minus infinity. NaN passes through untouched: the sampler reports it.

use super::config::GenerationConfig;

/// The tokens of one row, the newest last.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Every token, left padding that came with the prompt included.
    pub ids: &'a [u32],
    /// How many of the first ids are padding.
    pub padding: usize,
}

/// Edits the logits of one row.
pub trait LogitsProcessor: Send {
    /// Edits `logits` (`[vocab]`), which score the token that follows `history`.
    fn process(&mut self, history: History<'_>, logits: &mut [f32]);
}

/// The processors that a config asks for, in transformers' order. Processors of the caller's own belong after `no_repeat_ngram_size` and
/// before `temperature`: `custom` goes there.
pub fn processors(config: &GenerationConfig, custom: Vec<Box<dyn LogitsProcessor>>) -> Vec<Box<dyn LogitsProcessor>> {
    let mut list: Vec<Box<dyn LogitsProcessor>> = Vec::new();
    if config.repetition_penalty() != 1.0 {
        list.push(Box::new(RepetitionPenalty::new(config.repetition_penalty())));
    }
    if config.no_repeat_ngram_size() > 0 {
        list.push(Box::new(NoRepeatNgram { size: config.no_repeat_ngram_size() }));
    }
    list.extend(custom);
    if config.do_sample() {
        if config.temperature() != 1.0 {
            list.push(Box::new(Temperature { temperature: config.temperature() }));
        }
        if config.top_k() > 0 {
            list.push(Box::new(TopK::new(config.top_k())));
        }
        if config.top_p() < 1.0 {
            list.push(Box::new(TopP::new(config.top_p())));
        }
        if let Some(min_p) = config.min_p {
            list.push(Box::new(MinP { min_p }));
        }
    }
    list
}

/// `score < 0 -> score * penalty, else score / penalty`, once for every distinct token of the row, padding left out.
#[derive(Debug)]
pub struct RepetitionPenalty {
    penalty: f32,
    /// One bit per vocabulary entry: already penalised in this call.
    seen: Vec<u64>,
}

impl RepetitionPenalty {
    /// `penalty` is positive; 1 does nothing.
    pub fn new(penalty: f32) -> Self {
        RepetitionPenalty { penalty, seen: Vec::new() }
    }
}

impl LogitsProcessor for RepetitionPenalty {
    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        self.seen.clear();
        self.seen.resize(logits.len().div_ceil(64), 0);
        for &id in history.ids.get(history.padding..).unwrap_or_default() {
            let id = id as usize;
            let Some(score) = logits.get_mut(id) else { continue };
            let (word, bit) = (&mut self.seen[id / 64], 1 << (id % 64));
            if *word & bit == 0 {
                *word |= bit;
                *score = if *score < 0.0 { *score * self.penalty } else { *score / self.penalty };
            }
        }
    }
}

/// Removes every token that would complete an n-gram which the row, padding included, already holds.
#[derive(Debug, Clone)]
pub struct NoRepeatNgram {
    /// The n of n-gram, at least 1.
    pub size: usize,
}

impl LogitsProcessor for NoRepeatNgram {
    fn process(&mut self, history: History<'_>, logits: &mut [f32]) {
        let Some(prefix_len) = self.size.checked_sub(1) else { return };
        let ids = history.ids;
        if ids.len() < self.size {
            return;
        }
        let prefix = &ids[ids.len() - prefix_len..];
        for ngram in ids.windows(self.size) {
            if let Some((&last, start)) = ngram.split_last()
                && start == prefix
                && let Some(score) = logits.get_mut(last as usize)
            {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Divides every logit by the temperature.
#[derive(Debug, Clone)]
pub struct Temperature {
    /// Positive; below 1 sharpens, above 1 flattens.
    pub temperature: f32,
}

impl LogitsProcessor for Temperature {
    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        for score in logits {
            *score /= self.temperature;
        }
    }
}

/// Keeps the `k` best tokens, and those that tie with the last of them.
#[derive(Debug)]
pub struct TopK {
    k: usize,
    best: Vec<f32>,
}

impl TopK {
    /// `k` is at least 1.
    pub fn new(k: usize) -> Self {
        TopK { k: k.max(1), best: Vec::new() }
    }

    /// The k-th best logit; `k <= logits.len()`. One pass that collects what beats the threshold found so far.
    fn threshold(&mut self, logits: &[f32]) -> f32 {
        let k = self.k.min(logits.len());
        let full = 2 * k;
        let mut threshold = f32::NEG_INFINITY;
        self.best.clear();
        for &score in logits {
            // Not `>`: NaN has to come through. It sorts above everything.
            if score <= threshold {
                continue;
            }
            self.best.push(score);
            if self.best.len() >= full {
                threshold = *self.best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
                self.best.truncate(k);
            }
        }
        if self.best.len() < k {
            return f32::NEG_INFINITY;
        }
        *self.best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }
}

impl LogitsProcessor for TopK {
    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        if logits.len() <= self.k {
            return;
        }
        let threshold = self.threshold(logits);
        for score in logits {
            if *score < threshold {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the smallest set of best tokens whose probabilities add up to `top_p` or more; never fewer than one.
#[derive(Debug)]
pub struct TopP {
    top_p: f64,
    /// (probability, token) of the tokens that are left.
    candidates: Vec<(f32, u32)>,
}

impl TopP {
    /// `top_p` lies in 0..=1.
    pub fn new(top_p: f64) -> Self {
        TopP { top_p, candidates: Vec::new() }
    }
}

impl LogitsProcessor for TopP {
    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let best = max(logits);
        self.candidates.clear();
        let mut sum = 0.0f64;
        for (id, &score) in logits.iter().enumerate() {
            if score != f32::NEG_INFINITY {
                let weight = (score - best).exp();
                sum += f64::from(weight);
                self.candidates.push((weight, id as u32));
            }
        }
        if !sum.is_finite() {
            return;
        }
        let sum = sum as f32;
        // Tokens leave from the least probable one on, while their probabilities add up to no more than this.
        let tail = (1.0 - self.top_p) as f32;
        // n tokens of at most tail / n add up to tail at most: they leave together, unsorted.
        let negligible = tail / logits.len() as f32;
        let mut cumulative = 0.0f64;
        self.candidates.retain_mut(|(weight, id)| {
            // Equal bests may each be as small as `negligible`; one of them has to stay.
            let is_best = *weight == 1.0;
            *weight /= sum;
            let stays = *weight > negligible || is_best;
            if !stays {
                cumulative += f64::from(*weight);
                logits[*id as usize] = f32::NEG_INFINITY;
            }
            stays
        });
        self.candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(leaving) = self.candidates.len().checked_sub(1) else { return };
        for &(p, id) in &self.candidates[..leaving] {
            cumulative += f64::from(p);
            if cumulative as f32 > tail {
                break;
            }
            logits[id as usize] = f32::NEG_INFINITY;
        }
    }
}

/// Removes tokens whose probability is below `min_p` times the best token's.
#[derive(Debug, Clone)]
pub struct MinP {
    /// In 0..=1.
    pub min_p: f32,
}

impl LogitsProcessor for MinP {
    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let best = max(logits);
        for score in logits {
            // The softmax's sum divides both sides.
            if *score != f32::NEG_INFINITY && (*score - best).exp() < self.min_p {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// The highest logit; NaN is passed over. In lanes, so that the compiler makes vector code of it.
fn max(logits: &[f32]) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    const X: f32 = f32::NEG_INFINITY;

    fn run(processor: &mut dyn LogitsProcessor, ids: &[u32], padding: usize, logits: &[f32]) -> Vec<f32> {
        let mut logits = logits.to_vec();
        processor.process(History { ids, padding }, &mut logits);
        logits
    }

    /// Logits whose softmax is `p`.
    fn ln(p: &[f32]) -> Vec<f32> {
        p.iter().map(|p| p.ln()).collect()
    }

    fn kept(logits: &[f32]) -> Vec<usize> {
        (0..logits.len()).filter(|&i| logits[i] != X).collect()
    }

    #[test]
    fn repetition_penalty_once_per_token_and_by_sign() {
        let mut p = RepetitionPenalty::new(2.0);
        assert_eq!(run(&mut p, &[0, 1, 0, 0, 3], 0, &[4.0, -4.0, 3.0, 0.0, 1.0]), [2.0, -8.0, 3.0, 0.0, 1.0]);
        // Rewards below 1; -inf stays; another row with the same processor starts afresh.
        let mut p = RepetitionPenalty::new(0.5);
        assert_eq!(run(&mut p, &[0, 1], 0, &[4.0, X, 3.0]), [8.0, X, 3.0]);
        assert_eq!(run(&mut p, &[2], 0, &[4.0, -1.0, 3.0]), [4.0, -1.0, 6.0]);
    }

    #[test]
    fn repetition_penalty_leaves_padding_and_foreign_ids_out() {
        let mut p = RepetitionPenalty::new(2.0);
        assert_eq!(run(&mut p, &[0, 0, 1, 99], 2, &[4.0, 4.0]), [4.0, 2.0]);
        assert_eq!(run(&mut p, &[0], 5, &[4.0, 4.0]), [4.0, 4.0]);
    }

    #[test]
    fn ngrams_ban_what_followed_the_same_beginning() {
        let zeros = [0.0f32; 6];
        // 1 2 3 1 2 -> 3 followed "1 2" before.
        assert_eq!(run(&mut NoRepeatNgram { size: 3 }, &[1, 2, 3, 1, 2], 0, &zeros), [0.0, 0.0, 0.0, X, 0.0, 0.0]);
        // bigrams: 2 was followed by 3 and by 5.
        assert_eq!(kept(&run(&mut NoRepeatNgram { size: 2 }, &[2, 3, 2, 5, 2], 0, &zeros)), [0, 1, 2, 4]);
        // unigrams: every token once.
        assert_eq!(kept(&run(&mut NoRepeatNgram { size: 1 }, &[4, 0], 0, &zeros)), [1, 2, 3, 5]);
        // too short a row; a token beyond the vocabulary.
        assert_eq!(run(&mut NoRepeatNgram { size: 3 }, &[1, 2], 0, &zeros), zeros);
        assert_eq!(run(&mut NoRepeatNgram { size: 2 }, &[1, 77, 1], 0, &zeros), zeros);
        // padding counts here.
        assert_eq!(kept(&run(&mut NoRepeatNgram { size: 2 }, &[1, 2, 1], 2, &zeros)), [0, 1, 3, 4, 5]);
    }

    #[test]
    fn temperature_divides() {
        assert_eq!(run(&mut Temperature { temperature: 0.5 }, &[], 0, &[1.0, -3.0, X]), [2.0, -6.0, X]);
    }

    #[test]
    fn top_k_keeps_k_and_ties() {
        assert_eq!(run(&mut TopK::new(2), &[], 0, &[1.0, 5.0, 3.0, 2.0]), [X, 5.0, 3.0, X]);
        assert_eq!(kept(&run(&mut TopK::new(2), &[], 0, &[3.0, 5.0, 3.0, 2.0])), [0, 1, 2]);
        assert_eq!(run(&mut TopK::new(9), &[], 0, &[1.0, 2.0]), [1.0, 2.0]);
        assert_eq!(run(&mut TopK::new(1), &[], 0, &[2.0, 2.0, 1.0]), [2.0, 2.0, X]);
        assert_eq!(run(&mut TopK::new(2), &[], 0, &[X, 4.0, X]), [X, 4.0, X]);
    }

    #[test]
    fn top_k_agrees_with_a_full_sort() {
        for n in [1usize, 2, 7, 100, 1001] {
            let logits: Vec<f32> = (0..n).map(|i| ((i * 7919 + 13) % 997) as f32 - 300.0).collect();
            for k in [1, 2, 3, 50, 400] {
                let mut sorted = logits.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let least = sorted[k.min(n) - 1];
                let want: Vec<f32> = logits.iter().map(|&l| if l < least { X } else { l }).collect();
                assert_eq!(run(&mut TopK::new(k), &[], 0, &logits), want, "n {n}, k {k}");
            }
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        let dist = ln(&[0.3, 0.1, 0.1, 0.5]);
        for (top_p, want) in [
            (0.0, &[3][..]),
            (0.4, &[3]),
            (0.6, &[0, 3]),
            (0.79, &[0, 3]),
            (0.85, &[0, 2, 3]),
            (0.95, &[0, 1, 2, 3]),
            (1.0, &[0, 1, 2, 3]),
        ] {
            assert_eq!(kept(&run(&mut TopP::new(top_p), &[], 0, &dist)), want, "top_p {top_p}");
        }
        assert_eq!(kept(&run(&mut TopP::new(0.0), &[], 0, &[1.0; 7])).len(), 1);
        // What top-k removed stays removed.
        assert_eq!(kept(&run(&mut TopP::new(0.99), &[], 0, &[0.0, X, 0.0])), [0, 2]);
    }

    #[test]
    fn top_p_drops_the_long_tail_without_sorting_it_and_alike() {
        // 1000 tokens, p_i ~ 0.99^i, in a scrambled order.
        let n = 1000usize;
        let rank = |i: usize| i * 387 % n;
        let logits: Vec<f32> = (0..n).map(|i| rank(i) as f32 * 0.99f32.ln()).collect();
        let total: f64 = (0..n).map(|r| 0.99f64.powi(r as i32)).sum();
        for top_p in [0.2, 0.5, 0.9, 0.999] {
            // The first w best tokens have 1 - 0.99^w of the mass (over the total of the finite series).
            let mass = |w: usize| (1.0 - 0.99f64.powi(w as i32)) / 0.01 / total;
            let want = (0..n).find(|&w| mass(w) >= top_p).unwrap();
            let got = kept(&run(&mut TopP::new(top_p), &[], 0, &logits));
            assert_eq!(got.len(), want, "top_p {top_p}");
            assert!(got.iter().all(|&i| rank(i) < want), "top_p {top_p}");
        }
    }

    #[test]
    fn min_p_is_relative_to_the_best() {
        let dist = ln(&[0.3, 0.1, 0.04, 0.56]);
        assert_eq!(kept(&run(&mut MinP { min_p: 0.1 }, &[], 0, &dist)), [0, 1, 3]);
        assert_eq!(kept(&run(&mut MinP { min_p: 0.5 }, &[], 0, &dist)), [0, 3]);
        assert_eq!(kept(&run(&mut MinP { min_p: 1.0 }, &[], 0, &dist)), [3]);
        assert_eq!(kept(&run(&mut MinP { min_p: 0.0 }, &[], 0, &dist)), [0, 1, 2, 3]);
    }

    #[test]
    fn nan_and_emptiness_pass_through_without_panic() {
        for logits in [&[f32::NAN, 1.0, 2.0][..], &[X, X, X], &[f32::INFINITY, 0.0, 1.0], &[f32::NAN; 3], &[]] {
            for processor in
                [&mut TopK::new(1) as &mut dyn LogitsProcessor, &mut TopP::new(0.5), &mut MinP { min_p: 0.5 }]
            {
                let got = run(processor, &[0, 1], 0, logits);
                assert_eq!(got.iter().any(|l| l.is_nan()), logits.iter().any(|l| l.is_nan()), "{logits:?}");
            }
        }
    }

    #[test]
    fn a_config_lists_processors_in_order() {
        let all = GenerationConfig {
            do_sample: Some(true),
            temperature: Some(0.5),
            top_k: Some(3),
            top_p: Some(0.9),
            min_p: Some(0.1),
            repetition_penalty: Some(2.0),
            no_repeat_ngram_size: Some(1),
            ..Default::default()
        };
        assert_eq!(processors(&all, vec![]).len(), 6);
        assert_eq!(processors(&GenerationConfig { do_sample: Some(false), ..all.clone() }, vec![]).len(), 2);
        assert_eq!(processors(&GenerationConfig::default(), vec![]).len(), 0);
        // Order shows in the numbers: penalty (4 -> 2), ban of id 1, temperature (2 -> 4, 1 -> 2, 0.9 -> 1.8, 0 -> 0), top 3,
        // top-p (softmax of 4, 2, 1.8 is .803 .109 .089: two reach 0.9), min-p (0.0803 < 0.109: both stay).
        let mut logits = [4.0, 9.0, 1.0, 0.9, 0.0];
        let mut list = processors(&all, vec![]);
        // Padding keeps 1 from being penalised, not from being banned; 0 stands in the row but bans itself.
        list[0].process(History { ids: &[1, 0], padding: 1 }, &mut logits);
        assert_eq!(logits, [2.0, 9.0, 1.0, 0.9, 0.0]);
        for processor in &mut list[1..] {
            processor.process(History { ids: &[1], padding: 1 }, &mut logits);
        }
        assert_eq!(logits, [4.0, X, 2.0, X, X]);
    }
}
