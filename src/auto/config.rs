//! A model's tokenizer and config alone.

use super::PretrainedOptions;
use super::options::is_artifact;
use crate::{Error, Result};
use kiln_models::source::{TOKENIZER, TOKENIZER_CONFIG};
use kiln_runtime::text::Tokenizer;
use kiln_runtime::{Artifact, OpenOptions, Section};
use serde_json::Value;

/// Loads tokenizers by a model's name.
#[derive(Debug)]
pub struct AutoTokenizer;

impl AutoTokenizer {
    /// The tokenizer of MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact).
    ///
    /// # Errors
    /// A model without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str) -> Result<Tokenizer> {
        Self::from_pretrained_with(model, &PretrainedOptions::default())
    }

    /// As [`from_pretrained`](Self::from_pretrained), with options.
    ///
    /// # Errors
    /// The same.
    pub fn from_pretrained_with(model: &str, options: &PretrainedOptions) -> Result<Tokenizer> {
        let tokenizer = match is_artifact(model) {
            true => open(model)?.tokenizer()?,
            false => {
                let files = options.files(model)?;
                let of_model = |json| Tokenizer::of_model(json, files.processors.get(TOKENIZER_CONFIG));
                files.processors.get(TOKENIZER).map(of_model).transpose()?
            }
        };
        tokenizer.ok_or_else(|| Error::NoTokenizer { model: model.into() })
    }
}

/// Loads configs by a model's name.
#[derive(Debug)]
pub struct AutoConfig;

impl AutoConfig {
    /// The `config.json` of MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact), with its `model_type`.
    ///
    /// # Errors
    /// Whatever is wrong with the model's files.
    pub fn from_pretrained(model: &str) -> Result<Value> {
        Self::from_pretrained_with(model, &PretrainedOptions::default())
    }

    /// As [`from_pretrained`](Self::from_pretrained), with options.
    ///
    /// # Errors
    /// The same.
    pub fn from_pretrained_with(model: &str, options: &PretrainedOptions) -> Result<Value> {
        if is_artifact(model) {
            return section_json(&open(model)?, Section::Config, "config.json");
        }
        Ok(options.files(model)?.config)
    }
}

fn open(model: &str) -> Result<Artifact> {
    Ok(Artifact::open(model, &OpenOptions::default())?)
}

/// A JSON text that an artifact holds; `null` where it holds none.
pub(super) fn section_json(artifact: &Artifact, section: Section, file: &str) -> Result<Value> {
    let Some(json) = artifact.section(section) else { return Ok(Value::Null) };
    serde_json::from_slice(json).map_err(|e| Error::Option(format!("{}: {file} is no JSON: {e}", artifact.name())))
}
