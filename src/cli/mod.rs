//! The `kiln` command, a file for each verb.
//!
//! A program that registers architectures of its own has the same command with them:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     // kiln::models::auto::register("my_model", &[kiln::models::Task::CausalLm], my_model::trace);
//!     kiln::cli::main()
//! }
//! ```

mod bench;
mod bisect;
mod cache;
mod calibrate;
mod explain;
mod graph;
mod inspect;
mod opt;
mod pipeline;
mod run;
mod verify;

use crate::ir::{Function, Module};
use crate::passes::egraph::Numerics;
use crate::{
    CompileOptions, CompileReport, Error, HubOptions, LoadOptions, Model, ModelFiles, Result, TargetSpec,
    cached_artifact,
};
use clap::{Args, Parser, Subcommand};
use kiln_core::DType;
use kiln_core::output::Output;
use kiln_models::auto::{task_of, writing_task};
use kiln_models::source::inputs;
use kiln_runtime::cli::{CliError, ConfigArgs, GenerateArgs};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

/// The command: reads the program's arguments, does what they say, and gives its exit code; it is all that a `main` needs.
pub fn main() -> ExitCode {
    if crate::maybe_run_worker() {
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("KILN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,cubecl=off,pliron=off"));
    // What cannot be logged is no reason to end.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    log.log_internal_errors(false).init();
    let flush = |()| std::io::stdout().flush().map_err(|e| CliError::from(e).into());
    match run(Cli::parse()).and_then(flush) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note!("error: {}", message(&e));
            ExitCode::FAILURE
        }
    }
}

/// What the library says of an error, with the command's options in place of the library's.
fn message(error: &Error) -> String {
    match error {
        Error::Model(kiln_models::Error::InvalidOption { option, expected, found }) => {
            format!("--{}: expected {expected}, found {found}", option.replace('_', "-"))
        }
        Error::Gpu { target } => format!(
            "nothing is compiled for the GPU `{target}` yet: its rates serve `kiln explain` and `kiln graph`; compile for a \
             CPU, such as --target cpu"
        ),
        other => other.to_string(),
    }
}

/// Compile Hugging Face models into native artifacts, and run them.
#[derive(Parser)]
#[command(name = "kiln", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compile a model into an artifact.
    Compile {
        /// A hub id, a folder or a .gguf file.
        model: String,
        /// The artifact to write.
        #[arg(short, long)]
        output: PathBuf,
        #[command(flatten)]
        options: CompileArgs,
        /// One more machine whose code the artifact holds, beside the same weights; may be given several times. What loads the artifact runs the
        /// code that makes most of its machine.
        #[arg(long, value_name = "TARGET", value_parser = parse_target)]
        also_for: Vec<Target>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Continue a text.
    Generate {
        /// A hub id, a folder, a .gguf file or a .kiln artifact.
        model: String,
        #[command(flatten)]
        options: CompileArgs,
        #[command(flatten)]
        generate: Box<GenerateArgs>,
    },
    /// Run a pipeline on texts: classify, fill in, extract, answer, summarize, translate, generate.
    Pipeline(pipeline::PipelineArgs),
    /// Run an entry of a model on tensors.
    Run(run::RunArgs),
    /// Show what an artifact holds.
    Inspect(inspect::InspectArgs),
    /// Run passes on a module in the text format, and print what they make of it.
    Opt(opt::OptArgs),
    /// Compare compiled results with the interpreter, and with a folder of golden outputs.
    Verify(verify::VerifyArgs),
    /// Time calls, and the steps of each beside what the machine could do.
    Bench(bench::BenchArgs),
    /// Measure this machine, and write what the cost model needs to a target file.
    Calibrate(calibrate::CalibrateArgs),
    /// Tell by which laws a model's blocks become what they become.
    Explain(explain::ExplainArgs),
    /// Draw a model's blocks as they were written and as they became, with a box for each kernel.
    Graph(graph::GraphArgs),
    /// Show or clear what the compile cache holds.
    Cache(cache::CacheArgs),
    /// Find the rewrite rule that makes a model's output wrong.
    Bisect(bisect::BisectArgs),
    /// Fetch the default model and let it write.
    Demo {
        /// The text to continue.
        #[arg(long, default_value = "The secret to baking a good cake is ")]
        prompt: String,
        /// Most new tokens.
        #[arg(long, default_value_t = 64)]
        max_new_tokens: usize,
        /// Threads that compute; by default, and for 0, as many as the machine has.
        #[arg(long)]
        threads: Option<usize>,
    },
}

/// Prints to stdout. That it is closed or full is an error like others, and no panic.
macro_rules! out {
    ($($text:tt)*) => {
        $crate::cli::print(format_args!($($text)*))
    };
}
pub(crate) use out;

