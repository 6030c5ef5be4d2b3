//! A model by name, compiled and loaded for a task, with its config and tokenizer: what all Auto classes are made of.

use super::PretrainedOptions;
use super::config::section_json;
use crate::{Error, Model, ModelFiles, Result};
use kiln_models::Task;
use kiln_runtime::Section;
use kiln_runtime::text::Tokenizer;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// A model, compiled and loaded.
pub struct LoadedModel {
    name: String,
    task: Task,
    model: Arc<Model>,
    /// None for a model that came as an artifact.
    files: Option<ModelFiles>,
    config: Value,
    tokenizer: Option<Tokenizer>,
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedModel").field("name", &self.name).field("task", &self.task).finish_non_exhaustive()
    }
}

impl LoadedModel {
    pub(super) fn load(name: &str, task: Task, options: &PretrainedOptions) -> Result<Self> {
        let (model, files) = options.open(name, task)?;
        Self::new(name, task, model, files)
    }

    pub(super) fn new(name: &str, task: Task, model: Arc<Model>, files: Option<ModelFiles>) -> Result<Self> {
        Ok(LoadedModel {
            name: name.to_string(),
            task,
            config: section_json(model.artifact(), Section::Config, "config.json")?,
            tokenizer: model.artifact().tokenizer()?,
            model,
            files,
        })
    }

    /// The name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The task that it was loaded for.
    pub fn task(&self) -> Task {
        self.task
    }

    /// The loaded program, for sessions of your own.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The model's `config.json`.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Writes the model into a folder, as transformers lays it out: `config.json`, `generation_config.json`, the tokenizer's files and
    /// `model.safetensors` with the weights as the model came with them (those in GGUF's blocks become f32). `from_pretrained` and
    /// transformers read it.
    ///
    /// # Errors
    /// When a file cannot be written; for a model that was loaded from an artifact, which holds no checkpoint.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        match &self.files {
            Some(files) => Ok(files.save_pretrained(folder)?),
            None => Err(Error::Option(format!(
                "`{}` is an artifact, which holds no checkpoint: load the model that it was compiled from, and save that",
                self.name
            ))),
        }
    }
}
