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
//! through the model in batches, padded on the right; what is longer than the model takes is cut.

mod feature_extraction;
mod fill_mask;
mod options;
mod scores;
mod text_classification;
mod text_generation;
mod text_model;
mod token_classification;
mod zero_shot_classification;

pub use feature_extraction::FeatureExtractionPipeline;
pub use fill_mask::{FillMaskPipeline, FilledMask};
pub use options::{AggregationStrategy, FunctionToApply, PipelineOptions};
pub use text_classification::{Classification, TextClassificationPipeline, TextPair};
pub use text_generation::{Generated, GenerationInput, TextGenerationPipeline};
pub use token_classification::{Entity, TokenClassificationPipeline};
pub use zero_shot_classification::{ZeroShotClassification, ZeroShotClassificationPipeline};

use crate::{Error, PretrainedOptions, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A pipeline for a task.
#[derive(Debug)]
pub enum Pipeline {
    /// `text-classification`, also `sentiment-analysis`.
    TextClassification(TextClassificationPipeline),
    /// `token-classification`, also `ner`.
    TokenClassification(TokenClassificationPipeline),
    /// `fill-mask`.
    FillMask(FillMaskPipeline),
    /// `feature-extraction`.
    FeatureExtraction(FeatureExtractionPipeline),
    /// `zero-shot-classification`.
    ZeroShotClassification(ZeroShotClassificationPipeline),
    /// `text-generation`.
    TextGeneration(TextGenerationPipeline),
}

/// The names of the pipelines, each with its aliases after it.
const NAMES: [&[&str]; 6] = [
    &["text-classification", "sentiment-analysis"],
    &["token-classification", "ner"],
    &["fill-mask"],
    &["feature-extraction"],
    &["zero-shot-classification"],
    &["text-generation"],
];

/// The pipeline of a name, with MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact).
///
/// # Errors
/// A name that is not known, a model without a head for the task or without a tokenizer, or whatever is wrong with its files.
pub fn pipeline(task: &str, model: &str) -> Result<Pipeline> {
    Pipeline::from_pretrained(task, model, &PretrainedOptions::default())
}

impl Pipeline {
    /// As [`pipeline()`], with options.
    ///
    /// # Errors
    /// The same, and options that make no sense.
    pub fn from_pretrained(task: &str, model: &str, options: &PretrainedOptions) -> Result<Pipeline> {
        let name = NAMES.iter().find(|names| names.contains(&task)).map(|names| names[0]);
        Ok(match name {
            Some("text-classification") => {
                Pipeline::TextClassification(TextClassificationPipeline::from_pretrained(model, options)?)
            }
            Some("token-classification") => {
                Pipeline::TokenClassification(TokenClassificationPipeline::from_pretrained(model, options)?)
            }
            Some("fill-mask") => Pipeline::FillMask(FillMaskPipeline::from_pretrained(model, options)?),
            Some("feature-extraction") => {
                Pipeline::FeatureExtraction(FeatureExtractionPipeline::from_pretrained(model, options)?)
            }
            Some("zero-shot-classification") => {
                Pipeline::ZeroShotClassification(ZeroShotClassificationPipeline::from_pretrained(model, options)?)
            }
            Some("text-generation") => {
                Pipeline::TextGeneration(TextGenerationPipeline::from_pretrained(model, options)?)
            }
            _ => {
                let known = NAMES.concat().join(", ");
                return Err(Error::Option(format!("there is no pipeline `{task}`: expected one of {known}")));
            }
        })
    }

    /// The pipeline's name.
    pub fn name(&self) -> &'static str {
        match self {
            Pipeline::TextClassification(_) => "text-classification",
            Pipeline::TokenClassification(_) => "token-classification",
            Pipeline::FillMask(_) => "fill-mask",
            Pipeline::FeatureExtraction(_) => "feature-extraction",
            Pipeline::ZeroShotClassification(_) => "zero-shot-classification",
            Pipeline::TextGeneration(_) => "text-generation",
        }
    }

    /// Runs on an input as transformers takes it: a text (or an object, where the task takes one), or a list of such for a list of
    /// results.
    ///
    /// # Errors
    /// An input of another form, or what the pipeline's own `run` says.
    pub fn run(&self, input: &Value, options: &PipelineOptions) -> Result<Value> {
        match self {
            Pipeline::TextClassification(p) => {
                let (pairs, single) =
                    self.inputs::<TextPair>(input, "text", "a text or an object with `text` and `text_pair`")?;
                let results = p.run(&pairs, options)?;
                // With one class for each text, transformers gives a flat list.
                match options.top_k {
                    None => Ok(json!(results.concat())),
                    Some(_) => Ok(one_or_all(results, single)),
                }
            }
            Pipeline::TokenClassification(p) => {
                let (texts, single) = self.inputs(input, "", "a text")?;
                Ok(one_or_all(p.run(&texts, options)?, single))
            }
            Pipeline::FillMask(p) => {
                let (texts, single) = self.inputs(input, "", "a text")?;
                // A text with one mask has one list of tokens, not a list of lists.
                let results = p.run(&texts, options)?.into_iter().map(|mut masks| match masks.len() {
                    1 => json!(masks.swap_remove(0)),
                    _ => json!(masks),
                });
                Ok(one_or_all(results.collect(), single))
            }
            Pipeline::FeatureExtraction(p) => {
                let (texts, single) = self.inputs(input, "", "a text")?;
                // transformers' tensors have a batch of one in front.
                let results = p.run(&texts)?.into_iter().map(|states| [states]).collect();
                Ok(one_or_all(results, single))
            }
            Pipeline::ZeroShotClassification(p) => {
                let (texts, single) = self.inputs(input, "", "a text")?;
                Ok(one_or_all(p.run(&texts, options)?, single))
            }
            Pipeline::TextGeneration(p) => {
                let (inputs, single) = text_generation::inputs(input)?;
                Ok(one_or_all(p.run(&inputs, options)?, single))
            }
        }
    }

    /// The inputs, and whether it is one and no list. A mere text stands for an object with that one field, if there is one.
    fn inputs<T: DeserializeOwned>(&self, input: &Value, field: &str, expected: &str) -> Result<(Vec<T>, bool)> {
        let one = |item: &Value| {
            let item = match item {
                Value::String(text) if !field.is_empty() => json!({field: text}),
                other => other.clone(),
            };
            serde_json::from_value(item.clone()).map_err(|e| Error::Pipeline {
                pipeline: self.name(),
                reason: format!("expected {expected}, or a list of those, found {item}: {e}"),
            })
        };
        match input {
            Value::Array(items) => Ok((items.iter().map(one).collect::<Result<_>>()?, false)),
            item => Ok((vec![one(item)?], true)),
        }
    }
}

/// The result of one input, or the list of all.
fn one_or_all<T: Serialize>(mut results: Vec<T>, single: bool) -> Value {
    match single && results.len() == 1 {
        true => json!(results.swap_remove(0)),
        false => json!(results),
    }
}
