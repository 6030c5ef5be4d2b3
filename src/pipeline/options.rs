//! [`PipelineOptions`]: what a call of a pipeline can be told, under transformers' names.

use crate::GenerationConfig;
use serde::Deserialize;

/// What to make of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionToApply {
    /// Probabilities of classes that exclude each other.
    Softmax,
    /// A probability for each class by itself.
    Sigmoid,
    /// The model's numbers as they are.
    None,
}

/// How tokens become entities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregationStrategy {
    /// Each token by itself.
    #[default]
    None,
    /// Neighbours of the same label together.
    Simple,
    /// As `simple`, with the label that a word's first token has.
    First,
    /// As `simple`, with the label of the highest mean score over a word's tokens.
    Average,
    /// As `simple`, with the label that the surest of a word's tokens has.
    Max,
}

/// Options of a call; each pipeline reads those that it has, and what is left out has transformers' default.
#[derive(Clone, Debug, Default)]
pub struct PipelineOptions {
    /// text-classification, fill-mask: how many results; 1 and 5 by default.
    pub top_k: Option<usize>,
    /// text-classification: what to make of the scores; by default what fits the config's `problem_type` and number of labels.
    pub function_to_apply: Option<FunctionToApply>,
    /// token-classification: how tokens become entities.
    pub aggregation_strategy: AggregationStrategy,
    /// token-classification: labels to leave out; `O` by default.
    pub ignore_labels: Option<Vec<String>>,
    /// fill-mask: the only tokens to choose from.
    pub targets: Option<Vec<String>>,
    /// zero-shot-classification: the labels to choose from.
    pub candidate_labels: Vec<String>,
    /// zero-shot-classification: the sentence about a label, with `{}` in its place; `This example is {}.` by default.
    pub hypothesis_template: Option<String>,
    /// zero-shot-classification: whether several labels may be true.
    pub multi_label: bool,
    /// text-generation: how to generate; goes over the model's `generation_config.json`.
    pub generation_config: Option<GenerationConfig>,
    /// text-generation: whether only what is new comes back, without the prompt.
    pub only_new_text: bool,
}
