//! The options of generating, as clap reads them.

use super::CliError;
use crate::generate::{ConfigError, EarlyStopping, GenerationConfig, OneOrMany, Prompt};
use crate::text::{Chat, ChatTemplates, TextError, Tokenizer};
use crate::{LoadOptions, Model};
use std::path::{Path, PathBuf};

/// What to generate, and how. Options that are not given come from the model's `generation_config.json`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GenerateArgs {
    /// The text to continue, or for an encoder-decoder's encoder, or with --chat the user's message; give it several times for a batch.
    #[arg(long, required_unless_present_any = ["input_ids", "messages"], conflicts_with_all = ["input_ids", "messages"])]
    pub prompt: Vec<String>,
    /// Token ids of such a text, `1,2,3`; give it several times for a batch.
    #[arg(long, value_parser = parse_ids)]
    pub input_ids: Vec<TokenIds>,
    /// Options of how the prompt becomes a chat.
    #[command(flatten)]
    pub chat: ChatArgs,
    /// Options of what is generated.
    #[command(flatten)]
    pub options: ConfigArgs,
    /// Threads that compute; results do not depend on it. By default, and for 0, as many as the machine has.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print one JSON object instead of streaming text.
    #[arg(long)]
    pub json: bool,
    /// Do not verify the checksum of the weights.
    #[arg(long)]
    pub trust_weights: bool,
    /// Read the artifact into memory instead of mapping it: for a file that may be changed, truncated or unmounted meanwhile.
    #[arg(long)]
    pub no_mmap: bool,
}

/// Chats.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ChatArgs {
    /// Answer as in a chat, by the model's chat template.
    #[arg(long, conflicts_with = "input_ids")]
    pub chat: bool,
    /// With --chat: a JSON file with a list of messages, instead of --prompt.
    #[arg(long, value_name = "FILE", requires = "chat")]
    pub messages: Option<PathBuf>,
    /// With --chat: the system message.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// With --chat: a JSON file with a list of tools.
    #[arg(long, value_name = "FILE", requires = "chat")]
    pub tools: Option<PathBuf>,
    /// With --chat: the template of that name, where the model has several.
    #[arg(long, value_name = "NAME", requires = "chat")]
    pub chat_template: Option<String>,
}

