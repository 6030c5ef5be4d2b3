//! feature-extraction: the hidden states of a text.

use super::PipelineOptions;
use super::text_model::TextModel;
use crate::{PretrainedOptions, Result};
use kiln_models::Task;

/// Gives the hidden states of texts.
#[derive(Debug)]
pub struct FeatureExtractionPipeline {
    pub(super) text_model: TextModel,
}

impl FeatureExtractionPipeline {
    /// Loads a model's body.
    ///
    /// # Errors
    /// A model without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Ok(Self { text_model: TextModel::load(model, Task::Base, options)? })
    }

    /// The last hidden states of each text, `[tokens][hidden]`, special tokens included, and padding where the options ask for it.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split.
    pub fn run(&self, texts: &[String], options: &PipelineOptions) -> Result<Vec<Vec<Vec<f32>>>> {
        let mut encodings = vec![];
        for text in texts {
            encodings.extend(self.text_model.encode(&[(text, None)], options.tokenizer_kwargs.as_ref())?);
        }
        let rows = self.text_model.forward(&encodings, &["last_hidden_state"], options.batch_size)?;
        Ok(rows.iter().map(|r| r[0].iter().map(<[f32]>::to_vec).collect()).collect())
    }
}
