//! text-classification: a class for a text, or for a pair of texts.

use super::input::{self, Inputs, TextPair};
use super::save::saved;
use super::scores::{ranking, sigmoid, softmax};
use super::table::{Row, Run, one_or_all};
use super::text_model::TextModel;
use super::{FunctionToApply, PipelineOptions};
use crate::{LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use serde::Serialize;
use serde_json::{Value, json};

/// A class with its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// The class, as the config's `id2label` names it.
    pub label: String,
    /// Its probability, or what [`FunctionToApply`] makes of its logit.
    pub score: f32,
}

/// Classifies texts.
#[derive(Debug)]
pub struct TextClassificationPipeline {
    pub(super) text_model: TextModel,
}

impl TextClassificationPipeline {
    /// Loads a model that classifies texts.
    ///
    /// # Errors
    /// A checkpoint without such a head or without a tokenizer, or whatever is wrong with its files.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        Ok(Self { text_model: TextModel::load(model, Task::SequenceClassification, options)? })
    }

    /// The best classes of each text, the best one first: `top_k` of them, one by default.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split.
    pub fn run(&self, texts: &[TextPair], options: &PipelineOptions) -> Result<Vec<Vec<Classification>>> {
        let pairs: Vec<_> = texts.iter().map(|t| (t.text.as_str(), t.text_pair.as_deref())).collect();
        let encodings = self.text_model.encode(&pairs, options.tokenizer_kwargs.as_ref())?;
        let model = &self.text_model.model;
        let function = options.function_to_apply.unwrap_or_else(|| function_of(model.config(), model.num_labels()));
        let rows = self.text_model.forward(&encodings, &["logits"], options.batch_size)?;
        Ok(rows
            .iter()
            .map(|r| classify(&r[0].values, model.id2label(), function, options.top_k.unwrap_or(1)))
            .collect())
    }
}

saved!(TextClassificationPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["text-classification", "sentiment-analysis"],
    load: |_, model, options| Ok(Box::new(TextClassificationPipeline::from_pretrained(model, options)?)),
};

impl Run for TextClassificationPipeline {
    fn name(&self) -> &'static str {
        "text-classification"
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        let results = self.run(&input::text_pairs(self.name(), items)?, options)?;
        let several = options.top_k.is_some();
        Ok(results.into_iter().map(|classes| if several { json!(classes) } else { one_or_all(classes) }).collect())
    }

    fn gathered(&self, mut results: Vec<Value>, inputs: &Inputs, options: &PipelineOptions) -> Value {
        let one = inputs.is_one && results.len() == 1;
        // One text has a list of its one class.
        match one && !(options.top_k.is_none() && inputs.items[0].is_string()) {
            true => results.swap_remove(0),
            false => json!(results),
        }
    }
}

/// What a config asks for.
fn function_of(config: &Value, num_labels: usize) -> FunctionToApply {
    match config.get("problem_type").and_then(Value::as_str) {
        Some("regression") => FunctionToApply::None,
        Some("multi_label_classification") => FunctionToApply::Sigmoid,
        _ if num_labels == 1 => FunctionToApply::Sigmoid,
        _ => FunctionToApply::Softmax,
    }
}

/// The `top_k` best classes of logits `[labels]`.
fn classify(logits: &[f32], id2label: &[String], function: FunctionToApply, top_k: usize) -> Vec<Classification> {
    let scores = match function {
        FunctionToApply::Softmax => softmax(logits),
        FunctionToApply::Sigmoid => sigmoid(logits),
        FunctionToApply::None => logits.to_vec(),
    };
    let label = |i: usize| id2label.get(i).cloned().unwrap_or_else(|| format!("LABEL_{i}"));
    let best = ranking(&scores).into_iter().take(top_k);
    best.map(|i| Classification { label: label(i), score: scores[i] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_are_ranked() {
        let labels = ["sad", "glad"].map(str::to_string);
        let logits = [0.0, 3f32.ln()];
        let run = |function, top_k| classify(&logits, &labels, function, top_k);
        let best = run(FunctionToApply::Softmax, 1);
        assert_eq!((best.len(), best[0].label.as_str()), (1, "glad"));
        assert!((best[0].score - 0.75).abs() < 1e-6);
        let all = run(FunctionToApply::Sigmoid, 9);
        assert_eq!(all.iter().map(|c| c.label.as_str()).collect::<Vec<_>>(), ["glad", "sad"]);
        assert!((all[1].score - 0.5).abs() < 1e-6);
        assert_eq!(run(FunctionToApply::None, 1)[0].score, 3f32.ln());
    }

    #[test]
    fn the_config_says_what_scores_are() {
        use FunctionToApply::{None, Sigmoid, Softmax};
        let cases =
            [(json!({}), 3, Softmax), (json!({}), 1, Sigmoid), (json!({"problem_type": "regression"}), 1, None)];
        for (config, labels, function) in cases {
            assert_eq!(function_of(&config, labels), function, "{config}");
        }
        assert_eq!(function_of(&json!({"problem_type": "multi_label_classification"}), 3), Sigmoid);
    }
}
