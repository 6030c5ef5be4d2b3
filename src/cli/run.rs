//! `kiln run`: any entry on any tensors.

use super::{CompileArgs, artifact};
use crate::{Error, LoadOptions, Model, Result, Session, SessionOptions, verify};
use clap::Args;
use safetensors::{Dtype, tensor::TensorView};
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
    /// The safetensors file to write, with the outputs by their field names.
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
}

pub fn run(args: &RunArgs) -> Result<()> {
    let mut inputs = verify::read_tensors(&args.inputs, "in.")?;
    if inputs.is_empty() {
        inputs = verify::read_tensors(&args.inputs, "")?;
    }
    let (path, _) = artifact(&args.model, &args.options)?;
    let load = LoadOptions { threads: args.threads, workers: None, trust_weights: args.trust_weights };
    let model = Model::open(&path, &load)?;
    let mut session = Session::new(&model, &SessionOptions::default())?;
    let outputs = verify::call(&mut session, &args.signature, &inputs)?;
    let error = |reason: String| Error::Tensors { path: args.output.clone(), reason };
    let mut views = vec![];
    for (name, t) in &outputs {
        use kiln_core::DType;
        let dtype = match t.dtype() {
            Some(DType::F64) => Dtype::F64,
            Some(DType::F32) => Dtype::F32,
            Some(DType::F16) => Dtype::F16,
            Some(DType::BF16) => Dtype::BF16,
            Some(DType::I64) => Dtype::I64,
            Some(DType::I32) => Dtype::I32,
            Some(DType::I8) => Dtype::I8,
            Some(DType::U8) => Dtype::U8,
            Some(DType::Bool) => Dtype::BOOL,
            None => return Err(error(format!("output `{name}` is block-quantised"))),
        };
        let view = TensorView::new(dtype, t.shape().to_vec(), t.bytes()).map_err(|e| error(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let bytes = safetensors::serialize(views, None).map_err(|e| error(e.to_string()))?;
    // Beside first, then renamed: no half-written file is left.
    let name = args.output.file_name().unwrap_or_default().to_string_lossy();
    let part = args.output.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &args.output));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&part);
        Error::Io { action: "write", path: args.output.clone(), source }
    })
}
