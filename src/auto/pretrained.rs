//! What the Auto classes that do not generate share: one pass of the model over token ids.

use super::{LoadedModel, ModelOutput, PretrainedOptions};
use crate::{Error, Result, Session, SessionOptions, TensorView};
use kiln_core::{Dim, SizeRole};
use kiln_models::Task;
use serde_json::Value;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, TryLockError};

const FORWARD: &str = "forward";

/// A model for one task, compiled and loaded.
pub struct Pretrained {
    loaded: LoadedModel,
    /// Those that no call has.
    sessions: Mutex<Vec<Session>>,
    id2label: Vec<String>,
}

impl std::fmt::Debug for Pretrained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pretrained").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

impl Deref for Pretrained {
    type Target = LoadedModel;

    fn deref(&self) -> &LoadedModel {
        &self.loaded
    }
}

impl Pretrained {
    /// Loads MODEL for a task.
    ///
    /// # Errors
    /// As the Auto classes' `from_pretrained_with`.
    pub fn load(name: &str, task: Task, options: &PretrainedOptions) -> Result<Self> {
        let loaded = LoadedModel::load(name, task, options)?;
        Ok(Pretrained {
            sessions: Mutex::new(vec![Session::new(loaded.model(), &SessionOptions::default())?]),
            id2label: id2label(loaded.config())?,
            loaded,
        })
    }

    /// One pass over tensors, by the names of forward's arguments: `input_ids` i64 `[batch, seq]`, `attention_mask` of the same shape
    /// (ones if left out), and what else the model takes. Calls of several threads run side by side, each in a session of its own.
    ///
    /// # Errors
    /// An input that the model has not or that has another type or shape, or one that is missing.
    pub fn forward(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<ModelOutput> {
        let mut session = match self.free_sessions().and_then(|mut free| free.pop()) {
            Some(session) => session,
            None => Session::new(self.model(), &SessionOptions::default())?,
        };
        let output = session.call(FORWARD, inputs).map(|outputs| ModelOutput::of(&outputs));
        if let Some(mut free) = self.free_sessions() {
            free.push(session);
        }
        Ok(output?)
    }

    /// The sessions that no call has, if nobody else looks at them: a session more costs less than to wait, which in a forked process
    /// could be for ever.
    fn free_sessions(&self) -> Option<MutexGuard<'_, Vec<Session>>> {
        match self.sessions.try_lock() {
            Ok(free) => Some(free),
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether forward takes an input of that name.
    pub fn takes(&self, input: &str) -> bool {
        self.model().plan().signature(FORWARD).is_some_and(|s| s.inputs.iter().any(|i| i.name == input))
    }

    /// The most rows and the most tokens per row that a pass takes.
    pub fn largest_batch(&self) -> (usize, usize) {
        let plan = self.model().plan();
        let shape = plan.signature(FORWARD).and_then(|s| s.inputs.first()).map_or(&[][..], |input| &input.shape);
        let has_role =
            |dim: &&Dim, role| dim.as_symbol().and_then(|s| plan.symbols.get(s)).is_some_and(|s| s.role == role);
        // An axis that is no symbol has no role, and then stands where such an axis mostly does.
        let largest = |role, axis: usize| {
            let usual = shape.get(axis);
            let dim =
                usual.filter(|dim| has_role(dim, role)).or(shape.iter().find(|dim| has_role(dim, role))).or(usual);
            let bound = dim.and_then(|dim| dim.upper_bound(&plan.symbols).ok());
            bound.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
        };
        (largest(SizeRole::Batch, 0), largest(SizeRole::Length, 1))
    }

    /// The names of the labels, by number.
    pub fn id2label(&self) -> &[String] {
        &self.id2label
    }

    /// Number of labels.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }
}

/// `id2label` of a config; without one, `LABEL_0` and so on, `num_labels` of them or two, as transformers has it.
fn id2label(config: &Value) -> Result<Vec<String>> {
    let Some(labels) = config.get("id2label").and_then(Value::as_object) else {
        let count = config.get("num_labels").and_then(Value::as_u64).unwrap_or(2);
        return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let label = |i: usize| labels.get(&i.to_string()).and_then(Value::as_str).map(str::to_string);
    (0..labels.len())
        .map(|i| {
            label(i).ok_or_else(|| {
                let found = labels.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Error::Option(format!(
                    "config.json, `id2label`: expected a text for each number from 0 to {}, found keys {found}",
                    labels.len() - 1
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_come_from_the_config() {
        let labels = |config: Value| id2label(&config).map_err(|e| e.to_string());
        assert_eq!(labels(json!({"id2label": {"1": "yes", "0": "no"}})).unwrap(), ["no", "yes"]);
        assert_eq!(labels(json!({"num_labels": 1})).unwrap(), ["LABEL_0"]);
        assert_eq!(labels(json!({})).unwrap(), ["LABEL_0", "LABEL_1"]);
        let error = labels(json!({"id2label": {"0": "no", "2": "yes"}})).unwrap_err();
        assert!(error.contains("from 0 to 1, found keys 0, 2"), "{error}");
    }
}
