//! The options of compiling, which most verbs have, and MODEL by them: its files, its graph, or itself, loaded.

use super::progress::{downloads, spinner};
use crate::{
    CompileCache, CompileOptions, DType, Error, HubOptions, LoadOptions, Model, ModelFiles, Numerics, PassOptions,
    Result, TargetSpec,
};
use clap::Args;
use kiln_core::output::Output;
use kiln_ir::{Function, Module};
use kiln_models::auto::{task_of, writing_task};
use kiln_models::source::inputs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How to compile.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompileArgs {
    /// The machine to compile for: `cpu`, a machine by name (`cpu:zen4`), or a target file (`machine.toml`).
    #[arg(long, default_value = "cpu", value_parser = parse_target)]
    pub(super) target: Target,
    /// The type to compute in: auto, f32, bf16 or f16.
    #[arg(long, default_value = "auto", value_parser = parse_dtype)]
    pub(super) dtype: DType,
    /// The longest sequence; what the model's config says by default.
    #[arg(long)]
    pub(super) max_seq: Option<usize>,
    /// The .gguf file to take of a hub id or a folder that has several, or that has safetensors too.
    #[arg(long)]
    pub(super) gguf_file: Option<String>,
    /// What rewriting may do to the bits of results: exact (nothing), reassociates (another order of sums and products), or fast (also other
    /// formulas, with a stated error).
    #[arg(long, default_value = "reassociates", value_parser = parse_numerics)]
    pub(super) numerics: Numerics,
}

/// What `--target` names.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) spec: TargetSpec,
    /// The target file, if it is one.
    pub(super) file: Option<PathBuf>,
}

pub(super) fn parse_target(text: &str) -> std::result::Result<Target, String> {
    let spec = crate::target::find(text)?;
    Ok(Target { spec, file: Some(PathBuf::from(text)).filter(|path| path.is_file()) })
}

fn parse_numerics(text: &str) -> std::result::Result<Numerics, String> {
    match text {
        "exact" => Ok(Numerics::Exact),
        "reassociates" => Ok(Numerics::Reassociates),
        "fast" => Ok(Numerics::Approximate),
        _ => Err("expected exact, reassociates or fast".into()),
    }
}

fn parse_dtype(text: &str) -> std::result::Result<DType, String> {
    match text {
        "auto" | "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        "f16" => Ok(DType::F16),
        _ => Err("expected auto, f32, bf16 or f16".into()),
    }
}

impl CompileArgs {
    /// Whether no other machine was named.
    pub(super) fn is_default_target(&self) -> bool {
        self.target.spec == TargetSpec::x86_64_v3()
    }

    pub(super) fn options(&self) -> CompileOptions {
        CompileOptions {
            target: self.target.spec.clone(),
            dtype: self.dtype,
            max_seq: self.max_seq,
            passes: PassOptions { numerics: self.numerics, ..PassOptions::default() },
            ..CompileOptions::default()
        }
    }

    /// What may be read on disk, so that nothing is written over it.
    pub(super) fn inputs(&self, model: &str) -> Vec<PathBuf> {
        inputs(model).into_iter().chain(self.target.file.clone()).collect()
    }

    /// The files of MODEL for what needs the model itself and not an artifact: `verify`.
    pub(super) fn files_for(&self, what: &str, model: &str) -> Result<ModelFiles> {
        if is_artifact(model) {
            return Err(Error::Option(format!(
                "{what} needs the model itself (a hub id, a folder or a .gguf file), not an artifact"
            )));
        }
        self.files(model)
    }

    /// The files of MODEL.
    pub(super) fn files(&self, model: &str) -> Result<ModelFiles> {
        let gguf_file = self.gguf_file.clone();
        let options = HubOptions { gguf_file, progress: downloads(), ..HubOptions::from_env() };
        Ok(ModelFiles::resolve_with(model, &options)?)
    }
}

/// Where a verb writes, looked at before it works: not to what it reads.
pub(super) fn output(path: &Path, inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Output> {
    Output::at(path).and_then(|output| output.not_among(inputs)).map_err(Error::io("write", path))
}

/// Whether MODEL is an artifact.
pub(super) fn is_artifact(model: &str) -> bool {
    Path::new(model).extension().is_some_and(|e| e == "kiln")
}

/// MODEL, loaded to write text: an artifact, or from the compile cache; and the seconds that compiling took.
pub(super) fn load(model: &str, options: &CompileArgs, load: &LoadOptions) -> Result<(Arc<Model>, f64)> {
    if is_artifact(model) {
        return Ok((Model::open(model, load)?, 0.0));
    }
    let files = options.files(model)?;
    // A checkpoint that was saved from another class may have what it takes.
    let task = writing_task(&files.config).filter(|task| task_of(&files.config).ok() != Some(*task));
    load_files(&files, &CompileOptions { task, ..options.options() }, load)
}

pub(super) fn load_files(
    files: &ModelFiles,
    options: &CompileOptions,
    load: &LoadOptions,
) -> Result<(Arc<Model>, f64)> {
    let start = Instant::now();
    let spinner = spinner("compiling");
    let (artifact, report) = CompileCache::from_env()?.artifact(files, options, &load.artifact())?;
    spinner.finish_and_clear();
    let compile_seconds = if report.is_some() { start.elapsed().as_secs_f64() } else { 0.0 };
    Ok((Model::load(artifact, load)?, compile_seconds))
}

/// The graph of MODEL, which may be a module as text.
pub(super) fn module(model: &str, options: &CompileArgs) -> Result<Module> {
    if is_artifact(model) {
        return Err(Error::Option(format!(
            "`{model}` is compiled already: give a hub id, a folder, a .gguf file, or a module as text (.kir)"
        )));
    }
    if Path::new(model).extension().is_some_and(|e| e == "kir") {
        let read = |source| Error::Io { action: "read", path: model.into(), source };
        let module = kiln_ir::text::parse(&std::fs::read_to_string(model).map_err(read)?)?;
        kiln_ir::verify(&module)?;
        return Ok(module);
    }
    Ok(crate::compile::trace(&options.files(model)?, &options.options())?.module)
}

/// The function of that name, or all of them.
pub(super) fn blocks<'m>(module: &'m Module, name: Option<&str>) -> Result<Vec<&'m Function>> {
    let Some(name) = name else { return Ok(module.functions.iter().collect()) };
    match module.find(name) {
        Some((_, f)) => Ok(vec![f]),
        None => {
            let known = module.functions.iter().map(|f| f.name.to_string()).collect::<Vec<_>>().join(", ");
            Err(Error::Option(format!("there is no block `{name}`: expected one of {known}")))
        }
    }
}
