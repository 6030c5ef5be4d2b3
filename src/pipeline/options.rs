//! [`PipelineOptions`]: what a call of a pipeline can be told, under transformers' names.

use crate::GenerationConfig;
use kiln_runtime::text::EncodeOptions;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// Options of a call; each pipeline reads those that it has, and what is left out has transformers' default. They read from JSON under
/// their names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineOptions {
    /// text-classification, fill-mask, question-answering: how many results; 1, 5 and 1 by default. `usize::MAX` (`null`) gives all
    /// classes.
    #[serde(deserialize_with = "null_is_all")]
    pub top_k: Option<usize>,
    /// text-classification: what to make of the scores; by default what fits the config's `problem_type` and number of labels.
    pub function_to_apply: Option<FunctionToApply>,
    /// token-classification: how tokens become entities.
    pub aggregation_strategy: AggregationStrategy,
    /// token-classification: labels to leave out; `O` by default.
    pub ignore_labels: Option<Vec<String>>,
    /// token-classification: with it, a text that is longer than the model takes goes through it in pieces, each of which repeats that
    /// many tokens of the one before; without it, it is cut.
    pub stride: Option<usize>,
    /// token-classification: whether a text comes as a list of its words.
    pub is_split_into_words: bool,
    /// token-classification: what stands between words that come as a list, in the text that `start` and `end` count in; a space by default.
    pub delimiter: Option<String>,
    /// fill-mask: the only tokens to choose from.
    #[serde(deserialize_with = "one_or_many")]
    pub targets: Option<Vec<String>>,
    /// zero-shot-classification: the labels to choose from; in JSON a list, or a text with commas.
    #[serde(deserialize_with = "with_commas")]
    pub candidate_labels: Vec<String>,
    /// zero-shot-classification: the sentence about a label, with `{}` in its place; `This example is {}.` by default.
    pub hypothesis_template: Option<String>,
    /// zero-shot-classification: whether several labels may be true.
    pub multi_label: bool,
    /// question-answering: the most tokens of an answer; 15 by default.
    pub max_answer_len: Option<usize>,
    /// question-answering: the most tokens of question and context together; longer contexts go through the model in pieces. By default
    /// 384, or as many as the model takes.
    pub max_seq_len: Option<usize>,
    /// question-answering: how many tokens a piece repeats of the one before; by default 128, at most half of `max_seq_len`.
    pub doc_stride: Option<usize>,
    /// question-answering: whether "no answer" is among the answers, as an empty text.
    pub handle_impossible_answer: bool,
    /// question-answering: whether an answer begins and ends with whole words; true by default.
    pub align_to_words: Option<bool>,
    /// text-generation, summarization, translation, text2text-generation: how to generate; goes over the model's own config.
    #[serde(alias = "generate")]
    pub generation_config: Option<GenerationConfig>,
    /// text-generation: whether the prompt comes back with what is new; true by default.
    pub return_full_text: Option<bool>,
    /// text-generation: whether the tokens that the model expects around a text are added to a prompt; true by default.
    pub add_special_tokens: Option<bool>,
    /// How texts become tokens, where the pipeline leaves a choice: how they are cut and padded. By default a text is cut where the model
    /// ends (a prompt is not).
    #[serde(alias = "tokenize_kwargs")]
    pub tokenizer_kwargs: Option<EncodeOptions>,
    /// How many texts go through the model at once. By default 16, or 1 where texts are generated.
    pub batch_size: Option<usize>,
}

fn null_is_all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or(usize::MAX)))
}

/// A text, or a list of texts.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Vec<String>, bool), D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok((vec![text], true)),
        list => Ok((Vec::deserialize(list).map_err(D::Error::custom)?, false)),
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Some(texts(deserializer)?.0))
}

fn with_commas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let (texts, one) = texts(deserializer)?;
    let parts = |text: &String| text.split(',').map(|part| part.trim().to_string()).collect::<Vec<_>>();
    let labels: Vec<String> = if one { texts.iter().flat_map(parts).collect() } else { texts };
    Ok(labels.into_iter().filter(|label| !label.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_from_json_under_transformers_names() {
        let read = |json: &str| serde_json::from_str::<PipelineOptions>(json);
        let options = read(
            r#"{"top_k": null, "candidate_labels": "a, b,", "targets": "cat", "aggregation_strategy": "max",
                "tokenizer_kwargs": {"truncation": true, "max_length": 8}, "generation_config": {"num_beams": 2}}"#,
        );
        let options = options.unwrap();
        assert_eq!((options.top_k, options.candidate_labels), (Some(usize::MAX), vec!["a".to_string(), "b".into()]));
        assert_eq!(options.targets, Some(vec!["cat".to_string()]));
        assert_eq!(options.tokenizer_kwargs.and_then(|t| t.max_length), Some(8));
        assert_eq!(options.generation_config.and_then(|g| g.num_beams), Some(2));
        assert_eq!(read("{}").unwrap().top_k, None);
        assert!(read(r#"{"topk": 1}"#).unwrap_err().to_string().contains("unknown field `topk`"));
        assert!(read(r#"{"tokenizer_kwargs": {"padding": "all"}}"#).unwrap_err().to_string().contains("max_length"));
    }
}
