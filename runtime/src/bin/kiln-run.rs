//! `kiln-run`: runs an artifact. A small program without a compiler.

use clap::Parser;
use kiln_runtime::{Model, cli};
use std::{io::Write, path::PathBuf, process::ExitCode, time::Instant};

/// Generate text with a compiled model.
///
/// An artifact holds machine code: run only artifacts whose origin you trust.
#[derive(Parser)]
#[command(name = "kiln-run", version)]
struct Args {
    /// The `.kiln` file.
    artifact: PathBuf,
    #[command(flatten)]
    generate: cli::GenerateArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let run = || -> Result<(), cli::CliError> {
        let model = Model::open(&args.artifact, &args.generate.load_options())?;
        cli::generate(&model, &args.generate, start.elapsed().as_secs_f64(), None)?;
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // stderr may be closed.
            let _ = writeln!(std::io::stderr(), "error: {e}");
            ExitCode::FAILURE
        }
    }
}
