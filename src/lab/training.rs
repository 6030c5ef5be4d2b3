//! A few steps of training beside what torch made of the same batch.

use super::verify::{call, read_tensors, views};
use crate::train::{Trainee, TraineeOptions};
use crate::{Error, Result};
use kiln_frontend::optim::AdamW;
use kiln_ir::interp::{self, Tensor};
use kiln_models::source::ModelFiles;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Steps of AdamW on one batch, in the way of a bare `torch.optim`: every parameter decays.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The optimizer.
    pub optimizer: AdamW,
    /// The same in each step.
    pub learning_rate: f32,
    /// As `clip_grad_norm_` takes it; 0 for none.
    pub max_grad_norm: f32,
    /// How many.
    pub steps: usize,
}

/// What the steps gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steps {
    /// The loss of each step, before its update.
    pub losses: Vec<f32>,
    /// The norm of each parameter's gradient in the first step, under transformers' names.
    pub grad_norms: BTreeMap<String, f32>,
    /// How far the logits after the steps are from the recorded ones: `‖got − want‖ / ‖want‖`. None without a record of them.
    pub logits_error: Option<f64>,
}

impl Recipe {
    /// What `train` in a `golden.json` says: `optimizer`, such as `AdamW lr=1e-3 betas=(0.9,0.999) eps=1e-8 weight_decay=0.01`,
    /// `max_grad_norm`, and `losses`, one for each step.
    ///
    /// # Errors
    /// A record that says something else.
    pub fn of_record(record: &Value) -> Result<Recipe> {
        let bad = |what: &str| Error::Option(format!("the training record: {what}, found {record}"));
        let text = record["optimizer"].as_str().unwrap_or_default();
        let mut words = text.split_whitespace();
        if words.next() != Some("AdamW") {
            return Err(bad("expected an `optimizer` that begins with AdamW"));
        }
        let mut recipe = Recipe {
            optimizer: AdamW { weight_decay: 0.01, ..AdamW::default() },
            learning_rate: 1e-3,
            max_grad_norm: 0.0,
            steps: record["losses"].as_array().map_or(0, Vec::len),
        };
        for word in words {
            let number = |text: &str| text.parse::<f64>().map_err(|_| bad(&format!("expected a number in `{word}`")));
            match word.split_once('=') {
                Some(("lr", value)) => recipe.learning_rate = number(value)? as f32,
                Some(("eps", value)) => recipe.optimizer.eps = number(value)?,
                Some(("weight_decay", value)) => recipe.optimizer.weight_decay = number(value)?,
                Some(("betas", value)) => {
                    let pair = value.trim_matches(['(', ')']).split_once(',');
                    let (first, second) = pair.ok_or_else(|| bad(&format!("expected two numbers in `{word}`")))?;
                    recipe.optimizer.beta1 = number(first)?;
                    recipe.optimizer.beta2 = number(second)?;
                }
                _ => return Err(bad(&format!("expected lr=, betas=, eps= or weight_decay= in place of `{word}`"))),
            }
        }
        if let Some(norm) = record.get("max_grad_norm").filter(|v| !v.is_null()) {
            recipe.max_grad_norm = norm.as_f64().ok_or_else(|| bad("expected a number as `max_grad_norm`"))? as f32;
        }
        if recipe.steps == 0 {
            return Err(bad("expected `losses`, one for each step"));
        }
        Ok(recipe)
    }
}

/// Trains a model on the batch of a golden folder: inputs `in.*` and `train.labels` of its `golden.safetensors`.
///
/// # Errors
/// A folder without such a record, and whatever compiling and running give.
pub fn train_on_golden(files: &ModelFiles, folder: &Path, recipe: &Recipe, options: &TraineeOptions) -> Result<Steps> {
    let options = TraineeOptions { decay_all: true, ..options.clone() };
    let mut trainee = Trainee::new(files, &recipe.optimizer, &options)?;
    let tensors = folder.join("golden.safetensors");
    let inputs = read_tensors(&tensors, "in.")?;
    let mut record = read_tensors(&tensors, "train.")?;
    let labels = record.iter().position(|(name, _)| name == "labels");
    let labels = labels.ok_or_else(|| Error::Tensors {
        path: tensors.clone(),
        reason: "there is no tensor `train.labels`: expected a folder with a training record".into(),
    })?;
    let labels = record.swap_remove(labels);
    let batch: Vec<(String, Tensor)> = inputs.iter().cloned().chain([labels]).collect();
    let mut steps = Steps { losses: vec![], grad_norms: BTreeMap::new(), logits_error: None };
    let batch = views(&batch)?;
    for step in 0..recipe.steps {
        steps.losses.push(trainee.accumulate(&batch)?);
        let report = trainee.apply(recipe.learning_rate, 1, recipe.max_grad_norm)?;
        if step == 0 {
            let names = trainee.trained().iter().map(|t| name_in_transformers(&t.name).to_string());
            steps.grad_norms = names.zip(report.grad_norms).collect();
        }
    }
    if let Some((_, want)) = record.iter().find(|(name, _)| name == "logits") {
        let got = call(trainee.session(), "forward", &inputs)?;
        let got = got.iter().find(|(name, _)| name == "logits").map(|(_, t)| t);
        let got = got.ok_or_else(|| Error::Verify("`forward` has no output `logits`".into()))?;
        steps.logits_error = Some(interp::relative_error(got, want));
    }
    Ok(steps)
}

/// What transformers calls a parameter that its checkpoints store under another name: GPT-NeoX's output projection.
fn name_in_transformers(stored: &str) -> &str {
    if stored == "embed_out.weight" { "lm_head.weight" } else { stored }
}
