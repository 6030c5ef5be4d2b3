//! A schedule bound to sizes and addresses.

use super::spans::Spans;
use crate::Result;
use crate::device::{Launch, LaunchShape, Launches, Span};
use crate::memory::unsized_buffer;
use kiln_core::{Buffer, Dim, Plan, Schedule};

/// Evaluates each step of a checked schedule, and holds what its kernels touch against their buffers. `span` says where a buffer is, and
/// `results` which buffers must be filled.
pub(super) fn bind(
    plan: &Plan,
    schedule: &Schedule,
    size: &dyn Fn(&str) -> Option<i64>,
    span: &dyn Fn(Buffer) -> Span,
    results: impl Iterator<Item = Buffer>,
) -> Result<Launches> {
    let mut launches = Launches::default();
    let mut checked = Spans::new(plan, schedule);
    for step in &schedule.steps {
        let eval = |what: &str, dim: &Dim| {
            dim.eval(size).map_err(|e| unsized_buffer(&format!("step `{}`, {what} {dim}", step.label), &e))
        };
        let (operands, args) = (launches.operands.len(), launches.args.len());
        for arg in &step.args {
            launches.args.push(eval("argument", arg)?);
        }
        launches.operands.extend(step.operands.iter().map(|b| span(*b)));
        let pieces = eval("its launch over", step.launch.width())?;
        checked.step(step, &launches.args[args..], pieces, &launches.operands[operands..])?;
        let shape = match &step.launch {
            kiln_core::Launch::Chunks(_) => LaunchShape::Chunks(pieces as u32),
            kiln_core::Launch::Grid { threads, .. } => LaunchShape::Grid { blocks: pieces as u32, threads: *threads },
        };
        let (operands, args) = (launches.operands.len() - operands, launches.args.len() - args);
        launches.steps.push(Launch { kernel: step.kernel as usize, shape, operands, args });
    }
    checked.finish(results.map(|buffer| (buffer, span(buffer).bytes)))?;
    Ok(launches)
}
