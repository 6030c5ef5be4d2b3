//! `kiln bisect`: names the rewrite rule that makes a model's output wrong.

use super::{CompileArgs, note, outln};
use crate::lab::bisect::{BisectOptions, bisect};
use crate::{Error, Result};
use clap::Args;
use kiln_passes::rules;
use std::path::PathBuf;

#[derive(Args)]
pub struct BisectArgs {
    /// A hub id, a folder or a .gguf file.
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// A folder with `golden.safetensors` (inputs `in.*`, outputs `out.*`) to compare with; by default the interpreter says what is right.
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Interpret the rewritten graph rather than compile it: blind to what is wrong in a kernel.
    #[arg(long)]
    interpret: bool,
    /// Length of the random sequence.
    #[arg(long, default_value_t = 7)]
    length: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &BisectArgs) -> Result<()> {
    let files = args.options.files_for("bisect", &args.model)?;
    let options = BisectOptions {
        compile: args.options.options(),
        golden: args.golden.clone(),
        interpret: args.interpret,
        length: args.length,
    };
    let passes = options.compile.passes.rewriting();
    let rules = rules::up_to(passes.numerics, &passes.without);
    let finding = bisect(&files, &rules, &options, |count, worst| {
        let verdict = if worst.holds() { "right" } else { "wrong" };
        note!("{count:>4} rules: {verdict}, error {:.2e}", worst.relative_error);
    })?;
    if args.json {
        outln!("{}", serde_json::json!({ "rules": rules.len(), "finding": finding }))?;
    }
    match finding {
        Some(f) => Err(Error::Verify(format!(
            "wrong by {}: {}: error {:.2e} exceeds {:.0e} with it, and all is right without",
            f.rules.iter().map(|r| format!("rule `{r}`")).collect::<Vec<_>>().join(" together with "),
            f.comparison.name,
            f.comparison.relative_error,
            f.comparison.tolerance
        ))),
        None => {
            if !args.json {
                outln!("the output is right with all {} rules", rules.len())?;
            }
            Ok(())
        }
    }
}
