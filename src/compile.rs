//! A model's files to an artifact.

use crate::{Error, Result};
use kiln_codegen::EmitMode;
use kiln_core::output::Output;
use kiln_core::{CpuSpec, DType, Plan, Storage, TargetSpec};
use kiln_frontend::ParamSource;
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, Traced, task_of, trace as trace_model};
use kiln_models::loss::Training;
use kiln_models::source::{CHAT_TEMPLATE, ModelFiles, TOKENIZER, TOKENIZER_CONFIG};
use kiln_passes::Compiled;
use kiln_runtime::artifact::{Build, section_of_file};
use kiln_runtime::causal_lm::{ENCODE, STEP};
use kiln_runtime::generate::GenerationConfig;
use kiln_runtime::text::{ChatTemplates, Tokenizer};
use kiln_runtime::{ArtifactWriter, LoadOptions, Manifest, MemoryReport, Model, ModelInfo, Section};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{Seek, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

/// How to compile.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// The machine to compile for.
    pub target: TargetSpec,
    /// More machines whose code the artifact holds, beside the same weights; the one that loads it takes what it runs best. None by default.
    pub more_targets: Vec<TargetSpec>,
    /// The type that the model computes in.
    pub dtype: DType,
    /// What the model is for; `None` for what the first class in its config's `architectures` is for.
    pub task: Option<Task>,
    /// The longest sequence; `None` for what the config says.
    pub max_seq: Option<usize>,
    /// Whether and by which laws the graph is rewritten.
    pub passes: kiln_passes::Options,
    /// Where kernels are compiled: child processes by default.
    pub emit: EmitMode,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            target: TargetSpec::x86_64_v3(),
            more_targets: vec![],
            dtype: DType::F32,
            task: None,
            max_seq: None,
            passes: kiln_passes::Options::default(),
            emit: EmitMode::default(),
        }
    }
}

impl CompileOptions {
    fn targets(&self) -> impl Iterator<Item = &TargetSpec> {
        std::iter::once(&self.target).chain(&self.more_targets)
    }
}

/// What a compilation took and gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CompileReport {
    /// Seconds for each stage.
    pub trace_seconds: f64,
    /// Rewriting, fusion, schedule.
    pub passes_seconds: f64,
    /// Machine code.
    pub codegen_seconds: f64,
    /// Writing the artifact, weights included.
    pub write_seconds: f64,
    /// Number of kernels, those of all targets together.
    pub kernels: usize,
    /// Bytes of machine code, for all targets together.
    pub code_bytes: usize,
    /// Bytes that the program takes when it runs one sequence, on the first target.
    pub memory: MemoryReport,
    /// Tensors of the checkpoint that the model does not use.
    pub unused_tensors: Vec<String>,
}

/// A program compiled for one target.
#[derive(Clone)]
pub struct TargetProgram {
    /// The machine.
    pub target: TargetSpec,
    /// The plan; weights have no file offsets yet.
    pub compiled: Compiled,
    /// The kernel image.
    pub code: Vec<u8>,
}

/// A compiled program, before it is written.
#[derive(Clone)]
pub struct Program {
    /// One for each target, that of [`CompileOptions::target`] first.
    pub builds: Vec<TargetProgram>,
    /// As [`Traced::cache_limit`]; none for a module that is no traced model's.
    pub cache_limit: Option<usize>,
    /// Times so far.
    pub report: CompileReport,
}

/// Traces the model that the files hold.
///
/// # Errors
/// An unknown architecture, or a config and tensors that do not fit together.
pub fn trace(files: &ModelFiles, options: &CompileOptions) -> Result<Traced> {
    trace_from(files, &files.checkpoint, options, None)
}

/// Traces the model that the files hold for training, with parameters as `source` has them.
///
/// # Errors
/// As [`trace`], and a task without a loss.
pub(crate) fn trace_training(files: &ModelFiles, source: &dyn ParamSource, options: &CompileOptions) -> Result<Traced> {
    trace_from(files, source, options, Some(Training::of_config(&files.config)?))
}

fn trace_from(
    files: &ModelFiles,
    source: &dyn ParamSource,
    options: &CompileOptions,
    training: Option<Training>,
) -> Result<Traced> {
    let trace = TraceOptions {
        dtype: options.dtype,
        max_seq: options.max_seq,
        sentence_transformer: files.sentence_transformer.clone(),
        training,
    };
    Ok(trace_model(options.task, &files.config, source, &trace)?)
}

/// Compiles a traced module to machine code, for each target.
///
/// # Errors
/// Whatever the passes or the code generator cannot do; a target that is a GPU, or named twice.
pub fn build(module: &kiln_ir::Module, options: &CompileOptions) -> Result<Program> {
    let mut targets: Vec<(&TargetSpec, &CpuSpec)> = vec![];
    for target in options.targets() {
        let cpu = target.cpu().ok_or_else(|| Error::Gpu { target: target.name().into() })?;
        if targets.iter().any(|(other, _)| other.name() == target.name()) {
            return Err(Error::Option(format!("the target `{}` is named twice: name each once", target.name())));
        }
        targets.push((target, cpu));
    }
    let mut report = CompileReport::default();
    let builds = targets.into_iter().map(|(target, cpu)| build_for(module, target, cpu, options, &mut report));
    let builds = builds.collect::<Result<Vec<_>>>()?;
    report.memory = one_sequence(&builds[0].compiled.plan)?;
    Ok(Program { builds, cache_limit: None, report })
}

