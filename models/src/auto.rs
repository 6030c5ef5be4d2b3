//! From a config to a traced model: the registry of architectures.
//!
//! An architecture is known by its names in a config, the class name in `architectures` (`LlamaForCausalLM`) and the `model_type` (`llama`). A
//! crate of a user's own adds its architecture with [`register`], and every command of a program linked with it then knows it.

use crate::weights::Checkpoint;
use crate::{Error, Result, llama, qwen2};
use kiln_frontend::{DType, ParamSource, Storage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// How a model is traced.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The type that it computes in.
    pub dtype: DType,
    /// The longest sequence; `None` for what the config says (`max_position_embeddings`).
    pub max_seq: Option<usize>,
}

impl Default for TraceOptions {
    fn default() -> Self {
        TraceOptions { dtype: DType::F32, max_seq: None }
    }
}

impl TraceOptions {
    /// The longest sequence that may be asked for.
    pub const LARGEST_MAX_SEQ: usize = 1 << 28;

    /// The longest sequence, given the config's.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for 0 and for absurd numbers.
    pub fn max_seq_or(&self, max_position_embeddings: usize) -> Result<i64> {
        let max_seq = self.max_seq.unwrap_or(max_position_embeddings);
        let fits = (1..=Self::LARGEST_MAX_SEQ).contains(&max_seq);
        i64::try_from(max_seq).ok().filter(|_| fits).ok_or_else(|| Error::InvalidOption {
            option: "max-seq",
            expected: format!("a length from 1 to {}", Self::LARGEST_MAX_SEQ),
            found: max_seq.to_string(),
        })
    }
}

/// A traced model.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The program, verified.
    pub module: kiln_ir::Module,
    /// Tensors of the checkpoint that the model does not use: a sign, though no proof, of a wrong config.
    pub unused_tensors: Vec<String>,
    /// The longest sequence.
    pub max_seq: i64,
    /// Number of token ids.
    pub vocab_size: usize,
}

/// Traces an architecture: its config, its parameters, options.
pub type TraceFn = dyn Fn(&Value, &dyn ParamSource, &TraceOptions) -> Result<Traced> + Send + Sync;

type Registry = BTreeMap<String, Arc<TraceFn>>;

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| {
    let mut known = Registry::new();
    for name in ["LlamaForCausalLM", "llama"] {
        known.insert(name.into(), Arc::new(llama::trace));
    }
    for name in ["Qwen2ForCausalLM", "qwen2"] {
        known.insert(name.into(), Arc::new(qwen2::trace));
    }
    RwLock::new(known)
});

/// Makes an architecture known under a name; a later registration of the same name replaces an earlier one.
pub fn register(
    name: impl Into<String>,
    trace: impl Fn(&Value, &dyn ParamSource, &TraceOptions) -> Result<Traced> + Send + Sync + 'static,
) {
    // A panic elsewhere cannot leave the map half changed.
    REGISTRY.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(trace));
}

/// The names that [`trace_causal_lm`] knows.
pub fn supported() -> Vec<String> {
    REGISTRY.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
}

/// Traces the causal language model that a `config.json` describes: the first name that is known of `architectures`, and if there is
/// no such list, `model_type`.
///
/// # Errors
/// [`Error::UnknownArchitecture`] with the names that are known; else whatever does not fit in config and parameters.
pub fn trace_causal_lm(config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let names = names(config);
    let found = {
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find_map(|name| registry.get(*name).cloned())
    };
    match found {
        Some(trace) => trace(config, source, options),
        None => Err(Error::UnknownArchitecture {
            found: if names.is_empty() { "none".into() } else { format!("`{}`", names.join("`, `")) },
            supported: supported().join(", "),
        }),
    }
}

fn names(config: &Value) -> Vec<&str> {
    let classes = config.get("architectures").and_then(Value::as_array).filter(|all| !all.is_empty());
    match classes {
        Some(all) => all.iter().filter_map(Value::as_str).collect(),
        None => config.get("model_type").and_then(Value::as_str).into_iter().collect(),
    }
}

impl ParamSource for Checkpoint {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        self.get(name).map(|t| (t.storage, t.shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.names().map(str::to_string).collect()
    }
}
