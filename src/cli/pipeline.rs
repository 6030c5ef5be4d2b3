//! `kiln pipeline`: texts in, transformers' results out.

use super::CompileArgs;
use super::progress::{downloads, of_inputs};
use crate::{Error, Pipeline, PipelineOptions, PretrainedOptions, Result};
use clap::{ArgGroup, Args};
use kiln_runtime::cli::CliError;
use serde_json::{Map, Value, json};
use std::io::Write;
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
    options: Box<OptionArgs>,
    /// Threads that compute; by default, and for 0, as many as the machine has.
    #[arg(long)]
    threads: Option<usize>,
    /// Read the artifact into memory instead of mapping it: for a file that may be changed, truncated or unmounted meanwhile.
    #[arg(long)]
    no_mmap: bool,
    /// Print one JSON value: the result of one input, or a list with one for each. Otherwise each result has a line of its own.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("inputs").args(["input", "file", "question"]).required(true))]
struct InputArgs {
    /// The text; several are given one by one.
    #[arg(long)]
    input: Vec<String>,
    /// A file with one JSON input (a text, or what else the pipeline takes) on each line.
    #[arg(long)]
    file: Option<PathBuf>,
    /// question-answering: the question; several are given one by one.
    #[arg(long, requires = "context")]
    question: Vec<String>,
    /// question-answering: the text that holds the answer.
    #[arg(long, requires = "question")]
    context: Option<String>,
}

/// What the pipeline can be told.
#[derive(Args)]
struct OptionArgs {
    /// A JSON object of options under transformers' names, for those that have no flag here. Flags go over it.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// How many results, or all: text-classification, fill-mask, question-answering.
    #[arg(long, value_parser = parse_top_k)]
    top_k: Option<Value>,
    /// What to make of scores: text-classification.
    #[arg(long, value_parser = ["softmax", "sigmoid", "none"])]
    function_to_apply: Option<String>,
    /// How tokens become entities: token-classification.
    #[arg(long, value_parser = ["none", "simple", "first", "average", "max"])]
    aggregation_strategy: Option<String>,
    /// Take longer texts in pieces that share so many tokens: token-classification.
    #[arg(long)]
    stride: Option<usize>,
    /// Tokens to choose from, separated by commas: fill-mask.
    #[arg(long, value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Labels to choose from, separated by commas: zero-shot-classification.
    #[arg(long)]
    candidate_labels: Option<String>,
    /// The sentence about a label, with {} in its place: zero-shot-classification.
    #[arg(long)]
    hypothesis_template: Option<String>,
    /// Several labels may be true: zero-shot-classification.
    #[arg(long)]
    multi_label: bool,
    /// Most tokens of an answer: question-answering.
    #[arg(long)]
    max_answer_len: Option<usize>,
    /// "No answer" is an answer: question-answering.
    #[arg(long)]
    handle_impossible_answer: bool,
    /// Most new tokens: text-generation, summarization, translation, text2text-generation.
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Sample, or take the likeliest token: the same.
    #[arg(long)]
    do_sample: Option<bool>,
    /// Beams: the same.
    #[arg(long)]
    num_beams: Option<usize>,
    /// Whether the prompt comes back too: text-generation.
    #[arg(long)]
    return_full_text: Option<bool>,
    /// Texts that go through the model at once.
    #[arg(long)]
    batch_size: Option<usize>,
}

fn parse_top_k(text: &str) -> std::result::Result<Value, String> {
    match (text, text.parse::<usize>()) {
        ("all", _) => Ok(Value::Null),
        (_, Ok(number)) => Ok(number.into()),
        _ => Err("expected a number or all".into()),
    }
}

impl OptionArgs {
    fn options(&self) -> Result<PipelineOptions> {
        let wrong = |e: serde_json::Error| Error::Option(format!("--options: {e}"));
        let mut options: Map<String, Value> = serde_json::from_str(&self.options).map_err(wrong)?;
        let mut generation = Map::new();
        if let Some(Value::Object(given)) = options.remove("generation_config") {
            generation = given;
        }
        let given = [
            ("max_new_tokens", self.max_new_tokens.map(Value::from)),
            ("do_sample", self.do_sample.map(Value::from)),
            ("num_beams", self.num_beams.map(Value::from)),
        ];
        generation.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
        let given = [
            ("top_k", self.top_k.clone()),
            ("function_to_apply", self.function_to_apply.clone().map(Value::from)),
            ("aggregation_strategy", self.aggregation_strategy.clone().map(Value::from)),
            ("stride", self.stride.map(Value::from)),
            ("targets", self.targets.clone().map(Value::from)),
            ("candidate_labels", self.candidate_labels.clone().map(Value::from)),
            ("hypothesis_template", self.hypothesis_template.clone().map(Value::from)),
            ("multi_label", self.multi_label.then_some(true.into())),
            ("max_answer_len", self.max_answer_len.map(Value::from)),
            ("handle_impossible_answer", self.handle_impossible_answer.then_some(true.into())),
            ("return_full_text", self.return_full_text.map(Value::from)),
            ("batch_size", self.batch_size.map(Value::from)),
            ("generation_config", Some(Value::from(generation))),
        ];
        options.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
        serde_json::from_value(options.into()).map_err(wrong)
    }
}

impl InputArgs {
    /// The inputs.
    fn read(&self) -> Result<Vec<Value>> {
        if let Some(context) = &self.context {
            return Ok(self.question.iter().map(|q| json!({"question": q, "context": context})).collect());
        }
        let Some(path) = &self.file else { return Ok(self.input.iter().map(|text| json!(text)).collect()) };
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
    let inputs = args.input.read()?;
    let options = args.options.options()?;
    let pretrained = PretrainedOptions { threads: args.threads, copy: args.no_mmap, ..args.compile.pretrained() };
    let pipeline = Pipeline::from_pretrained(&args.task, &args.model, &pretrained)?;
    let write = |result: &Value| writeln!(std::io::stdout(), "{result}");
    if let ([one], true) = (inputs.as_slice(), args.json && args.input.file.is_none()) {
        return Ok(write(&pipeline.run(one, &options)?).map_err(CliError::from)?);
    }
    let (mut all, mut written) = (vec![], Ok(()));
    let bar = of_inputs(inputs.len());
    for inputs in inputs.chunks(pipeline.batch_size(&options)) {
        let results = pipeline.run_each(inputs, &options)?;
        bar.inc(results.len() as u64);
        match args.json {
            true => all.extend(results),
            false => written = bar.suspend(|| results.iter().try_for_each(write)),
        }
        if written.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
    if args.json {
        written = write(&all.into());
    }
    Ok(written.map_err(CliError::from)?)
}

impl CompileArgs {
    /// The same for a model by name.
    fn pretrained(&self) -> PretrainedOptions {
        PretrainedOptions {
            target: self.target.spec.clone(),
            dtype: self.dtype,
            max_seq: self.max_seq,
            numerics: self.numerics,
            gguf_file: self.gguf_file.clone(),
            progress: downloads(),
            ..PretrainedOptions::default()
        }
    }
}
