//! `kiln run`: any entry on any tensors.

use super::{CompileArgs, is_artifact, load_files};
use crate::lab::verify;
use crate::{Error, LoadOptions, Model, ModelFiles, Result, Session, SessionOptions};
use clap::Args;
use kiln_models::weights::to_safetensors;
use safetensors::tensor::TensorView;
use std::path::PathBuf;

#[derive(Args)]
pub struct RunArgs {
    /// A hub id, a folder, a .gguf file or a .kiln artifact.
    model: String,
    #[command(flatten)]
    options: CompileArgs,
    /// A safetensors file with the inputs, by their forward argument names (a prefix `in.` is taken off).
    #[arg(long)]
    inputs: PathBuf,
    /// The safetensors file to write, with the outputs by their field names; `/dev/stdout` and other streams take it too.
    #[arg(short, long)]
    output: PathBuf,
    /// The entry.
    #[arg(long, default_value = "forward")]
    signature: String,
    /// Threads that compute; by default, and for 0, as many as the machine has.
    #[arg(long)]
    threads: Option<usize>,
    /// Do not verify the checksum of the weights.
    #[arg(long)]
    trust_weights: bool,
    /// Read the artifact into memory instead of mapping it: for a file that may be changed, truncated or unmounted meanwhile.
    #[arg(long)]
    no_mmap: bool,
}

pub fn run(args: &RunArgs) -> Result<()> {
    let output = super::output(&args.output, args.options.inputs(&args.model).iter().chain([&args.inputs]))?;
    let files = if is_artifact(&args.model) { None } else { Some(args.options.files(&args.model)?) };
    let read = files.iter().flat_map(ModelFiles::inputs);
    let output = output.not_among(read).map_err(Error::io("write", &args.output))?;
    let mut inputs = verify::read_tensors(&args.inputs, "in.")?;
    if inputs.is_empty() {
        inputs = verify::read_tensors(&args.inputs, "")?;
    }
    let options = LoadOptions {
        threads: args.threads,
        trust_weights: args.trust_weights,
        copy: args.no_mmap,
        ..LoadOptions::default()
    };
    let model = match &files {
        Some(files) => load_files(files, &args.options.options(), &options)?.0,
        None => Model::open(&args.model, &options)?,
    };
    let mut session = Session::new(&model, &SessionOptions::default())?;
    let outputs = verify::call(&mut session, &args.signature, &inputs)?;
    let error = |reason: String| Error::Tensors { path: args.output.clone(), reason };
    let mut views = vec![];
    for (name, t) in &outputs {
        let dtype = t.dtype().ok_or_else(|| error(format!("output `{name}` is block-quantised")))?;
        let view =
            TensorView::new(to_safetensors(dtype), t.shape().to_vec(), t.bytes()).map_err(|e| error(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let bytes = safetensors::serialize(views, None).map_err(|e| error(e.to_string()))?;
    output.write(&bytes).map_err(Error::io("write", &args.output))
}
