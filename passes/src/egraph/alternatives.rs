//! Other choices between the terms that the laws found: what the cost model is held against the clock with.

use super::convert::Writer;
use super::rule::Rule;
use super::{Options, Saturated};
use crate::PassError;
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module};

/// Forms of a function of the module that extraction gives when each term's cost is off by a factor of up to eight, another one for each
/// form; the same each time.
///
/// # Errors
/// As [`Saturated::new`].
pub fn alternatives(
    module: &Module,
    f: &Function,
    target: &TargetSpec,
    options: &Options,
    rules: &[Rule],
    count: u64,
) -> Result<Vec<Function>, PassError> {
    let error = |reason| PassError::Rewrite { function: f.name.to_string(), reason };
    let saturated = Saturated::new(module, f, options, rules).map_err(error)?;
    let problem = saturated.problem(module, f, target, options);
    let mut out = vec![];
    for seed in 1..=count {
        let mut state = seed;
        let mut other = problem.clone();
        for candidate in other.candidates.iter_mut().flatten() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let between = (state >> 40) as f64 / (1u64 << 24) as f64;
            candidate.cost *= 8f64.powf(2.0 * between - 1.0);
        }
        let Some((_, choice)) = other.greedy() else { continue };
        let (graph, classes) = (&saturated.loaded.graph, &saturated.loaded.classes);
        out.push(Writer::write(module, f, graph, classes, &problem, &choice).map_err(error)?);
    }
    Ok(out)
}
