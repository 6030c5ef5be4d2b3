//! `kiln verify`: compiled against the interpreter, and against golden outputs.

use super::{CompileArgs, load_files, outln};
use crate::lab::training::{Recipe, train_on_golden};
use crate::lab::verify;
use crate::train::TraineeOptions;
use crate::{Error, LoadOptions, Result, Session, SessionOptions, compile};
use clap::Args;
use kiln_models::source::ModelFiles;
use std::path::{Path, PathBuf};

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
    /// Train as the golden's record says, and print losses, norms of gradients, and the error of the logits after the steps.
    #[arg(long, requires = "golden")]
    train: bool,
    /// With --train: another learning rate than the record's.
    #[arg(long, requires = "train")]
    learning_rate: Option<f32>,
    /// With --train: another weight decay.
    #[arg(long, requires = "train")]
    weight_decay: Option<f64>,
    /// With --train: another norm to clip the gradient to; 0 for none.
    #[arg(long, requires = "train")]
    max_grad_norm: Option<f32>,
    /// With --train: another number of steps.
    #[arg(long, requires = "train")]
    steps: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VerifyArgs) -> Result<()> {
    let files = args.options.files_for("verify", &args.model)?;
    if let Some(folder) = args.golden.as_ref().filter(|_| args.train) {
        return train(args, &files, folder);
    }
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

/// The steps that the golden records, by compiled code.
fn train(args: &VerifyArgs, files: &ModelFiles, folder: &Path) -> Result<()> {
    let path = folder.join("golden.json");
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let golden: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| Error::Option(format!("{}: {e}", path.display())))?;
    let record = golden.get("train").ok_or_else(|| {
        Error::Option(format!("{}: there is no `train`: expected a folder with a training record", path.display()))
    })?;
    let mut recipe = Recipe::of_record(record)?;
    recipe.learning_rate = args.learning_rate.unwrap_or(recipe.learning_rate);
    recipe.optimizer.weight_decay = args.weight_decay.unwrap_or(recipe.optimizer.weight_decay);
    recipe.max_grad_norm = args.max_grad_norm.unwrap_or(recipe.max_grad_norm);
    recipe.steps = args.steps.unwrap_or(recipe.steps);
    let options = TraineeOptions { compile: args.options.options(), ..TraineeOptions::default() };
    let steps = train_on_golden(files, folder, &recipe, &options)?;
    if args.json {
        return outln!("{}", serde_json::json!(steps));
    }
    outln!("losses {:?}", steps.losses)?;
    for (name, norm) in &steps.grad_norms {
        outln!("gradient of {name:<60} {norm:.4e}")?;
    }
    match steps.logits_error {
        Some(error) => outln!("logits after the steps: error {error:.2e}"),
        None => Ok(()),
    }
}