/// Adds to the report what it took.
fn build_for(
    module: &kiln_ir::Module,
    target: &TargetSpec,
    cpu: &CpuSpec,
    options: &CompileOptions,
    report: &mut CompileReport,
) -> Result<TargetProgram> {
    let start = Instant::now();
    let mut compiled = kiln_passes::compile(module, target, &options.passes)?;
    report.passes_seconds += start.elapsed().as_secs_f64();
    let start = Instant::now();
    let specs: Vec<_> = compiled.plan.kernels.iter().map(|k| k.spec.clone()).collect();
    let codegen = kiln_codegen::CompileOptions { mode: options.emit.clone(), jobs: 0 };
    let kernels = kiln_codegen::compile_kernels(&specs, cpu, &codegen)?;
    let image = kiln_codegen::link_image(&kernels)?;
    for ((entry, kernel), offset) in compiled.plan.kernels.iter_mut().zip(&kernels).zip(&image.entries) {
        entry.symbol.clone_from(&kernel.symbol);
        entry.entry = *offset;
    }
    report.codegen_seconds += start.elapsed().as_secs_f64();
    report.kernels += kernels.len();
    report.code_bytes += image.code.len();
    Ok(TargetProgram { target: target.clone(), compiled, code: image.code })
}

/// What a program takes that works on one sequence at a time, batches and cache rows of one: what it takes to generate where the
/// plan can, else what the largest of its signatures takes.
fn one_sequence(plan: &Plan) -> Result<MemoryReport> {
    let first_dims = plan.signatures.iter().flat_map(|s| s.inputs.first()).map(|i| i.shape.first());
    let rows = plan.states.iter().map(|s| s.shape.first());
    let symbols = first_dims.chain(rows).filter_map(|d| d?.as_symbol());
    let sizes: Vec<(&str, i64)> = symbols.map(|s| (&**s, 1)).collect();
    let generates = plan.signature(STEP).is_some();
    Ok(MemoryReport::of_signatures(plan, &sizes, |name| !generates || [STEP, ENCODE].contains(&name))?)
}

/// Compiles a model and writes the artifact; it appears only when it is whole.
///
/// # Errors
/// Whatever is wrong with the model, the options or the output file, which is looked at first: it must not be a file that the model is read
/// from, and must be a regular one if it is there.
pub fn compile(files: &ModelFiles, out: &Path, options: &CompileOptions) -> Result<CompileReport> {
    let output = Output::at(out).and_then(|output| output.not_among(files.inputs()));
    let output = output.and_then(Output::create).map_err(Error::io("write", out))?;
    check_texts(files)?;
    let start = Instant::now();
    let traced = trace(files, options)?;
    let program = build_traced(&traced, start.elapsed().as_secs_f64(), options)?;
    let start = Instant::now();
    let mut writer = ArtifactWriter::over(output, out)?;
    write(files, &program, &mut writer, options)?;
    writer.finish()?;
    Ok(CompileReport { write_seconds: start.elapsed().as_secs_f64(), ..program.report })
}

/// A traced model's program; tracing took that long.
pub(crate) fn build_traced(traced: &Traced, trace_seconds: f64, options: &CompileOptions) -> Result<Program> {
    let Program { builds, report, .. } = build(&traced.module, options)?;
    let report = CompileReport { trace_seconds, unused_tensors: traced.unused_tensors.clone(), ..report };
    Ok(Program { builds, cache_limit: traced.cache_limit, report })
}

/// What goes into the artifact unread is read here, so that damage shows now and not on the machine that runs it.
pub(crate) fn check_texts(files: &ModelFiles) -> Result<()> {
    if let Some(json) = files.processors.get(TOKENIZER) {
        Tokenizer::of_model(json, files.processors.get(TOKENIZER_CONFIG))?;
    }
    if let Some(json) = &files.generation_config {
        GenerationConfig::from_json(json.to_string().as_bytes())?;
    }
    // A chat template is needed by who asks for it only.
    let template = files.processors.get(CHAT_TEMPLATE).map(String::from_utf8_lossy);
    match ChatTemplates::new(files.processors.get(TOKENIZER_CONFIG), template.as_deref()) {
        Ok(templates) => templates.iter().flat_map(ChatTemplates::unreadable).for_each(|e| tracing::warn!("{e}")),
        Err(e) => tracing::warn!("{e}"),
    }
    Ok(())
}

