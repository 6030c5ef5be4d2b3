//! `kiln graph`: pictures of blocks, before and after.

use super::{CompileArgs, blocks, module};
use clap::Args;
use kiln::passes::egraph::Point;
use kiln::{Error, Result, graph};
use std::path::PathBuf;

#[derive(Args)]
pub struct GraphArgs {
    /// A hub id, a folder, a .gguf file, or a module as text (.kir).
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// The picture to write: .svg, or .html with zoom and details.
    #[arg(short, long)]
    output: PathBuf,
    /// The function; by default all that call no other.
    #[arg(long)]
    block: Option<String>,
    /// Rows of one sequence: 1 to decode, more for a prompt.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    rows: i64,
    /// Positions of the cache.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(i64).range(1..))]
    context: i64,
}

pub fn run(args: &GraphArgs) -> Result<()> {
    let draw = match args.output.extension().and_then(|e| e.to_str()) {
        Some("svg") => graph::to_svg,
        Some("html") => graph::to_html,
        _ => {
            return Err(Error::Option(format!("cannot draw {}: expected a file .svg or .html", args.output.display())));
        }
    };
    let module = module(&args.model, &args.options)?;
    let chosen = match &args.block {
        Some(name) => blocks(&module, Some(name))?,
        None => graph::blocks(&module),
    };
    let target = &args.options.target;
    let pictures = graph::pictures(&module, &chosen, &Point { rows: args.rows, context: args.context }, target)?;
    std::fs::write(&args.output, draw(&pictures, target)).map_err(|source| Error::Io {
        action: "write",
        path: args.output.clone(),
        source,
    })?;
    for p in &pictures {
        let [before, after] = &p.panels;
        let us = |seconds: f64| seconds * 1e6;
        println!(
            "@{}: {} -> {} kernels, {:.1} -> {:.1} kB, predicted {:.1} -> {:.1} µs",
            p.block,
            before.steps,
            after.steps,
            before.bytes * 1e-3,
            after.bytes * 1e-3,
            us(before.seconds),
            us(after.seconds)
        );
    }
    Ok(())
}