/// What `generation_config.json` holds, in its words.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// A generation_config.json (or a folder with one) whose options go over the model's; those given here go over both.
    #[arg(long, value_name = "FILE")]
    pub generation_config: Option<PathBuf>,
    /// Most new tokens per sequence.
    #[arg(long)]
    pub max_new_tokens: Option<usize>,
    /// Fewest new tokens per sequence.
    #[arg(long)]
    pub min_new_tokens: Option<usize>,
    /// Most tokens per sequence, prompt included; --max-new-tokens goes over it.
    #[arg(long)]
    pub max_length: Option<usize>,
    /// Fewest tokens per sequence, prompt included; --min-new-tokens goes over it.
    #[arg(long)]
    pub min_length: Option<usize>,
    /// Seconds after which no further step is taken.
    #[arg(long)]
    pub max_time: Option<f64>,
    /// Beams per prompt.
    #[arg(long)]
    pub num_beams: Option<usize>,
    /// Beams: above 0 favours long sequences, below 0 short ones.
    #[arg(long, allow_negative_numbers = true)]
    pub length_penalty: Option<f64>,
    /// Beams: when the search ends: true, false or never.
    #[arg(long, value_parser = parse_early_stopping)]
    pub early_stopping: Option<EarlyStopping>,
    /// Sequences per prompt, for beams and sampling.
    #[arg(long)]
    pub num_return_sequences: Option<usize>,
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
    /// Draw from the most likely tokens that hold this share of the entropy.
    #[arg(long)]
    pub top_h: Option<f64>,
    /// Draw from the tokens of the most typical surprise that have this probability together.
    #[arg(long)]
    pub typical_p: Option<f64>,
    /// Leave out tokens less likely than this.
    #[arg(long)]
    pub epsilon_cutoff: Option<f64>,
    /// Leave out tokens less likely than this, or than a bound that falls with the entropy.
    #[arg(long)]
    pub eta_cutoff: Option<f64>,
    /// Above 1, tokens that were there already become less likely.
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// No sequence of this many tokens occurs twice.
    #[arg(long)]
    pub no_repeat_ngram_size: Option<usize>,
    /// Above 1, tokens of the prompt, or of what an encoder takes, become likelier.
    #[arg(long)]
    pub encoder_repetition_penalty: Option<f64>,
    /// No sequence of this many tokens comes over from the prompt, or from what an encoder takes.
    #[arg(long)]
    pub encoder_no_repeat_ngram_size: Option<usize>,
    /// Token ids, `5,6`, that do not occur one after the other; give it several times for several.
    #[arg(long, value_parser = parse_ids)]
    pub bad_words_ids: Vec<TokenIds>,
    /// Token ids that do not occur, `5,6`.
    #[arg(long, value_delimiter = ',')]
    pub suppress_tokens: Vec<u32>,
    /// Token ids that are not the first new one, `5,6`.
    #[arg(long, value_delimiter = ',')]
    pub begin_suppress_tokens: Vec<u32>,
    /// The token id that an encoder-decoder's decoder begins with.
    #[arg(long)]
    pub decoder_start_token_id: Option<u32>,
    /// The token id that follows a prompt of one token.
    #[arg(long)]
    pub forced_bos_token_id: Option<u32>,
    /// The token id that ends a sequence which reaches its limit.
    #[arg(long, value_delimiter = ',')]
    pub forced_eos_token_id: Vec<u32>,
    /// `START,FACTOR`: after START new tokens the end becomes likelier, by FACTOR per token.
    #[arg(long, value_parser = parse_decay)]
    pub exponential_decay_length_penalty: Option<(usize, f64)>,
    /// Replace NaN and infinities of the model by numbers instead of failing.
    #[arg(long)]
    pub remove_invalid_values: bool,
    /// Normalise the processed logits, which beam scores are made of.
    #[arg(long)]
    pub renormalize_logits: bool,
    /// End where this text appears; give it several times for several.
    #[arg(long)]
    pub stop: Vec<String>,
    /// Token ids that end a sequence, `2,5`, instead of the model's.
    #[arg(long, value_delimiter = ',')]
    pub eos_token_id: Vec<u32>,
    /// Seed of the random numbers.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// The ids of one prompt.
#[derive(Clone, Debug)]
pub struct TokenIds(pub Vec<u32>);

fn parse_ids(text: &str) -> Result<TokenIds, String> {
    let ids = text.split(',').map(str::trim).map(|t| t.parse().map_err(|e| format!("`{t}` is not a token id: {e}")));
    ids.collect::<Result<_, String>>().map(TokenIds)
}

fn parse_early_stopping(text: &str) -> Result<EarlyStopping, String> {
    match text {
        "true" => Ok(EarlyStopping::WhenFull),
        "false" => Ok(EarlyStopping::Heuristic),
        "never" => Ok(EarlyStopping::Never),
        _ => Err("expected true, false or never".into()),
    }
}

fn parse_decay(text: &str) -> Result<(usize, f64), String> {
    let parts = text.split_once(',').and_then(|(start, factor)| Some((start.parse().ok()?, factor.parse().ok()?)));
    parts.ok_or_else(|| format!("expected START,FACTOR such as 15,1.1, found `{text}`"))
}

