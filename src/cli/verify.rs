//! `kiln verify`: compiled against the interpreter, and against golden outputs.

use super::{CompileArgs, load_files, outln};
use crate::lab::verify;
use crate::{Error, LoadOptions, Result, Session, SessionOptions, compile};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct VerifyArgs {
    /// A hub id, a folder or a .gguf file.
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// A folder with `golden.safetensors`: inputs `in.*`, outputs `out.*`.
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Length of the random sequence that is compared with the interpreter.
    #[arg(long, default_value_t = 7)]
    length: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VerifyArgs) -> Result<()> {
    let files = args.options.files_for("verify", &args.model)?;
    let traced = compile::trace(&files, &args.options.options())?;
    let (model, _) = load_files(&files, &args.options.options(), &LoadOptions::default())?;
    let mut session = Session::new(&model, &SessionOptions::default())?;
    let inputs = verify::made_up_inputs(&traced.module, args.length)?;
    let got = verify::call(&mut session, "forward", &inputs)?;
    let want = verify::interpret(&traced.module, "forward", &files.checkpoint, &inputs, &[])?;
    let tolerance = verify::tolerance(args.options.options().dtype);
    let mut comparisons = verify::compare("forward against the interpreter", &got, &want, tolerance)?;
    if let Some(folder) = &args.golden {
        let file = folder.join("golden.safetensors");
        let got = verify::call(&mut session, "forward", &verify::read_tensors(&file, "in.")?)?;
        let want = verify::read_tensors(&file, "out.")?;
        comparisons.extend(verify::compare("forward against the golden", &got, &want, tolerance)?);
    }
    if args.json {
        outln!("{}", serde_json::json!({ "comparisons": comparisons }))?;
    } else {
        for c in &comparisons {
            outln!("{:<48} error {:.2e} (at most {:.0e})", c.name, c.relative_error, c.tolerance)?;
        }
    }
    match comparisons.iter().find(|c| !c.holds()) {
        Some(c) => {
            Err(Error::Verify(format!("{}: error {:.2e} exceeds {:.0e}", c.name, c.relative_error, c.tolerance)))
        }
        None => Ok(()),
    }
}
