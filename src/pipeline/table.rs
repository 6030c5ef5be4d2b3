//! What the file of a pipeline says of it, so that [`Pipeline`](super::Pipeline) knows it by name and speaks JSON with it.

use super::PipelineOptions;
use super::input::Inputs;
use crate::{LoadedModel, PretrainedOptions, Result};
use serde_json::{Value, json};
use std::fmt::Debug;

/// A line of the table of pipelines.
pub(super) struct Row {
    /// The pipeline's name and its aliases, in which `xx` and `yy` stand for any languages.
    pub names: &'static [&'static str],
    /// Loads it under one of them, with a model by name.
    pub load: fn(&str, &str, &PretrainedOptions) -> Result<Box<dyn Run>>,
}

impl Row {
    pub fn answers_to(&self, task: &str) -> bool {
        self.names.iter().any(|name| stands_for(name, task))
    }
}

/// Whether a name of the table stands for a task: `translation_xx_to_yy` for `translation_en_to_fr`.
pub(super) fn stands_for(name: &str, task: &str) -> bool {
    let (own, asked) = (name.split('_'), task.split('_'));
    let fits = |(own, asked): (&str, &str)| own == asked || (matches!(own, "xx" | "yy") && !asked.is_empty());
    own.clone().count() == asked.clone().count() && own.zip(asked).all(fits)
}

/// A pipeline that takes and gives JSON.
pub(super) trait Run: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its model.
    fn model(&self) -> &LoadedModel;

    /// A result for each input.
    ///
    /// # Errors
    /// An input of another form, or what the pipeline's own `run` says.
    fn run_each(&self, items: &[Value], options: &PipelineOptions) -> Result<Vec<Value>>;

    /// The inputs, if what a call is given is several of them.
    fn several(&self, input: &Value, _options: &PipelineOptions) -> Option<Vec<Value>> {
        input.as_array().cloned()
    }

    /// What a call gives, of the results of its inputs: one for one input, else a list.
    fn gathered(&self, mut results: Vec<Value>, inputs: &Inputs, _options: &PipelineOptions) -> Value {
        if inputs.is_one && results.len() == 1 { results.swap_remove(0) } else { json!(results) }
    }

    /// How many inputs go through the model at once where nobody says.
    fn usual_batch_size(&self) -> usize {
        16
    }
}

/// Results as JSON, one by one.
pub(super) fn values<T: serde::Serialize>(results: Vec<T>) -> Vec<Value> {
    results.iter().map(|result| json!(result)).collect()
}

/// The one item of a list of one, else the list.
pub(super) fn one_or_all<T: serde::Serialize>(mut all: Vec<T>) -> Value {
    if all.len() == 1 { json!(all.swap_remove(0)) } else { json!(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_stand_for_others() {
        assert!(stands_for("translation_xx_to_yy", "translation_en_to_fr") && stands_for("ner", "ner"));
        for wrong in ["translation", "translation_en", "translation_en_to_", "translation_a_b_to_c", "translate", ""] {
            assert!(!stands_for("translation_xx_to_yy", wrong), "{wrong}");
        }
    }
}
