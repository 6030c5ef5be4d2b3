//! `kiln calibrate`: what this machine gives, as a target file.

use super::out;
use crate::lab::calibrate::calibrate;
use crate::{Error, Result, target};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CalibrateArgs {
    /// The target file to write; without it, the file goes to stdout.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Threads that measure together; by default, and for 0, as many as the machine has.
    #[arg(long)]
    threads: Option<usize>,
    /// What the machine is called.
    #[arg(long, default_value = "this-machine")]
    name: String,
}

pub fn run(args: &CalibrateArgs) -> Result<()> {
    let output = args.output.as_ref().map(|path| super::output(path, [] as [&Path; 0])).transpose()?;
    let threads = kiln_runtime::device::threads(args.threads)?;
    let spinner = super::spinner("measuring");
    let spec = calibrate(&args.name, threads)?;
    spinner.finish_and_clear();
    let text = format!("# Measured by `kiln calibrate` with {threads} threads.\n{}", target::to_toml(&spec)?);
    match (output, &args.output) {
        (Some(output), Some(path)) => output.write(text.as_bytes()).map_err(Error::io("write", path)),
        _ => out!("{text}"),
    }
}