/// The same, and the end of the line.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::cli::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use outln;

fn print(text: std::fmt::Arguments<'_>) -> Result<()> {
    Ok(std::io::stdout().write_fmt(text).map_err(CliError::from)?)
}

/// Prints to stderr, which may be closed.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use note;

/// How to compile.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompileArgs {
    /// The machine to compile for: `cpu`, a machine by name (`cpu:zen4`), or a target file (`machine.toml`).
    #[arg(long, default_value = "cpu", value_parser = parse_target)]
    target: Target,
    /// The type to compute in: auto, f32, bf16 or f16.
    #[arg(long, default_value = "auto", value_parser = parse_dtype)]
    dtype: DType,
    /// The longest sequence; what the model's config says by default.
    #[arg(long)]
    max_seq: Option<usize>,
    /// The .gguf file to take of a hub id or a folder that has several, or that has safetensors too.
    #[arg(long)]
    gguf_file: Option<String>,
    /// What rewriting may do to the bits of results: exact (nothing), reassociates (another order of sums and products), or fast (also other
    /// formulas, with a stated error).
    #[arg(long, default_value = "reassociates", value_parser = parse_numerics)]
    numerics: Numerics,
}

/// What `--target` names.
#[derive(Clone, Debug)]
struct Target {
    spec: TargetSpec,
    /// The target file, if it is one.
    file: Option<PathBuf>,
}

fn parse_target(text: &str) -> std::result::Result<Target, String> {
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
    fn is_default_target(&self) -> bool {
        self.target.spec == TargetSpec::x86_64_v3()
    }

    fn options(&self) -> CompileOptions {
        CompileOptions {
            target: self.target.spec.clone(),
            dtype: self.dtype,
            max_seq: self.max_seq,
            passes: crate::passes::Options { numerics: self.numerics, ..crate::passes::Options::default() },
            ..CompileOptions::default()
        }
    }

    /// What may be read on disk, so that nothing is written over it.
    fn inputs(&self, model: &str) -> Vec<PathBuf> {
        inputs(model).into_iter().chain(self.target.file.clone()).collect()
    }

    /// The files of MODEL for what needs the model itself and not an artifact: `verify`.
    fn files_for(&self, what: &str, model: &str) -> Result<ModelFiles> {
        if is_artifact(model) {
            return Err(Error::Option(format!(
                "{what} needs the model itself (a hub id, a folder or a .gguf file), not an artifact"
            )));
        }
        self.files(model)
    }

    /// The files of MODEL.
    fn files(&self, model: &str) -> Result<ModelFiles> {
        let options = HubOptions { gguf_file: self.gguf_file.clone(), ..HubOptions::from_env() };
        Ok(ModelFiles::resolve_with(model, &options)?)
    }
}

/// Where a verb writes, looked at before it works: not to what it reads.
fn output(path: &Path, inputs: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Output> {
    Output::at(path).and_then(|output| output.not_among(inputs)).map_err(Error::io("write", path))
}

/// Whether MODEL is an artifact.
fn is_artifact(model: &str) -> bool {
    Path::new(model).extension().is_some_and(|e| e == "kiln")
}

/// MODEL, loaded to write text: an artifact, or from the compile cache; and the seconds that compiling took.
fn load(model: &str, options: &CompileArgs, load: &LoadOptions) -> Result<(Arc<Model>, f64)> {
    if is_artifact(model) {
        return Ok((Model::open(model, load)?, 0.0));
    }
    let files = options.files(model)?;
    // A checkpoint that was saved from another class may have what it takes.
    let task = writing_task(&files.config).filter(|task| task_of(&files.config).ok() != Some(*task));
    load_files(&files, &CompileOptions { task, ..options.options() }, load)
}

fn load_files(files: &ModelFiles, options: &CompileOptions, load: &LoadOptions) -> Result<(Arc<Model>, f64)> {
    let start = Instant::now();
    let spinner = spinner("compiling");
    let (artifact, report) = cached_artifact(files, options, &load.artifact())?;
    spinner.finish_and_clear();
    let compile_seconds = if report.is_some() { start.elapsed().as_secs_f64() } else { 0.0 };
    Ok((Model::load(artifact, load)?, compile_seconds))
}

/// The graph of MODEL, which may be a module as text.
fn module(model: &str, options: &CompileArgs) -> Result<Module> {
    if is_artifact(model) {
        return Err(Error::Option(format!(
            "`{model}` is compiled already: give a hub id, a folder, a .gguf file, or a module as text (.kir)"
        )));
    }
    if Path::new(model).extension().is_some_and(|e| e == "kir") {
        let read = |source| Error::Io { action: "read", path: model.into(), source };
        let module = crate::ir::text::parse(&std::fs::read_to_string(model).map_err(read)?)?;
        crate::ir::verify(&module)?;
        return Ok(module);
    }
    Ok(crate::compile::trace(&options.files(model)?, &options.options())?.module)
}

/// The function of that name, or all of them.
fn blocks<'m>(module: &'m Module, name: Option<&str>) -> Result<Vec<&'m Function>> {
    let Some(name) = name else { return Ok(module.functions.iter().collect()) };
    match module.find(name) {
        Some((_, f)) => Ok(vec![f]),
        None => {
            let known = module.functions.iter().map(|f| f.name.to_string()).collect::<Vec<_>>().join(", ");
            Err(Error::Option(format!("there is no block `{name}`: expected one of {known}")))
        }
    }
}

