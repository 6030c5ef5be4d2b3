//! zero-shot-classification: which of a caller's labels fits a text, by a model that judges whether one sentence follows from another.

use super::save::saved;
use super::scores::{ranking, softmax};
use super::table::{Row, Run, values};
use super::text_model::TextModel;
use super::{PipelineOptions, input};
use crate::{Error, LoadedModel, PretrainedOptions, Result};
use kiln_models::Task;
use kiln_runtime::text::{EncodeOptions, Truncation};
use serde::Serialize;
use serde_json::Value;

const NAME: &str = "zero-shot-classification";
const HYPOTHESIS: &str = "This example is {}.";

/// A text with the labels, the likeliest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroShotClassification {
    /// The text.
    pub sequence: String,
    /// The labels.
    pub labels: Vec<String>,
    /// Their probabilities.
    pub scores: Vec<f32>,
}

/// Classifies texts by labels that come with the call.
#[derive(Debug)]
pub struct ZeroShotClassificationPipeline {
    pub(super) text_model: TextModel,
    entailment: usize,
}

impl ZeroShotClassificationPipeline {
    /// Loads a model of natural language inference.
    ///
    /// # Errors
    /// A checkpoint without such a head, without a tokenizer, or without a label that begins with `entail`.
    pub fn from_pretrained(model: &str, options: &PretrainedOptions) -> Result<Self> {
        let text_model = TextModel::load(model, Task::SequenceClassification, options)?;
        let labels = text_model.model.id2label();
        let is_entailment = |label: &String| label.to_lowercase().starts_with("entail");
        let entailment = labels.iter().position(is_entailment).ok_or_else(|| Error::Pipeline {
            pipeline: NAME,
            reason: format!(
                "`{model}` has the labels {}: expected one that begins with `entail`, as models of natural language inference have",
                labels.join(", ")
            ),
        })?;
        Ok(Self { text_model, entailment })
    }

    /// For each text, the `candidate_labels` by how likely they are.
    ///
    /// # Errors
    /// No labels, or a `hypothesis_template` without `{}`.
    pub fn run(&self, texts: &[String], options: &PipelineOptions) -> Result<Vec<ZeroShotClassification>> {
        let error = |reason: String| Error::Pipeline { pipeline: NAME, reason };
        let labels = &options.candidate_labels;
        if labels.is_empty() || texts.iter().any(|t| t.is_empty()) {
            let found = format!("{} labels and {} texts", labels.len(), texts.len());
            return Err(error(format!("expected at least one candidate label and no empty text, found {found}")));
        }
        let template = options.hypothesis_template.as_deref().unwrap_or(HYPOTHESIS);
        if !template.contains("{}") {
            return Err(error(format!("expected `{{}}` in hypothesis_template, for the label, found `{template}`")));
        }
        // The text is cut, and the sentence about the label left whole.
        let cut = EncodeOptions { truncation: Some(Truncation::OnlyFirst), ..EncodeOptions::default() };
        let mut encodings = vec![];
        for text in texts {
            for label in labels {
                let hypothesis = template.replace("{}", label);
                encodings.push(self.text_model.encode(&[(text, Some(&hypothesis))], Some(&cut))?.swap_remove(0));
            }
        }
        let rows = self.text_model.forward(&encodings, &["logits"], options.batch_size)?;
        let logits: Vec<&[f32]> = rows.iter().map(|r| r[0].values.as_slice()).collect();
        let results = texts.iter().zip(logits.chunks(labels.len())).map(|(text, logits)| {
            let scores = likelihoods(logits, self.entailment, options.multi_label || labels.len() == 1);
            let order = ranking(&scores);
            ZeroShotClassification {
                sequence: text.clone(),
                labels: order.iter().map(|&i| labels[i].clone()).collect(),
                scores: order.iter().map(|&i| scores[i]).collect(),
            }
        });
        Ok(results.collect())
    }
}

saved!(ZeroShotClassificationPipeline);

/// Its line of the table.
pub(super) const ROW: Row = Row {
    names: &["zero-shot-classification"],
    load: |_, model, options| Ok(Box::new(ZeroShotClassificationPipeline::from_pretrained(model, options)?)),
};

impl Run for ZeroShotClassificationPipeline {
    fn name(&self) -> &'static str {
        NAME
    }

    fn model(&self) -> &LoadedModel {
        &self.text_model.model
    }

    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>> {
        Ok(values(self.run(&input::texts(NAME, items)?, options)?))
    }
}

/// The probability of each label, from its logits over `[contradiction, ..., entailment]`: against its own contradiction, or among the
/// labels.
fn likelihoods(logits: &[&[f32]], entailment: usize, independent: bool) -> Vec<f32> {
    if !independent {
        return softmax(&logits.iter().map(|l| l[entailment]).collect::<Vec<_>>());
    }
    let against = |l: &&[f32]| {
        let contradiction = if entailment == 0 { l.len() - 1 } else { 0 };
        softmax(&[l[contradiction], l[entailment]])[1]
    };
    logits.iter().map(against).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_exclude_each_other_or_not() {
        let ln = |x: f32| x.ln();
        let (first, second) = ([ln(1.0), 9.0, ln(3.0)], [ln(1.0), -9.0, ln(1.0)]);
        let near = |got: Vec<f32>, want: [f32; 2]| {
            assert!(got.len() == 2 && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}");
        };
        near(likelihoods(&[&first, &second], 2, false), [0.75, 0.25]);
        near(likelihoods(&[&first, &second], 2, true), [0.75, 0.5]);
        near(likelihoods(&[&first, &second], 0, true), [0.25, 0.5]);
    }
}
