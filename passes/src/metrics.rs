//! What a plan costs at given sizes: nodes, kernels, bytes, and the time that the target's rates predict. For tables and tests.

use crate::{Compiled, PassError};
use kiln_core::{Step, TargetSpec};
use kiln_ir::Op;
use std::collections::BTreeSet;

/// What one call of an entry does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Ops of the entry after rewriting, calls inlined; arguments and constants aren't counted.
    pub nodes: usize,
    /// Steps of the variant that runs at these sizes: one launch of a kernel each.
    pub launches: usize,
    /// Kernels that differ in more than their operands.
    pub kernels: usize,
    /// Steps of `prepare`, which serves all entries.
    pub prepare_launches: usize,
    /// Floating-point operations of the steps.
    pub flops: i64,
    /// Bytes that the steps read and write, each operand of a step once.
    pub bytes: i64,
    /// Seconds by the target's rates ([`step_seconds`]), the steps one after the other.
    pub seconds: f64,
}

/// Measures an entry at sizes, one for each symbol of its inputs and states.
///
/// # Errors
/// [`PassError::NoEntry`] if the plan has no entry of that name; [`PassError::Dim`] for a symbol without a size.
pub fn of_entry(
    compiled: &Compiled,
    entry: &str,
    sizes: &[(&str, i64)],
    target: &TargetSpec,
) -> Result<Metrics, PassError> {
    let plan = &compiled.plan;
    let signature = plan.signature(entry);
    let (Some(signature), Some((id, _))) = (signature, compiled.module.find(entry)) else {
        let known = plan.signatures.iter().map(|s| s.name.clone()).collect();
        return Err(PassError::NoEntry { name: entry.into(), known });
    };
    let lookup = |name: &str| sizes.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let mut metrics = Metrics { prepare_launches: plan.prepare.steps.len(), ..Metrics::default() };
    let inlined = crate::simplify::simplify(&compiled.module.inline(id));
    metrics.nodes = inlined.nodes().filter(|(_, n)| !matches!(n.op, Op::Arg(_) | Op::Constant(_))).count();
    if let Some((_, variant)) = signature.variant(&lookup)? {
        let steps = &variant.schedule.steps;
        metrics.launches = steps.len();
        metrics.kernels = steps.iter().map(|s| s.kernel).collect::<BTreeSet<_>>().len();
        for step in steps {
            metrics.flops += step.flops.eval(&lookup)?;
            metrics.bytes += step.bytes.eval(&lookup)?;
            metrics.seconds += step_seconds(step, &lookup, target)?;
        }
    }
    Ok(metrics)
}

/// Seconds of a step by the target's rates: a launch, and its [roofline](kiln_core::Rates::roofline).
///
/// # Errors
/// [`PassError::Dim`] for a symbol that `lookup` doesn't know.
pub fn step_seconds(step: &Step, lookup: &dyn Fn(&str) -> Option<i64>, target: &TargetSpec) -> Result<f64, PassError> {
    let (flops, bytes) = (step.flops.eval(lookup)? as f64, step.bytes.eval(lookup)? as f64);
    let width = usize::try_from(step.launch.width().eval(lookup)?).unwrap_or(1);
    let rates = target.rates();
    Ok(rates.launch_seconds + rates.roofline(flops, bytes, step.streams(), width.min(rates.cores)))
}
