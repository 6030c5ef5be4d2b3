//! Models that generate.

use super::{LoadedModel, PretrainedOptions};
use crate::{Error, Result};
use kiln_models::Task;
use kiln_runtime::generate::{GenerationConfig, Output, Prompt, Request, generate};
use kiln_runtime::text::{Chat, ChatTemplates};
use kiln_runtime::{CausalSession, LoadOptions, Model};
use std::{ops::ControlFlow, ops::Deref, path::Path};

/// A language model that generates, compiled and loaded, with its tokenizer.
#[derive(Debug)]
pub struct Generative {
    loaded: LoadedModel,
    generation_config: GenerationConfig,
}

impl Deref for Generative {
    type Target = LoadedModel;

    fn deref(&self) -> &LoadedModel {
        &self.loaded
    }
}

impl Generative {
    /// Loads MODEL for a task: [`Task::CausalLm`] or [`Task::Seq2SeqLm`].
    ///
    /// # Errors
    /// As the Auto classes' `from_pretrained_with`.
    pub fn load(name: &str, task: Task, options: &PretrainedOptions) -> Result<Self> {
        Self::new(LoadedModel::load(name, task, options)?)
    }

    pub(super) fn from_artifact(path: &Path, task: Task, options: &LoadOptions) -> Result<Self> {
        Self::new(LoadedModel::new(&path.to_string_lossy(), task, Model::open(path, options)?, None)?)
    }

    fn new(loaded: LoadedModel) -> Result<Self> {
        Ok(Generative { generation_config: loaded.model().artifact().generation_config()?, loaded })
    }

    /// The model's own generation config: its `generation_config.json`, else what its `config.json` says of generating.
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.generation_config
    }

    /// The prompt that a chat is, by the model's chat template; with `add_generation_prompt`, as far as to where its answer begins.
    ///
    /// # Errors
    /// A model without a chat template, or a chat that its template refuses.
    pub fn apply_chat_template(&self, chat: &Chat, add_generation_prompt: bool) -> Result<String> {
        Ok(self.chat_templates()?.apply(chat, add_generation_prompt)?)
    }

    /// The prompt that a chat is as far as to the end of its last message, for the model to go on with that message.
    ///
    /// # Errors
    /// As [`apply_chat_template`](Self::apply_chat_template), or a last message that is no text.
    pub fn apply_chat_template_unfinished(&self, chat: &Chat) -> Result<String> {
        Ok(self.chat_templates()?.apply_unfinished(chat)?)
    }

    fn chat_templates(&self) -> Result<ChatTemplates> {
        let templates = self.model().artifact().chat_templates()?;
        templates.ok_or_else(|| Error::NoChatTemplate { model: self.name().into() })
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

    fn continue_text(
        &self,
        prompt: &str,
        add_special_tokens: bool,
        config: &GenerationConfig,
        on_text: impl FnMut(&str),
    ) -> Result<Output> {
        let tokenizer = self.tokenizer().ok_or_else(|| Error::NoTokenizer { model: self.name().into() })?;
        self.generate_ids(&[tokenizer.encode(prompt, add_special_tokens)?], config, on_text)
    }

    /// Continues several rows of token ids at once, or makes texts of them.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_ids(
        &self,
        prompts: &[Vec<u32>],
        config: &GenerationConfig,
        mut on_text: impl FnMut(&str),
    ) -> Result<Output> {
        let prompts: Vec<Prompt> = prompts.iter().cloned().map(Prompt::new).collect();
        let mut session = CausalSession::for_prompts(self.model(), &prompts, config)?;
        let detokenizer = self.tokenizer().map(|t| t as _);
        let request = Request { detokenizer, ..Request::new(&prompts, config) };
        Ok(generate(&mut session, request, |event| {
            on_text(&event.text);
            ControlFlow::Continue(())
        })?)
    }
}
