//! `generate` on the command line: the options that `kiln generate` and `kiln-run` share, and what they print.

use crate::generate::{GenerateError, GenerationConfig, OneOrMany, Output, Prompt, Request};
use crate::text::{TextError, Tokenizer};
use crate::{CausalSession, LoadOptions, Model, Section};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Loading or running the model.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
    /// The request.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The generation config in the artifact.
    #[error("the artifact's generation config: {0}")]
    Config(#[from] crate::generate::ConfigError),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A prompt without a tokenizer.
    #[error("--prompt needs a tokenizer, and the artifact has none: give token ids with --input-ids")]
    NoTokenizer,
    /// Writing to stdout.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] std::io::Error),
}

/// What to generate, and how. Options that are not given come from the model's `generation_config.json`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GenerateArgs {
    /// The text to continue; give it several times for a batch.
    #[arg(long, required_unless_present = "input_ids", conflicts_with = "input_ids")]
    pub prompt: Vec<String>,
    /// Token ids to continue, `1,2,3`; give it several times for a batch.
    #[arg(long, value_parser = parse_ids)]
    pub input_ids: Vec<TokenIds>,
    /// Most new tokens per sequence.
    #[arg(long)]
    pub max_new_tokens: Option<usize>,
    /// Draw tokens at random instead of taking the most likely one.
    #[arg(long)]
    pub do_sample: bool,
    /// Divides the logits before drawing.
    #[arg(long)]
    pub temperature: Option<f32>,
    /// Draw from this many most likely tokens; 0 for all.
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Draw from the most likely tokens that have this probability together.
    #[arg(long)]
    pub top_p: Option<f64>,
    /// Leave out tokens less likely than this times the most likely one.
    #[arg(long)]
    pub min_p: Option<f32>,
    /// Above 1, tokens that were there already become less likely.
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// No sequence of this many tokens occurs twice.
    #[arg(long)]
    pub no_repeat_ngram_size: Option<usize>,
    /// End where this text appears; give it several times for several.
    #[arg(long)]
    pub stop: Vec<String>,
    /// Token ids that end a sequence, `2,5`, instead of the model's.
    #[arg(long, value_delimiter = ',')]
    pub eos_token_id: Vec<u32>,
    /// Seed of the random numbers.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads that compute; results do not depend on it. Default: all cores.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print one JSON object instead of streaming text.
    #[arg(long)]
    pub json: bool,
    /// Do not verify the checksum of the weights.
    #[arg(long)]
    pub trust_weights: bool,
}

/// The ids of one prompt.
#[derive(Clone, Debug)]
pub struct TokenIds(pub Vec<u32>);

fn parse_ids(text: &str) -> Result<TokenIds, String> {
    let ids = text.split(',').map(str::trim).map(|t| t.parse().map_err(|e| format!("`{t}` is not a token id: {e}")));
    ids.collect::<Result<_, String>>().map(TokenIds)
}

impl GenerateArgs {
    /// How to load the model.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions { threads: self.threads, workers: None, trust_weights: self.trust_weights }
    }

    fn config(&self) -> GenerationConfig {
        let some = |v: &[String]| (!v.is_empty()).then(|| OneOrMany::Many(v.to_vec()));
        GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            do_sample: self.do_sample.then_some(true),
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            eos_token_id: (!self.eos_token_id.is_empty()).then(|| OneOrMany::Many(self.eos_token_id.clone())),
            seed: self.seed,
            stop_strings: some(&self.stop),
            ..GenerationConfig::default()
        }
    }
}

#[derive(Serialize)]
struct JsonTimings {
    #[serde(skip_serializing_if = "Option::is_none")]
    compile_seconds: Option<f64>,
    load_seconds: f64,
    #[serde(flatten)]
    generate: crate::generate::Timings,
}

/// The generation config that an artifact holds.
///
/// # Errors
/// When it does not parse.
pub fn generation_config(model: &Model) -> Result<GenerationConfig, CliError> {
    match model.artifact().section(Section::GenerationConfig) {
        Some(json) => Ok(GenerationConfig::from_json(json)?),
        None => Ok(GenerationConfig::default()),
    }
}

/// The tokenizer that an artifact holds, if it has one.
///
/// # Errors
/// When it does not parse.
pub fn tokenizer(model: &Model) -> Result<Option<Tokenizer>, CliError> {
    Ok(model.artifact().section(Section::Tokenizer).map(Tokenizer::from_bytes).transpose()?)
}

/// Generates, and prints the text as it comes, or one JSON object.
///
/// # Errors
/// Whatever is wrong with the request or the artifact.
pub fn generate(
    model: &Arc<Model>,
    args: &GenerateArgs,
    load_seconds: f64,
    compile_seconds: Option<f64>,
) -> Result<Output, CliError> {
    let config = generation_config(model)?.overridden_by(&args.config());
    let tokenizer = tokenizer(model)?;
    let prompts: Vec<Prompt> = if args.prompt.is_empty() {
        args.input_ids.iter().map(|ids| Prompt::new(ids.0.clone())).collect()
    } else {
        let tokenizer = tokenizer.as_ref().ok_or(CliError::NoTokenizer)?;
        let encode = |p: &String| Ok(Prompt::new(tokenizer.encode(p, true)?));
        args.prompt.iter().map(encode).collect::<Result<_, CliError>>()?
    };
    let mut session = CausalSession::for_prompts(model, prompts.len(), &config)?;
    let mut request = Request::new(&prompts, &config);
    request.detokenizer = tokenizer.as_ref().map(|t| t as _);
    let stream = !args.json && prompts.len() == 1;
    let mut stdout = std::io::stdout().lock();
    let mut written = Ok(());
    let output = crate::generate::generate(&mut session, request, |event| {
        if !stream {
            return ControlFlow::Continue(());
        }
        let piece = if tokenizer.is_some() { event.text.clone() } else { format!("{} ", event.id) };
        written = stdout.write_all(piece.as_bytes()).and_then(|()| stdout.flush());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    if args.json {
        let timings = JsonTimings { compile_seconds, load_seconds, generate: output.timings };
        let mut object = match output.rows.as_slice() {
            [row] => serde_json::to_value(row),
            rows => serde_json::to_value(rows).map(|rows| serde_json::json!({ "rows": rows })),
        }
        .map_err(std::io::Error::from)?;
        object["timings"] = serde_json::to_value(timings).map_err(std::io::Error::from)?;
        if let Some(seed) = output.seed {
            object["seed"] = seed.into();
        }
        writeln!(stdout, "{object}")?;
    } else if stream {
        writeln!(stdout)?;
    } else {
        for (i, row) in output.rows.iter().enumerate() {
            match &row.text {
                Some(text) => writeln!(stdout, "[{i}] {text}")?,
                None => writeln!(stdout, "[{i}] {:?}", row.token_ids)?,
            }
        }
    }
    Ok(output)
}
