//! What each table of rules is worth to a model: compiled with no rules, with each table left out, and with all.

use super::bench::{self, BenchOptions};
use crate::compile::{CompileOptions, build};
use crate::{LoadOptions, Result};
use kiln_ir::{Module, Op};
use kiln_models::source::ModelFiles;
use kiln_passes::egraph;
use kiln_passes::rules::{TABLES, up_to};
use kiln_runtime::causal_lm::STEP;
use serde::Serialize;

/// A model with some of the rules.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `all`, `none`, `without norm`.
    pub rules: String,
    /// Nodes of the entry that is timed, inlined, without its arguments.
    pub nodes: usize,
    /// Different kernels of the artifact.
    pub kernels: usize,
    /// Of each case: a prompt and a token, or for a model that does not generate one call.
    pub cases: Vec<Case>,
}

/// A call.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// `step, prefill of 512`.
    pub name: String,
    /// Launches.
    pub steps: usize,
    /// Bytes that they read and write.
    pub bytes: i64,
    /// Seconds by the roofline of each step and its launch.
    pub predicted: f64,
    /// Seconds of the fastest round.
    pub measured: f64,
}

/// Compiles the model with each choice of rules, and times it.
///
/// # Errors
/// Whatever compiling and running give.
pub fn ablation(
    files: &ModelFiles,
    module: &Module,
    options: &CompileOptions,
    load: &LoadOptions,
    rounds: usize,
) -> Result<Vec<Row>> {
    let all = options.passes.rewriting();
    let without = |table: &str| egraph::Options { without: vec![table.to_string()], ..all.clone() };
    let mut choices = vec![("none".to_string(), None)];
    choices.extend(TABLES.iter().map(|(table, _)| (format!("without {table}"), Some(without(table)))));
    choices.push(("all".to_string(), Some(all.clone())));
    let entry = if module.find(STEP).is_some() { STEP } else { "forward" };
    let compile = options.as_written();
    let mut rows = vec![];
    let mut models = vec![];
    for (rules, passes) in choices {
        let form = match &passes {
            Some(p) => egraph::optimize_with(module, &options.target, p, &up_to(p.numerics, &p.without))?.0,
            None => module.clone(),
        };
        let nodes = form.find(entry).map_or(0, |(id, _)| {
            let flat = kiln_passes::simplify::simplify(&form.inline(id));
            flat.nodes().filter(|(_, n)| !matches!(n.op, Op::Arg(_))).count()
        });
        let program = build(&form, &compile)?;
        let kernels = program.builds[0].compiled.plan.kernels.len();
        let model = program
            .load(&compile, load, |name, out| files.checkpoint.write_to(name, out).map_err(std::io::Error::other))?;
        let cases = bench::cases(&model, &BenchOptions { signature: Some(entry.into()), ..BenchOptions::default() })?;
        let profiles = bench::profile(&model, &cases, 1, &options.target)?;
        let predicted = profiles.iter().map(|p| Case {
            name: p.case.clone(),
            steps: p.steps.len(),
            bytes: p.steps.iter().map(|s| s.bytes).sum(),
            predicted: p.steps.iter().map(|s| s.roofline_seconds + options.target.rates().launch_seconds).sum(),
            measured: f64::INFINITY,
        });
        rows.push(Row { rules, nodes, kernels, cases: predicted.collect() });
        models.push((model, cases));
    }
    // In turns, so that whatever else the machine does meets all of them.
    for _ in 0..rounds.max(1) {
        for ((model, cases), row) in models.iter().zip(&mut rows) {
            for (case, t) in row.cases.iter_mut().zip(bench::time(model, cases, 1)?) {
                case.measured = case.measured.min(t.min_seconds);
            }
        }
    }
    Ok(rows)
}
