//! Causal language models, which generate.

use super::PretrainedOptions;
use crate::Result;
use kiln_models::Task;
use kiln_runtime::generate::{GenerationConfig, Output, Prompt, Request, generate};
use kiln_runtime::text::{Chat, Tokenizer};
use kiln_runtime::{CausalSession, LoadOptions, Model, cli};
use std::{ops::ControlFlow, path::Path, sync::Arc};

/// A causal language model, or an encoder-decoder, compiled and loaded, with its tokenizer.
pub struct AutoModelForCausalLM {
    model: Arc<Model>,
    tokenizer: Option<Tokenizer>,
    generation_config: GenerationConfig,
}

impl AutoModelForCausalLM {
    /// Loads MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact), compiling it if the compile cache does not hold it.
    ///
    /// # Errors
    /// Whatever is wrong with the model's files.
    pub fn from_pretrained(model: &str) -> Result<Self> {
        Self::from_pretrained_with(model, &PretrainedOptions::default())
    }

    /// As [`from_pretrained`](Self::from_pretrained), with options.
    ///
    /// # Errors
    /// The same, and options that make no sense.
    pub fn from_pretrained_with(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Self::from_model(options.open(model, Task::CausalLm)?)
    }

    /// Loads an artifact. It holds machine code: load only artifacts you trust.
    ///
    /// # Errors
    /// When the artifact is damaged or was built for another machine.
    pub fn from_artifact(path: &Path, options: &LoadOptions) -> Result<Self> {
        Self::from_model(Model::open(path, options)?)
    }

    fn from_model(model: Arc<Model>) -> Result<Self> {
        Ok(AutoModelForCausalLM {
            tokenizer: cli::tokenizer(&model)?,
            generation_config: cli::generation_config(&model)?,
            model,
        })
    }

    /// The model's own generation config.
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.generation_config
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The loaded program, for sessions of your own.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The prompt that a chat is, by the model's chat template; with `add_generation_prompt`, as far as to where its answer begins.
    ///
    /// # Errors
    /// A model without a chat template, or a chat that its template refuses.
    pub fn apply_chat_template(&self, chat: &Chat, add_generation_prompt: bool) -> Result<String> {
        let templates = cli::chat_templates(&self.model)?.ok_or(cli::CliError::NoChatTemplate)?;
        Ok(templates.apply(chat, add_generation_prompt)?)
    }

    /// Continues a text, or with an encoder-decoder makes one of it, giving each piece of the new text to `on_text` as it comes; with beams, when all of it is there.
    ///
    /// # Errors
    /// A model without a tokenizer, a prompt longer than the context, options that make no sense.
    pub fn generate(&self, prompt: &str, config: &GenerationConfig, on_text: impl FnMut(&str)) -> Result<Output> {
        self.continue_text(prompt, true, config, on_text)
    }

    /// Answers in a chat, giving each piece of the answer to `on_text` as it comes.
    ///
    /// # Errors
    /// As [`generate`](Self::generate) and [`apply_chat_template`](Self::apply_chat_template).
    pub fn chat(&self, chat: &Chat, config: &GenerationConfig, on_text: impl FnMut(&str)) -> Result<Output> {
        // The template writes the special tokens.
        self.continue_text(&self.apply_chat_template(chat, true)?, false, config, on_text)
    }

    /// Continues token ids, each prompt in a row of its own of one batch; no tokenizer takes part.
    ///
    /// # Errors
    /// A prompt longer than the context, options that make no sense, stop strings.
    pub fn generate_ids(&self, prompts: &[Vec<u32>], config: &GenerationConfig) -> Result<Output> {
        let prompts: Vec<Prompt> = prompts.iter().map(|ids| Prompt::new(ids.clone())).collect();
        let mut session = CausalSession::for_prompts(&self.model, &prompts, config)?;
        Ok(generate(&mut session, Request::new(&prompts, config), |_| ControlFlow::Continue(()))?)
    }

    fn continue_text(
        &self,
        prompt: &str,
        add_special_tokens: bool,
        config: &GenerationConfig,
        mut on_text: impl FnMut(&str),
    ) -> Result<Output> {
        let tokenizer = self.tokenizer.as_ref().ok_or(cli::CliError::NoTokenizer)?;
        let prompts = [Prompt::new(tokenizer.encode(prompt, add_special_tokens)?)];
        let mut session = CausalSession::for_prompts(&self.model, &prompts, config)?;
        let request = Request { detokenizer: Some(tokenizer), ..Request::new(&prompts, config) };
        Ok(generate(&mut session, request, |event| {
            on_text(&event.text);
            ControlFlow::Continue(())
        })?)
    }
}
