//! Random programs and values for tests: one list of cases that every evaluator (interpreter, compiled code) is run on.
//!
//! [`op_cases`] gives single-op modules for every op, [`module_of`] and [`random_module`] modules of many ops, [`random_sizes`] values for their size symbols, and [`random_args`]
//! arguments for any entry, suited to what consumes them: indices near their range, slots that exist, positive numbers
//! for a logarithm, blocks with sensible scales. `examples` reads the examples that the documents under `specs/` carry.

mod cases;
mod examples;
mod graphs;
mod values;

pub use cases::op_cases;
pub use examples::{Example, ExampleCall, examples};
pub use graphs::{Choice, Printed, module_of, random_module, together};
pub use values::random_args;

use crate::{ArgKind, Function, Module, SizeRange, variants};
use std::sync::Arc;

/// Random numbers: the same for a seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence for that seed.
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// 64 random bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An integer in `0..n`; 0 for `n == 0`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % (n as u64).max(1)) as usize
    }

    /// An integer from `min` to `max`, both included.
    pub fn between(&mut self, min: i64, max: i64) -> i64 {
        min.saturating_add(self.below(max.saturating_sub(min).saturating_add(1).max(1) as usize) as i64)
    }

    /// A number in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * f64::powi(2.0, -53)
    }

    /// A number in `min..max`.
    pub fn uniform(&mut self, min: f64, max: f64) -> f64 {
        min + (max - min) * self.unit()
    }

    /// A number with mean 0 and variance 1, bell-shaped (the sum of twelve uniform ones).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Variants by the rows of a function's first input, where all of its axes are symbols.
fn by_rows_of_first_input(f: &Function) -> Vec<SizeRange> {
    let first = f.args.iter().find(|arg| f.entry && arg.kind == ArgKind::Input);
    let axes = first.map(|arg| &arg.ty.shape[..]).filter(|axes| axes.iter().all(|axis| axis.as_symbol().is_some()));
    axes.filter(|axes| !axes.is_empty()).map(variants::by_rows).unwrap_or_default()
}

/// A value within its bounds for each size symbol.
pub fn random_sizes(module: &Module, seed: u64) -> Vec<(Arc<str>, i64)> {
    let mut random = Random::new(seed);
    module.symbols.iter().map(|(s, b)| (s.clone(), random.between(b.min, b.max))).collect()
}
