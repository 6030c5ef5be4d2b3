//! The `kiln` command, a file for each verb.
//!
//! It is behind the feature `cli`. A program that registers architectures of its own has the same command with them:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     // kiln_models::auto::register("my_model", &[kiln::Task::CausalLm], my_model::trace);
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
mod model;
mod opt;
mod pipeline;
mod print;
mod progress;
mod run;
mod verify;

use crate::{CompileOptions, CompileReport, DType, Error, HubOptions, ModelFiles, Numerics, Result, TargetSpec};
use clap::{Parser, Subcommand};
use kiln_runtime::cli::{CliError, ConfigArgs, GenerateArgs};
use model::{CompileArgs, Target, blocks, is_artifact, load, load_files, module, output, parse_target};
use print::{note, out, outln};
use progress::{downloads, spinner};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
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
    let hub = HubOptions { progress: downloads(), ..HubOptions::from_env() };
    let files = ModelFiles::resolve_with(&crate::fetch_default_model(&hub)?, &hub)?;
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
