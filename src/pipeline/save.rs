//! Pipelines as folders: the model with its configs, and its tokenizer.

use super::{
    FeatureExtractionPipeline, FillMaskPipeline, Pipeline, QuestionAnsweringPipeline, Text2TextGenerationPipeline,
    TextClassificationPipeline, TextGenerationPipeline, TokenClassificationPipeline, ZeroShotClassificationPipeline,
};
use crate::{LoadedModel, Result};
use std::path::Path;

macro_rules! saved {
    ($($pipeline:ident: $($field:ident).+;)+) => {
        $(impl $pipeline {
            /// Writes the model and its tokenizer into a folder, which this pipeline and transformers' read
            /// ([`LoadedModel::save_pretrained`]).
            ///
            /// # Errors
            /// When a file cannot be written; for a model that was loaded from an artifact, which holds no checkpoint.
            pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
                let model: &LoadedModel = &self.$($field).+;
                model.save_pretrained(folder)
            }
        })+
    };
}

saved! {
    TextClassificationPipeline: text_model.model;
    TokenClassificationPipeline: text_model.model;
    FillMaskPipeline: text_model.model;
    QuestionAnsweringPipeline: text_model.model;
    FeatureExtractionPipeline: text_model.model;
    ZeroShotClassificationPipeline: text_model.model;
    TextGenerationPipeline: model;
    Text2TextGenerationPipeline: model;
}

impl Pipeline {
    /// Writes the model and its tokenizer into a folder, which [`pipeline()`](super::pipeline()) and transformers read.
    ///
    /// # Errors
    /// When a file cannot be written; for a model that was loaded from an artifact, which holds no checkpoint.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        match self {
            Pipeline::TextClassification(p) => p.save_pretrained(folder),
            Pipeline::TokenClassification(p) => p.save_pretrained(folder),
            Pipeline::FillMask(p) => p.save_pretrained(folder),
            Pipeline::QuestionAnswering(p) => p.save_pretrained(folder),
            Pipeline::FeatureExtraction(p) => p.save_pretrained(folder),
            Pipeline::ZeroShotClassification(p) => p.save_pretrained(folder),
            Pipeline::TextGeneration(p) => p.save_pretrained(folder),
            Pipeline::Text2TextGeneration(p) => p.save_pretrained(folder),
        }
    }
}
