//! feature-extraction: the hidden states of a text.

use super::text_model::TextModel;
use crate::{PretrainedOptions, Result};
use kiln_models::Task;

/// Gives the hidden states of texts.
#[derive(Debug)]
pub struct FeatureExtractionPipeline {
    text_model: TextModel,
}

impl FeatureExtractionPipeline {
    /// Loads a model's body.
    ///
    /// # Errors
    /// A model without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Ok(Self { text_model: TextModel::load(model, Task::Base, options)? })
    }

    /// The last hidden states of each text, `[tokens][hidden]`, special tokens included.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split.
    pub fn run(&self, texts: &[String]) -> Result<Vec<Vec<Vec<f32>>>> {
        let encodings = texts.iter().map(|t| self.text_model.encode(t, None)).collect::<Result<Vec<_>>>()?;
        let rows = self.text_model.forward(&encodings, &["last_hidden_state"])?;
        Ok(rows.iter().map(|r| r[0].iter().map(<[f32]>::to_vec).collect()).collect())
    }
}
