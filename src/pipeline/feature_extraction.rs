//! feature-extraction: the hidden states of a text.

use super::save::saved;
use super::table::{Row, Run};
use super::text_model::TextModel;
use super::{PipelineOptions, input};
use crate::{LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use serde_json::{Value, json};

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

saved!(FeatureExtractionPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["feature-extraction"],
    load: |_, model, options| Ok(Box::new(FeatureExtractionPipeline::from_pretrained(model, options)?)),
};

impl Run for FeatureExtractionPipeline {
    fn name(&self) -> &'static str {
        "feature-extraction"
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        // transformers' tensors have a batch of one in front.
        let results = self.run(&input::texts(self.name(), items)?, options)?;
        Ok(results.into_iter().map(|states| json!([states])).collect())
    }
}
