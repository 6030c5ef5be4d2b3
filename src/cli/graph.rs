//! `kiln graph`: pictures of blocks, before and after.

use super::{CompileArgs, blocks, module, note, outln};
use crate::lab::graph;
use crate::{Error, Result};
use clap::Args;
use kiln_passes::egraph::Point;
use std::path::PathBuf;

#[derive(Args)]
pub struct GraphArgs {
    /// A hub id, a folder, a .gguf file, or a module as text (.kir).
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// The picture to write: .svg, or .html with zoom and details; a stream gets SVG.
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
    let output = super::output(&args.output, args.options.inputs(&args.model))?;
    let is_stream = output.is_stream();
    let draw = match args.output.extension().and_then(|e| e.to_str()) {
        Some("html") => graph::to_html,
        Some("svg") => graph::to_svg,
        _ if is_stream => graph::to_svg,
        _ => {
            return Err(Error::Option(format!("cannot draw {}: expected a file .svg or .html", args.output.display())));
        }
    };
    let module = module(&args.model, &args.options)?;
    let chosen = match &args.block {
        Some(name) => blocks(&module, Some(name))?,
        None => graph::blocks(&module),
    };
    let target = &args.options.target.spec;
    let point = Point::at(&module.symbols, args.rows, args.context);
    let rewriting = args.options.options().passes.rewriting();
    let pictures = graph::pictures(&module, &chosen, &point, target, &rewriting)?;
    output.write(draw(&pictures, target).as_bytes()).map_err(Error::io("write", &args.output))?;
    for p in &pictures {
        let [before, after] = &p.panels;
        let us = |seconds: f64| seconds * 1e6;
        let line = format!(
            "@{}: {} -> {} kernels, {:.1} -> {:.1} kB, predicted {:.1} -> {:.1} µs",
            p.block,
            before.steps,
            after.steps,
            before.bytes * 1e-3,
            after.bytes * 1e-3,
            us(before.seconds),
            us(after.seconds)
        );
        // A stream may be stdout, where nothing but the picture belongs.
        if is_stream {
            note!("{line}");
        } else {
            outln!("{line}")?;
        }
    }
    Ok(())
}
