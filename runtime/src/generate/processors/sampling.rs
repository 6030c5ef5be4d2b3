//! What sampling leaves out: the processors that only apply where tokens are drawn.
//!
//! Each keeps at least `keep` tokens: one, or with beams as many as it takes to go on without an end token.

use super::super::logits::{kth_best, max};
use super::{History, LogitsProcessor};

/// Tokens that [`TopH`] looks at.
const TOP_H_TOKENS: usize = 100;

/// Divides every logit by the temperature.
#[derive(Debug, Clone)]
pub struct Temperature {
    /// Positive; below 1 sharpens, above 1 flattens.
    pub temperature: f32,
}

impl LogitsProcessor for Temperature {
    fn name(&self) -> &'static str {
        "`temperature`"
    }

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
}

impl LogitsProcessor for TopK {
    fn name(&self) -> &'static str {
        "`top_k`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        if logits.len() <= self.k {
            return;
        }
        remove_below(kth_best(logits, self.k, &mut self.best), logits);
    }
}

/// Keeps the smallest set of best tokens whose probabilities add up to `top_p` or more; never fewer than `keep`.
#[derive(Debug)]
pub struct TopP {
    top_p: f64,
    keep: usize,
    /// (probability, token) of the tokens that are left.
    candidates: Vec<(f32, u32)>,
    best: Vec<f32>,
}

impl TopP {
    /// `top_p` lies in 0..=1; `keep` is at least 1.
    pub fn new(top_p: f64, keep: usize) -> Self {
        TopP { top_p, keep, candidates: Vec::new(), best: Vec::new() }
    }
}

