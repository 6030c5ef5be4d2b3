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

mod feature_extraction;
mod fill_mask;
mod input;
mod options;
mod question_answering;
mod save;
mod scores;
mod text2text;
mod text_classification;
mod text_generation;
mod text_model;
mod token_classification;
mod zero_shot_classification;

pub use feature_extraction::FeatureExtractionPipeline;
pub use fill_mask::{FillMaskPipeline, FilledMask};
pub use options::{AggregationStrategy, FunctionToApply, PipelineOptions};
pub use question_answering::{Answer, Question, QuestionAnsweringPipeline};
pub use text_classification::{Classification, TextClassificationPipeline, TextPair};
pub use text_generation::{Generated, GenerationInput, TextGenerationPipeline};
pub use text2text::{Text2Text, Text2TextGenerationPipeline};
pub use token_classification::{Entity, TokenClassificationPipeline};
pub use zero_shot_classification::{ZeroShotClassification, ZeroShotClassificationPipeline};

use crate::{Error, PretrainedOptions, Result};
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
    /// `question-answering`.
    QuestionAnswering(QuestionAnsweringPipeline),
    /// `feature-extraction`.
    FeatureExtraction(FeatureExtractionPipeline),
    /// `zero-shot-classification`.
    ZeroShotClassification(ZeroShotClassificationPipeline),
    /// `text-generation`.
    TextGeneration(TextGenerationPipeline),
    /// `text2text-generation`, `summarization`, `translation` and `translation_xx_to_yy`.
    Text2TextGeneration(Text2TextGenerationPipeline),
}

/// The names of the pipelines and their aliases.
const NAMES: [&str; 13] = [
    "text-classification",
    "sentiment-analysis",
    "token-classification",
    "ner",
    "fill-mask",
    "question-answering",
    "feature-extraction",
    "zero-shot-classification",
    "text-generation",
    "text2text-generation",
    "summarization",
    "translation",
    "translation_xx_to_yy",
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
        Ok(match task {
            "text-classification" | "sentiment-analysis" => {
                Pipeline::TextClassification(TextClassificationPipeline::from_pretrained(model, options)?)
            }
            "token-classification" | "ner" => {
                Pipeline::TokenClassification(TokenClassificationPipeline::from_pretrained(model, options)?)
            }
            "fill-mask" => Pipeline::FillMask(FillMaskPipeline::from_pretrained(model, options)?),
            "question-answering" => {
                Pipeline::QuestionAnswering(QuestionAnsweringPipeline::from_pretrained(model, options)?)
            }
            "feature-extraction" => {
                Pipeline::FeatureExtraction(FeatureExtractionPipeline::from_pretrained(model, options)?)
            }
            "zero-shot-classification" => {
                Pipeline::ZeroShotClassification(ZeroShotClassificationPipeline::from_pretrained(model, options)?)
            }
            "text-generation" => Pipeline::TextGeneration(TextGenerationPipeline::from_pretrained(model, options)?),
            _ if Text2Text::of_task(task).is_some() => {
                Pipeline::Text2TextGeneration(Text2TextGenerationPipeline::from_pretrained(task, model, options)?)
            }
            _ => {
                let known = NAMES.join(", ");
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
            Pipeline::QuestionAnswering(_) => "question-answering",
            Pipeline::FeatureExtraction(_) => "feature-extraction",
            Pipeline::ZeroShotClassification(_) => "zero-shot-classification",
            Pipeline::TextGeneration(_) => "text-generation",
            Pipeline::Text2TextGeneration(p) => p.kind().name(),
        }
    }

    /// Runs on an input as transformers takes it: a text (or an object or a chat, where the task takes one), or a list of such. The
    /// result has the form that transformers gives it, which for most tasks is a list for a list.
    ///
    /// # Errors
    /// An input of another form, or what the pipeline's own `run` says.
    pub fn run(&self, input: &Value, options: &PipelineOptions) -> Result<Value> {
        let input = input::Inputs::of(self, input, options);
        let mut results = self.run_each(&input.items, options)?;
        let one = input.is_one && results.len() == 1;
        Ok(match self {
            // One text has a list of its one class.
            Pipeline::TextClassification(_) if one && options.top_k.is_none() && input.items[0].is_string() => {
                json!(results)
            }
            // A list of one is as one.
            Pipeline::FillMask(_) | Pipeline::QuestionAnswering(_) if results.len() == 1 => results.swap_remove(0),
            // Each text of a list has one text, or a list of several.
            Pipeline::Text2TextGeneration(_) if !one => {
                let single = |result: &Value| result.as_array().is_some_and(|texts| texts.len() == 1);
                match results.iter().all(single) {
                    true => results.iter().map(|result| result[0].clone()).collect(),
                    false => json!(results),
                }
            }
            _ if one => results.swap_remove(0),
            _ => json!(results),
        })
    }

    /// As [`run`](Self::run) on a list, with one result for each input in any case.
    ///
    /// # Errors
    /// The same.
    pub fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        let name = self.name();
        let texts = || input::all::<String>(name, items, "a text");
        Ok(match self {
            Pipeline::TextClassification(p) => {
                let results = p.run(&input::text_pairs(name, items)?, options)?;
                results
                    .into_iter()
                    .map(|mut classes| match (options.top_k, classes.len()) {
                        (None, 1) => json!(classes.swap_remove(0)),
                        _ => json!(classes),
                    })
                    .collect()
            }
            Pipeline::TokenClassification(p) if options.is_split_into_words => {
                values(p.run_words(&input::all(name, items, "a list of words")?, options)?)
            }
            Pipeline::TokenClassification(p) => values(p.run(&texts()?, options)?),
            Pipeline::FillMask(p) => {
                // A text with one mask has one list of tokens, not a list of lists.
                let results = p.run(&texts()?, options)?.into_iter().map(|mut masks| match masks.len() {
                    1 => json!(masks.swap_remove(0)),
                    _ => json!(masks),
                });
                results.collect()
            }
            Pipeline::QuestionAnswering(p) => {
                let questions = input::all(name, items, "an object with `question` and `context`")?;
                let results = p.run(&questions, options)?.into_iter().map(|mut answers| match answers.len() {
                    1 => json!(answers.swap_remove(0)),
                    _ => json!(answers),
                });
                results.collect()
            }
            // transformers' tensors have a batch of one in front.
            Pipeline::FeatureExtraction(p) => {
                p.run(&texts()?, options)?.into_iter().map(|states| json!([states])).collect()
            }
            Pipeline::ZeroShotClassification(p) => values(p.run(&texts()?, options)?),
            Pipeline::TextGeneration(p) => values(p.run(&input::prompts(name, items)?, options)?),
            Pipeline::Text2TextGeneration(p) => {
                let object = |text: &String| json!({ p.kind().field(): text });
                let results = p.run(&texts()?, options)?;
                results.iter().map(|texts| texts.iter().map(object).collect()).collect()
            }
        })
    }
}

fn values<T: serde::Serialize>(results: Vec<T>) -> Vec<Value> {
    results.iter().map(|result| json!(result)).collect()
}
