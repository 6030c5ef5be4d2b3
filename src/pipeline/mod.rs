//! Pipelines: from a text to an answer, under the names, with the inputs and with the output fields that transformers has.
//!
//! ```no_run
//! use kiln::{PipelineOptions, pipeline};
//!
//! # fn main() -> kiln::Result<()> {
//! let classify = pipeline("sentiment-analysis", "distilbert/distilbert-base-uncased-finetuned-sst-2-english")?;
//! let result = classify.run(&"We are very happy.".into(), &PipelineOptions::default())?;
//! println!("{result}"); // [{"label":"POSITIVE","score":0.9998}]
//! # Ok(())
//! # }
//! ```
//!
//! [`pipeline()`] chooses by name and speaks JSON; the type of each task, such as [`TextClassificationPipeline`], speaks Rust. Texts go
//! through the model in batches, padded on the right; what is longer than the model takes is cut, where transformers fails.
//!
//! Each pipeline is a file here, which says of its names, of how it is loaded and of its JSON in a `Row`, and a line of `TABLE`.

mod feature_extraction;
mod fill_mask;
mod input;
mod options;
mod question_answering;
mod save;
mod scores;
mod table;
mod text2text;
mod text_classification;
mod text_generation;
mod text_model;
mod token_classification;
mod zero_shot_classification;

pub use feature_extraction::FeatureExtractionPipeline;
pub use fill_mask::{FillMaskPipeline, FilledMask};
pub use input::{GenerationInput, TextPair};
pub use options::{AggregationStrategy, FunctionToApply, PipelineOptions};
pub use question_answering::{Answer, Question, QuestionAnsweringPipeline};
pub use text_classification::{Classification, TextClassificationPipeline};
pub use text_generation::{Generated, TextGenerationPipeline};
pub use text2text::{Text2Text, Text2TextGenerationPipeline};
pub use token_classification::{Entity, TokenClassificationPipeline};
pub use zero_shot_classification::{ZeroShotClassification, ZeroShotClassificationPipeline};

use crate::{Error, PretrainedOptions, Result};
use input::Inputs;
use serde_json::Value;
use std::path::Path;
use table::{Row, Run};

/// The pipelines.
const TABLE: [Row; 8] = [
    text_classification::ROW,
    token_classification::ROW,
    fill_mask::ROW,
    question_answering::ROW,
    feature_extraction::ROW,
    zero_shot_classification::ROW,
    text_generation::ROW,
    text2text::ROW,
];

/// A pipeline for a task.
#[derive(Debug)]
pub struct Pipeline(Box<dyn Run>);

/// The pipeline of a name, with MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact).
///
/// # Errors
/// A name that is not known, a model without a head for the task or without a tokenizer, or whatever is wrong with its files.
pub fn pipeline(task: &str, model: &str) -> Result<Pipeline> {
    Pipeline::from_pretrained(task, model, &PretrainedOptions::default())
}

/// The names of the pipelines and their aliases. `xx` and `yy` stand for any languages.
pub fn pipelines() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|row| row.names).copied()
}

impl Pipeline {
    /// As [`pipeline()`], with options.
    ///
    /// # Errors
    /// The same, and options that make no sense.
    pub fn from_pretrained(task: &str, model: &str, options: &PretrainedOptions) -> Result<Pipeline> {
        let row = TABLE.iter().find(|row| row.answers_to(task)).ok_or_else(|| {
            let known = pipelines().collect::<Vec<_>>().join(", ");
            Error::Option(format!("there is no pipeline `{task}`: expected one of {known}"))
        })?;
        (row.load)(task, model, options).map(Pipeline)
    }

    /// The pipeline's name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Runs on an input as transformers takes it: a text (or an object or a chat, where the task takes one), or a list of such. The
    /// result has the form that transformers gives it, which for most tasks is a list for a list.
    ///
    /// # Errors
    /// An input of another form, or what the pipeline's own `run` says.
    pub fn run(&self, input: &Value, options: &PipelineOptions) -> Result<Value> {
        let inputs = match self.0.several(input, options) {
            Some(items) => Inputs { items, is_one: false },
            None => Inputs { items: vec![input.clone()], is_one: true },
        };
        let results = self.run_each(&inputs.items, options)?;
        Ok(self.0.gathered(results, &inputs, options))
    }

    /// As [`run`](Self::run) on a list, with one result for each input in any case.
    ///
    /// # Errors
    /// The same.
    pub fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        self.0.run_each(items, options)
    }

    /// How many inputs go through the model at once: as the options say, or as is usual for the task.
    pub fn batch_size(&self, options: &PipelineOptions) -> usize {
        options.batch_size.unwrap_or(self.0.usual_batch_size()).max(1)
    }

    /// Writes the model and its tokenizer into a folder, which [`pipeline()`] and transformers read.
    ///
    /// # Errors
    /// When a file cannot be written; for a model that was loaded from an artifact, which holds no checkpoint.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.0.model().save_pretrained(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_answers_to_its_names_and_to_no_other() {
        for name in pipelines() {
            assert_eq!(TABLE.iter().filter(|row| row.answers_to(name)).count(), 1, "{name}");
            // There is such a pipeline, and no such model.
            let error = pipeline(name, "/no/such/model").expect_err(name).to_string();
            assert!(error.contains("/no/such/model"), "{name}: {error}");
        }
        let error = pipeline("make-coffee", "/no/such/model").expect_err("no such pipeline").to_string();
        assert!(error.starts_with("there is no pipeline `make-coffee`: expected one of"), "{error}");
        assert!(pipelines().all(|name| error.contains(name)), "{error}");
    }
}