impl LogitsProcessor for TopP {
    fn name(&self) -> &'static str {
        "`top_p`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let floor = floor(logits, self.keep, &mut self.best);
        let Some(sum) = weigh(logits, &mut self.candidates) else { return };
        // Tokens leave from the least probable one on, while their probabilities add up to no more than this.
        let tail = (1.0 - self.top_p) as f32;
        // n tokens of at most tail / n add up to tail at most: they leave together, unsorted.
        let negligible = tail / logits.len() as f32;
        let mut cumulative = 0.0f64;
        self.candidates.retain_mut(|(weight, id)| {
            // Equal bests may each be as small as `negligible`; those that have to stay are sorted out below.
            let may_stay = logits[*id as usize] >= floor;
            *weight /= sum;
            let stays = *weight > negligible || may_stay;
            if !stays {
                cumulative += f64::from(*weight);
                logits[*id as usize] = f32::NEG_INFINITY;
            }
            stays
        });
        self.candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let leaving = self.candidates.len().saturating_sub(self.keep);
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
#[derive(Debug)]
pub struct MinP {
    min_p: f32,
    keep: usize,
    best: Vec<f32>,
}

impl MinP {
    /// `min_p` lies in 0..=1; `keep` is at least 1.
    pub fn new(min_p: f32, keep: usize) -> Self {
        MinP { min_p, keep, best: Vec::new() }
    }
}

impl LogitsProcessor for MinP {
    fn name(&self) -> &'static str {
        "`min_p`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let (best, floor) = (max(logits), floor(logits, self.keep, &mut self.best));
        for score in logits {
            // The softmax's sum divides both sides.
            if *score < floor && (*score - best).exp() < self.min_p {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the best tokens whose terms of the entropy add up to at most `top_h` of it, looking at the hundred best; never fewer than one.
#[derive(Debug)]
pub struct TopH {
    top_h: f64,
    candidates: Vec<(f32, u32)>,
    best: Vec<f32>,
}

impl TopH {
    /// `top_h` lies above 0 and is at most 1.
    pub fn new(top_h: f64) -> Self {
        TopH { top_h, candidates: Vec::new(), best: Vec::new() }
    }
}

impl LogitsProcessor for TopH {
    fn name(&self) -> &'static str {
        "`top_h`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        if logits.len() > TOP_H_TOKENS {
            remove_below(kth_best(logits, TOP_H_TOKENS, &mut self.best), logits);
        }
        let Some(sum) = weigh(logits, &mut self.candidates) else { return };
        self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let entropy = entropy(&self.candidates, sum);
        let mut cumulative = 0.0;
        for (place, &(weight, id)) in self.candidates.iter().enumerate() {
            cumulative += entropy_term(weight / sum);
            if place > 0 && cumulative as f32 > (entropy * self.top_h) as f32 {
                logits[id as usize] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the tokens whose surprise is nearest to the expected one, the entropy, until their probabilities add up to `mass`; never
/// fewer than `keep`.
#[derive(Debug)]
pub struct Typical {
    mass: f64,
    keep: usize,
    candidates: Vec<(f32, u32)>,
}

impl Typical {
    /// `mass` lies above 0 and below 1; `keep` is at least 1.
    pub fn new(mass: f64, keep: usize) -> Self {
        Typical { mass, keep, candidates: Vec::new() }
    }
}

impl LogitsProcessor for Typical {
    fn name(&self) -> &'static str {
        "`typical_p`"
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let Some(sum) = weigh(logits, &mut self.candidates) else { return };
        let (best, ln_sum) = (max(logits), sum.ln());
        let entropy = entropy(&self.candidates, sum) as f32;
        // From probabilities to the distance from the expected surprise.
        for (distance, id) in &mut self.candidates {
            *distance = (ln_sum - (logits[*id as usize] - best) - entropy).abs();
        }
        self.candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut cumulative = 0.0f64;
        let probability = |id: u32| f64::from((logits[id as usize] - best).exp() / sum);
        let enough = self.candidates.iter().position(|&(_, id)| {
            cumulative += probability(id);
            cumulative as f32 >= self.mass as f32
        });
        let Some(last) = enough.map(|at| self.candidates[at].0) else { return };
        for &(distance, id) in self.candidates.iter().skip(self.keep) {
            if distance > last {
                logits[id as usize] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Removes tokens below a probability; never fewer than `keep` stay, and those that tie with the last of them.
#[derive(Debug)]
pub struct Cutoff {
    epsilon: f64,
    /// Whether the bound falls with the entropy.
    eta: bool,
    keep: usize,
    candidates: Vec<(f32, u32)>,
    best: Vec<f32>,
}

impl Cutoff {
    /// Below `epsilon`, in 0..1; `keep` is at least 1.
    pub fn epsilon(epsilon: f64, keep: usize) -> Self {
        Cutoff { epsilon, eta: false, keep, candidates: Vec::new(), best: Vec::new() }
    }

    /// Below the smaller of `epsilon` and `sqrt(epsilon) * exp(-entropy)`.
    pub fn eta(epsilon: f64, keep: usize) -> Self {
        Cutoff { eta: true, ..Self::epsilon(epsilon, keep) }
    }
}

impl LogitsProcessor for Cutoff {
    fn name(&self) -> &'static str {
        if self.eta { "`eta_cutoff`" } else { "`epsilon_cutoff`" }
    }

    fn process(&mut self, _: History<'_>, logits: &mut [f32]) {
        let floor = floor(logits, self.keep, &mut self.best);
        let Some(sum) = weigh(logits, &mut self.candidates) else { return };
        let mut bound = self.epsilon;
        if self.eta {
            bound = bound.min(self.epsilon.sqrt() * (-entropy(&self.candidates, sum)).exp());
        }
        for &(weight, id) in &self.candidates {
            let score = &mut logits[id as usize];
            if weight / sum < bound as f32 && *score < floor {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// The least logit of the `keep` best.
fn floor(logits: &[f32], keep: usize, best: &mut Vec<f32>) -> f32 {
    if keep <= 1 { max(logits) } else { kth_best(logits, keep, best) }
}

fn remove_below(threshold: f32, logits: &mut [f32]) {
    for score in logits {
        if *score < threshold {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// Collects (weight, token) of the tokens that are left, the best of weight 1, and gives the sum of the weights; nothing where the
/// logits are no distribution.
fn weigh(logits: &[f32], candidates: &mut Vec<(f32, u32)>) -> Option<f32> {
    let best = max(logits);
    candidates.clear();
    let mut sum = 0.0f64;
    for (id, &score) in logits.iter().enumerate() {
        if score != f32::NEG_INFINITY {
            let weight = (score - best).exp();
            sum += f64::from(weight);
            candidates.push((weight, id as u32));
        }
    }
    (sum > 0.0 && sum.is_finite()).then_some(sum as f32)
}

/// The entropy of the distribution whose weights these are.
fn entropy(candidates: &[(f32, u32)], sum: f32) -> f64 {
    candidates.iter().map(|(weight, _)| entropy_term(weight / sum)).sum()
}

fn entropy_term(p: f32) -> f64 {
    let p = f64::from(p);
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}
