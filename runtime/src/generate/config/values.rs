//! What fields of the file hold that are no plain values.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One value or a list of them, as `eos_token_id` and `stop_strings` are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A bare value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, as a slice.
    pub fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        }
    }
}

/// When beam search ends, `early_stopping` of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum EarlyStopping {
    /// `false`: when the best running beam, scored at its present length, is worse than all `num_beams` finished ones.
    #[default]
    Heuristic,
    /// `true`: as soon as `num_beams` beams have finished.
    WhenFull,
    /// `"never"`: when no running beam can become better than the finished ones, at any length up to the limit.
    Never,
}

impl TryFrom<Value> for EarlyStopping {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match &value {
            Value::Bool(false) => Ok(EarlyStopping::Heuristic),
            Value::Bool(true) => Ok(EarlyStopping::WhenFull),
            Value::String(text) if text == "never" => Ok(EarlyStopping::Never),
            _ => Err("expected true, false or \"never\""),
        }
    }
}

impl From<EarlyStopping> for Value {
    fn from(early_stopping: EarlyStopping) -> Value {
        match early_stopping {
            EarlyStopping::Heuristic => false.into(),
            EarlyStopping::WhenFull => true.into(),
            EarlyStopping::Never => "never".into(),
        }
    }
}