/// The Auto class for the task that a model is compiled for.
pub(crate) fn auto_class(files: &ModelFiles, options: &CompileOptions) -> &'static str {
    options.task.or_else(|| task_of(&files.config).ok()).map_or("", Task::auto_class)
}

/// What is known of a model from its files.
pub(crate) fn model_info(files: &ModelFiles, options: &CompileOptions) -> ModelInfo {
    ModelInfo {
        id: files.id.clone(),
        revision: files.revision.clone(),
        architecture: files.config["model_type"].as_str().unwrap_or_default().into(),
        auto_class: auto_class(files, options).into(),
        config_sha256: sha256(files.config.to_string().as_bytes()),
        cache_limit: None,
    }
}

/// The model's texts, which go into the artifact as they are, by section.
pub(crate) fn texts(files: &ModelFiles) -> impl Iterator<Item = (&str, Vec<u8>)> {
    let config = files.config.to_string().into_bytes();
    let generation = files.generation_config.as_ref().map(|g| (Section::GenerationConfig, g.to_string().into_bytes()));
    let configs = [(Section::Config, config)].into_iter().chain(generation);
    let processors = files.processors.iter().map(|(name, bytes)| (section_of_file(name), bytes.to_vec()));
    configs.map(|(section, text)| (section.name(), text)).chain(processors)
}

/// Writes a model's artifact.
pub(crate) fn write<W: Write + Seek>(
    files: &ModelFiles,
    program: &Program,
    w: &mut ArtifactWriter<W>,
    options: &CompileOptions,
) -> Result<()> {
    for (section, text) in texts(files) {
        w.named_section(section, &text)?;
    }
    let model = ModelInfo { cache_limit: program.cache_limit, ..model_info(files, options) };
    write_program(w, program, model, options, |name, out| {
        files.checkpoint.write_to(name, out).map_err(std::io::Error::other)
    })
}

/// The sections that every artifact has; `weight` writes the bytes of a parameter.
fn write_program<W: Write + Seek>(
    w: &mut ArtifactWriter<W>,
    program: &Program,
    model: ModelInfo,
    options: &CompileOptions,
    weight: impl Fn(&str, &mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let irs: Vec<String> = program.builds.iter().map(|b| b.compiled.module.to_string()).collect();
    let described = program.builds.iter().zip(&irs).map(|(b, ir)| {
        let memory = one_sequence(&b.compiled.plan)?;
        Ok(Build { target: b.target.clone(), ir_sha256: sha256(ir.as_bytes()), memory })
    });
    w.manifest(&Manifest {
        kiln: env!("CARGO_PKG_VERSION").into(),
        compilers: kiln_codegen::compilers(),
        model,
        rules_sha256: sha256(options.passes.rules().as_bytes()),
        builds: described.collect::<Result<Vec<_>>>()?,
    })?;
    for (n, (build, ir)) in program.builds.iter().zip(&irs).enumerate() {
        w.named_section(&Section::Ir.of_build(n), ir.as_bytes())?;
        w.named_section(&Section::Image.of_build(n), &build.code)?;
    }
    // What several builds use is written once: parameters by their names, constants by their bytes.
    let mut written: HashMap<(Stored, Storage, Vec<usize>), u64> = HashMap::new();
    let mut plans: Vec<Plan> = program.builds.iter().map(|b| b.compiled.plan.clone()).collect();
    for (plan, build) in plans.iter_mut().zip(&program.builds) {
        for (i, spec) in plan.weights.iter_mut().enumerate() {
            let stored = match build.compiled.constants.iter().find(|c| c.weight as usize == i) {
                Some(c) => Stored::Constant(&c.bytes),
                None => Stored::Parameter(spec.name.clone()),
            };
            let key = (stored, spec.storage, spec.shape.clone());
            if let Some(offset) = written.get(&key) {
                spec.offset = *offset;
                continue;
            }
            match &key.0 {
                Stored::Constant(bytes) => w.weight(spec, |out| out.write_all(bytes))?,
                Stored::Parameter(name) => w.weight(spec, |out| weight(name, out))?,
            }
            written.insert(key, spec.offset);
        }
    }
    plans.iter().enumerate().try_for_each(|(n, plan)| Ok(w.plan(n, plan)?))
}

/// Where a weight's bytes come from.
#[derive(PartialEq, Eq, Hash)]
enum Stored<'a> {
    Parameter(String),
    Constant(&'a [u8]),
}

impl Program {
    /// Loads the program without writing a file: the same road, with the artifact in memory. `weight` gives the bytes of a
    /// parameter.
    ///
    /// # Errors
    /// When `weight` fails or gives another number of bytes than the parameter has, or loading does.
    pub fn load(
        self,
        options: &CompileOptions,
        load: &LoadOptions,
        weight: impl Fn(&str, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Arc<Model>> {
        let mut w = ArtifactWriter::in_memory()?;
        let model = ModelInfo { cache_limit: self.cache_limit, ..ModelInfo::default() };
        write_program(&mut w, &self, model, options, weight)?;
        Ok(Model::from_bytes(w.finish()?, load)?)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