fn spinner(message: &'static str) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// Runs a verb.
fn run(cli: Cli) -> Result<()> {
    match cli.verb {
        Verb::Compile { model, output, options, also_for, json } => compile(&model, &output, &options, &also_for, json),
        Verb::Generate { model, options, generate } => {
            let start = Instant::now();
            let (model, compile_seconds) = load(&model, &options, &generate.load_options())?;
            let load_seconds = start.elapsed().as_secs_f64() - compile_seconds;
            kiln_runtime::cli::generate(&model, &generate, load_seconds, Some(compile_seconds))?;
            Ok(())
        }
        Verb::Pipeline(args) => pipeline::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Opt(args) => opt::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Calibrate(args) => calibrate::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Graph(args) => graph::run(&args),
        Verb::Bisect(args) => bisect::run(&args),
        Verb::Cache(args) => cache::run(&args),
        Verb::Demo { prompt, max_new_tokens, threads } => demo(&prompt, max_new_tokens, threads),
    }
}

fn compile(model: &str, output: &Path, options: &CompileArgs, also_for: &[Target], json: bool) -> Result<()> {
    if is_artifact(model) {
        return Err(Error::Option(format!("`{model}` is compiled already: give a hub id, a folder or a .gguf file")));
    }
    // Before a model is fetched; `compile` looks again when it is known what it is read from.
    let target_files = also_for.iter().filter_map(|target| target.file.clone());
    self::output(output, options.inputs(model).into_iter().chain(target_files))?;
    let files = options.files(model)?;
    let spinner = spinner("compiling");
    let more_targets = also_for.iter().map(|target| target.spec.clone()).collect();
    let report = crate::compile(&files, output, &CompileOptions { more_targets, ..options.options() })?;
    spinner.finish_and_clear();
    if json {
        outln!("{}", serde_json::json!(report))?;
        return Ok(());
    }
    let CompileReport { trace_seconds, passes_seconds, codegen_seconds, write_seconds, kernels, memory, .. } = report;
    note!(
        "{}: {kernels} kernels, {} KiB of code; trace {trace_seconds:.2} s, passes {passes_seconds:.2} s, \
         code {codegen_seconds:.2} s, write {write_seconds:.2} s",
        output.display(),
        report.code_bytes / 1024
    );
    note!(
        "generating one sequence takes {} MiB at most: prepared weights {}, state {}, arena {}, inputs and outputs {}",
        memory.resident() >> 20,
        memory.prepared >> 20,
        memory.state >> 20,
        memory.arena >> 20,
        memory.io >> 20
    );
    if !report.unused_tensors.is_empty() {
        note!("tensors of the checkpoint that the model does not use: {}", report.unused_tensors.join(", "));
    }
    Ok(())
}

fn demo(prompt: &str, max_new_tokens: usize, threads: Option<usize>) -> Result<()> {
    let model = crate::fetch_default_model()?;
    let files = ModelFiles::resolve(&model)?;
    let options = CompileArgs {
        target: Target { spec: TargetSpec::x86_64_v3(), file: None },
        dtype: DType::F32,
        max_seq: None,
        gguf_file: None,
        numerics: Numerics::default(),
    };
    let args = GenerateArgs {
        prompt: vec![prompt.to_string()],
        options: ConfigArgs { max_new_tokens: Some(max_new_tokens), ..ConfigArgs::default() },
        threads,
        ..GenerateArgs::default()
    };
    let (model, compile_seconds) = load_files(&files, &options.options(), &args.load_options())?;
    out!("{prompt}")?;
    let output = kiln_runtime::cli::generate(&model, &args, 0.0, None)?;
    let t = output.timings;
    outln!(
        "{:.1} tokens/s, first token after {:.0} ms, compiled in {compile_seconds:.1} s",
        t.decode_tokens_per_second,
        t.time_to_first_token * 1e3
    )?;
    Ok(())
}
