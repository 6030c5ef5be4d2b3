//! `kiln pipeline`: texts in, transformers' results out.

use super::CompileArgs;
use clap::{Args, ValueEnum};
use kiln::pipeline::{AggregationStrategy, FunctionToApply};
use kiln::{Error, GenerationConfig, Pipeline, PipelineOptions, PretrainedOptions, Result};
use serde_json::Value;
use std::path::PathBuf;

#[derive(Args)]
pub struct PipelineArgs {
    /// The pipeline's name, such as text-classification.
    task: String,
    /// A hub id, a folder, a .gguf file or a .kiln artifact.
    #[arg(long)]
    model: String,
    #[command(flatten)]
    compile: CompileArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    options: OptionArgs,
    /// Threads that compute.
    #[arg(long)]
    threads: Option<usize>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct InputArgs {
    /// The text; several are given one by one.
    #[arg(long)]
    input: Vec<String>,
    /// A file with one JSON input (a text, or what else the pipeline takes) on each line.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// What the pipeline can be told.
#[derive(Args)]
struct OptionArgs {
    /// How many results: text-classification, fill-mask.
    #[arg(long)]
    top_k: Option<usize>,
    /// What to make of scores: text-classification.
    #[arg(long)]
    function_to_apply: Option<Function>,
    /// How tokens become entities: token-classification.
    #[arg(long, default_value = "none")]
    aggregation_strategy: Aggregation,
    /// Tokens to choose from, separated by commas: fill-mask.
    #[arg(long, value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Labels to choose from, separated by commas: zero-shot-classification.
    #[arg(long, value_delimiter = ',')]
    candidate_labels: Vec<String>,
    /// The sentence about a label, with {} in its place: zero-shot-classification.
    #[arg(long)]
    hypothesis_template: Option<String>,
    /// Several labels may be true: zero-shot-classification.
    #[arg(long)]
    multi_label: bool,
    /// Most new tokens: text-generation.
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Sample, or take the likeliest token: text-generation.
    #[arg(long)]
    do_sample: Option<bool>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Function {
    Softmax,
    Sigmoid,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum Aggregation {
    None,
    Simple,
    First,
    Average,
    Max,
}

impl OptionArgs {
    fn options(&self) -> PipelineOptions {
        PipelineOptions {
            top_k: self.top_k,
            function_to_apply: self.function_to_apply.map(|f| match f {
                Function::Softmax => FunctionToApply::Softmax,
                Function::Sigmoid => FunctionToApply::Sigmoid,
                Function::None => FunctionToApply::None,
            }),
            aggregation_strategy: match self.aggregation_strategy {
                Aggregation::None => AggregationStrategy::None,
                Aggregation::Simple => AggregationStrategy::Simple,
                Aggregation::First => AggregationStrategy::First,
                Aggregation::Average => AggregationStrategy::Average,
                Aggregation::Max => AggregationStrategy::Max,
            },
            targets: self.targets.clone(),
            candidate_labels: self.candidate_labels.iter().map(|l| l.trim().to_string()).collect(),
            hypothesis_template: self.hypothesis_template.clone(),
            multi_label: self.multi_label,
            generation_config: Some(GenerationConfig {
                max_new_tokens: self.max_new_tokens,
                do_sample: self.do_sample,
                ..GenerationConfig::default()
            }),
            ..PipelineOptions::default()
        }
    }
}

impl InputArgs {
    /// One input, or a list.
    fn read(&self) -> Result<Value> {
        let Some(path) = &self.file else {
            return Ok(match self.input.as_slice() {
                [one] => one.as_str().into(),
                all => all.into(),
            });
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Io { action: "read", path: path.clone(), source })?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parsed = lines.map(|(i, line)| {
            serde_json::from_str::<Value>(line).map_err(|e| {
                let place = format!("{}, line {}", path.display(), i + 1);
                Error::Option(format!("{place}: expected a JSON text or object, found `{line}`: {e}"))
            })
        });
        parsed.collect()
    }
}

pub fn run(args: &PipelineArgs) -> Result<()> {
    let input = args.input.read()?;
    let options = args.compile.pretrained(args.threads);
    let pipeline = Pipeline::from_pretrained(&args.task, &args.model, &options)?;
    let result = pipeline.run(&input, &args.options.options())?;
    match (&result, args.json) {
        (_, true) => println!("{result}"),
        // One result on a line.
        (Value::Array(items), false) => items.iter().for_each(|item| println!("{item}")),
        (one, false) => println!("{one}"),
    }
    Ok(())
}

impl CompileArgs {
    /// The same for a model by name.
    fn pretrained(&self, threads: Option<usize>) -> PretrainedOptions {
        PretrainedOptions {
            target: self.target.clone(),
            dtype: self.dtype,
            max_seq: self.max_seq,
            gguf_file: self.gguf_file.clone(),
            threads,
            ..PretrainedOptions::default()
        }
    }
}