impl GenerateArgs {
    /// How to load the model.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            threads: self.threads,
            trust_weights: self.trust_weights,
            copy: self.no_mmap,
            ..LoadOptions::default()
        }
    }

    /// The prompts' tokens.
    pub(super) fn prompts(&self, model: &Model, tokenizer: Option<&Tokenizer>) -> Result<Vec<Prompt>, CliError> {
        if !self.input_ids.is_empty() {
            return Ok(self.input_ids.iter().map(|ids| Prompt::new(ids.0.clone())).collect());
        }
        let tokenizer = tokenizer.ok_or(CliError::NoTokenizer)?;
        if !self.chat.chat {
            let encode = |text: &String| Ok(Prompt::new(tokenizer.encode(text, true)?));
            return self.prompt.iter().map(encode).collect();
        }
        let templates = model.artifact().chat_templates()?.ok_or(CliError::NoChatTemplate)?;
        let chats = match &self.chat.messages {
            Some(path) => vec![read(path, Chat::from_json)?],
            None => self.prompt.iter().map(|text| Chat::new().with_message("user", text)).collect(),
        };
        let encode = |chat| Ok(Prompt::new(tokenizer.encode(&self.chat.text(chat, &templates)?, false)?));
        chats.into_iter().map(encode).collect()
    }
}

impl ChatArgs {
    /// The prompt that a chat is, up to where the model answers.
    fn text(&self, mut chat: Chat, templates: &ChatTemplates) -> Result<String, CliError> {
        if let Some(system) = &self.system {
            chat = chat.with_system(system);
        }
        if let Some(path) = &self.tools {
            chat = read(path, |json| chat.with_tools(json))?;
        }
        if let Some(name) = &self.chat_template {
            chat = chat.with_template(name);
        }
        Ok(templates.apply(&chat, true)?)
    }
}

/// Reads a file of JSON; errors name it.
fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, TextError>) -> Result<T, CliError> {
    let failed = |reason: String| CliError::File { path: path.to_path_buf(), reason };
    let json = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    parse(&json).map_err(|e| failed(e.to_string()))
}

impl ConfigArgs {
    /// The options that were given.
    ///
    /// # Errors
    /// When the config file cannot be read.
    pub fn config(&self) -> Result<GenerationConfig, ConfigError> {
        let file = match &self.generation_config {
            Some(path) => GenerationConfig::from_pretrained(path)?,
            None => GenerationConfig::default(),
        };
        fn list<T, U>(values: &[T], item: impl Fn(&T) -> U) -> Option<Vec<U>> {
            (!values.is_empty()).then(|| values.iter().map(item).collect())
        }
        let given = GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: self.min_new_tokens,
            max_length: self.max_length,
            min_length: self.min_length,
            max_time: self.max_time,
            num_beams: self.num_beams,
            length_penalty: self.length_penalty,
            early_stopping: self.early_stopping,
            num_return_sequences: self.num_return_sequences,
            do_sample: self.do_sample.then_some(true),
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            top_h: self.top_h,
            typical_p: self.typical_p,
            epsilon_cutoff: self.epsilon_cutoff,
            eta_cutoff: self.eta_cutoff,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            encoder_repetition_penalty: self.encoder_repetition_penalty,
            encoder_no_repeat_ngram_size: self.encoder_no_repeat_ngram_size,
            bad_words_ids: list(&self.bad_words_ids, |ids| ids.0.clone()),
            suppress_tokens: list(&self.suppress_tokens, |id| i64::from(*id)),
            begin_suppress_tokens: list(&self.begin_suppress_tokens, |id| i64::from(*id)),
            decoder_start_token_id: self.decoder_start_token_id,
            forced_bos_token_id: self.forced_bos_token_id,
            forced_eos_token_id: list(&self.forced_eos_token_id, |id| *id).map(OneOrMany::Many),
            exponential_decay_length_penalty: self.exponential_decay_length_penalty,
            remove_invalid_values: self.remove_invalid_values.then_some(true),
            renormalize_logits: self.renormalize_logits.then_some(true),
            stop_strings: list(&self.stop, String::clone).map(OneOrMany::Many),
            eos_token_id: list(&self.eos_token_id, |id| *id).map(OneOrMany::Many),
            seed: self.seed,
            ..GenerationConfig::default()
        };
        Ok(file.overridden_by(&given))
    }
}
