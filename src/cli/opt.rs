//! `kiln opt`: passes on a module in the text format.

use super::{note, out, outln};
use crate::{Error, Result, TargetSpec};
use clap::Args;
use kiln_passes::{Pipeline, pipeline::PassReport};
use serde_json::{Value, json};
use std::{io::Read, path::PathBuf};

#[derive(Args)]
pub struct OptArgs {
    /// A module in the text format, a .kir file; `-` for stdin.
    file: PathBuf,
    /// The passes in order, separated by commas.
    #[arg(long, default_value = "egraph", long_help = passes_help())]
    passes: String,
    /// The machine that costs are taken for: `cpu`, or `cpu:NAME`.
    #[arg(long, default_value = "cpu", value_parser = crate::target::find)]
    target: TargetSpec,
    /// Say on stderr what each pass did: nodes, time, and how often each law applied.
    #[arg(long)]
    stats: bool,
    /// Print one JSON object: `module` (text), `plan` (or null), `passes`.
    #[arg(long)]
    json: bool,
}

fn passes_help() -> String {
    let passes = kiln_passes::pipeline::PASSES.iter().map(|(name, what)| format!("\n- {name}: {what}"));
    format!("The passes in order, separated by commas:{}", passes.collect::<String>())
}

pub fn run(args: &OptArgs) -> Result<()> {
    let pipeline = Pipeline::parse(&args.passes)?;
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|source| Error::Io { action: "read", path: args.file.clone(), source })?;
    let outcome = pipeline.run(kiln_ir::text::parse(&text)?, &args.target)?;
    if args.stats {
        outcome.passes.iter().for_each(print_stats);
    }
    if args.json {
        let plan = outcome.compiled.as_ref().map(|c| &c.plan);
        let passes: Vec<Value> = outcome.passes.iter().map(stats).collect();
        outln!("{}", json!({ "module": outcome.module.to_string(), "plan": plan, "passes": passes }))?;
    } else {
        match &outcome.compiled {
            Some(compiled) => out!("{}", compiled.plan)?,
            None => out!("{}", outcome.module)?,
        }
    }
    Ok(())
}

fn stats(pass: &PassReport) -> Value {
    let function = |f: &kiln_passes::egraph::FunctionReport| {
        json!({
            "name": f.name,
            "iterations": f.iterations,
            "saturated": f.saturated,
            "egraph_nodes": f.nodes,
            "egraph_classes": f.classes,
            "cost_before": f.cost_before,
            "cost_after": f.cost_after,
            "rules": f.rules,
        })
    };
    json!({
        "pass": pass.pass,
        "nodes_before": pass.nodes_before,
        "nodes_after": pass.nodes_after,
        "seconds": pass.seconds,
        "rules": pass.rules(),
        "functions": pass.functions.iter().map(function).collect::<Vec<_>>(),
    })
}

fn print_stats(pass: &PassReport) {
    let PassReport { pass: name, nodes_before, nodes_after, seconds, functions } = pass;
    note!("{name:<40} {nodes_before:>6} -> {nodes_after:<6} nodes {:>9.2} ms", seconds * 1e3);
    for f in functions {
        note!(
            "  @{:<37} {} nodes in {} classes after {} iterations{}; {:.3} -> {:.3} us",
            f.name,
            f.nodes,
            f.classes,
            f.iterations,
            if f.saturated { "" } else { " (not saturated)" },
            f.cost_before * 1e6,
            f.cost_after * 1e6
        );
    }
    for (rule, count) in pass.rules() {
        note!("    {rule:<36} {count:>6}");
    }
}
