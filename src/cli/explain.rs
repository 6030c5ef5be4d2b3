//! `kiln explain`: the laws that lead from each block of a model to what it becomes.

use super::{CompileArgs, blocks, module, outln};
use crate::{Error, Result};
use clap::Args;
use kiln_passes::egraph::{self, Check, Trace};
use kiln_passes::{PassError, rules};
use serde_json::{Value, json};

#[derive(Args)]
pub struct ExplainArgs {
    /// A hub id, a folder, a .gguf file, or a module as text (.kir).
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// The function; all of them by default.
    #[arg(long)]
    block: Option<String>,
    /// Replay each step by numbers: the law's two sides, and what is known so far against the function as it was written.
    #[arg(long)]
    check: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The largest relative error of a step that is fine: that of a block in f32 (`specs/numerics.md`).
const TOLERANCE: f64 = 1e-4;

pub fn run(args: &ExplainArgs) -> Result<()> {
    let module = module(&args.model, &args.options)?;
    let options = args.options.options().passes.rewriting();
    let rules = rules::up_to(options.numerics, &options.without);
    let target = &args.options.target.spec;
    let mut all = vec![];
    let mut wrong = None;
    for f in blocks(&module, args.block.as_deref())? {
        let error = |reason| PassError::Rewrite { function: f.name.to_string(), reason };
        let trace = egraph::explain(&module, f, target, &options, &rules).map_err(error)?;
        let checks = if args.check { egraph::check(&module, f, &trace)? } else { vec![] };
        let bad = |c: &Check| !(c.form_error <= TOLERANCE && c.law_error.is_none_or(|e| e <= TOLERANCE));
        if let Some(i) = checks.iter().position(bad) {
            wrong.get_or_insert(format!(
                "@{}: step {}, `{}`, is off by more than {TOLERANCE:.0e}",
                f.name,
                i + 1,
                trace.steps[i].rule
            ));
        }
        match args.json {
            true => all.push(as_json(&trace, &checks)),
            false => print(&trace, &checks, target.name())?,
        }
    }
    if args.json {
        outln!("{}", json!({ "target": target.name(), "functions": all }))?;
    }
    wrong.map_or(Ok(()), |message| Err(Error::Verify(message)))
}

fn as_json(trace: &Trace, checks: &[Check]) -> Value {
    let mut before = trace.cost_before;
    let mut step = |(i, s): (usize, &egraph::TraceStep)| {
        let mut step = json!({
            "rule": s.rule, "law": s.law, "conditions": s.conditions, "found": s.found, "concluded": s.concluded,
            "cost_before": before, "cost_after": s.cost,
        });
        before = s.cost;
        if let Some(c) = checks.get(i) {
            step["law_error"] = json!(c.law_error);
            step["form_error"] = json!(c.form_error);
        }
        step
    };
    let steps: Vec<Value> = trace.steps.iter().enumerate().map(&mut step).collect();
    json!({
        "function": trace.function, "cost_before": trace.cost_before, "cost_after": trace.cost_after,
        "complete": trace.complete, "steps": steps,
    })
}

fn print(trace: &Trace, checks: &[Check], target: &str) -> Result<()> {
    let us = |seconds: f64| format!("{:.2}", seconds * 1e6);
    outln!(
        "@{}: {} steps, predicted {} µs -> {} µs on {target} (one token, and a prompt of 512)",
        trace.function,
        trace.steps.len(),
        us(trace.cost_before),
        us(trace.cost_after)
    )?;
    let mut before = trace.cost_before;
    for (i, s) in trace.steps.iter().enumerate() {
        outln!("{:>4}  {:<28} {} -> {} µs", i + 1, s.rule, us(before), us(s.cost))?;
        before = s.cost;
        if !s.law.is_empty() {
            outln!("      law    {}", s.law)?;
        }
        if !s.conditions.is_empty() {
            outln!("      if     {}", s.conditions.join(", "))?;
        }
        outln!("      at     {}", s.found)?;
        outln!("      gives  {}", s.concluded)?;
        if let Some(c) = checks.get(i) {
            let law = match c.law_error {
                Some(e) => format!("error {e:.1e}"),
                None if s.law.is_empty() => "in code".into(),
                None => "a notation, not computed".into(),
            };
            outln!("      check  law: {law}; so far: error {:.1e}", c.form_error)?;
        }
    }
    if !trace.complete {
        outln!(
            "      what these steps alone give is not the cheapest form: laws that lead nowhere hid the difference"
        )?;
    }
    outln!("")
}
