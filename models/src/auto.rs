//! From a config to a traced model: the registry of architectures.
//!
//! An architecture is known by the `model_type` of its configs (`llama`), and by the tasks that it has a head for. A crate of a user's own
//! adds its architecture with [`register`], and every command of a program linked with it then knows it.

pub use crate::traced::{TraceOptions, Traced};

use crate::families::{
    bart, bert, distilbert, electra, encoder, gemma2, gemma3, gpt_neox, gpt2, llama, mistral, modernbert, olmo2, phi3,
    qwen2, qwen3, roberta, smollm3, t5,
};
use crate::weights::Checkpoint;
use crate::{Error, Result, Task, config};
use kiln_frontend::{ParamSource, Storage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Traces an architecture for a task: its config, its parameters, options.
pub type TraceFn = dyn Fn(Task, &Value, &dyn ParamSource, &TraceOptions) -> Result<Traced> + Send + Sync;

/// By `model_type`, then by task.
type Registry = BTreeMap<(String, Task), Arc<TraceFn>>;

static REGISTRY: LazyLock<RwLock<Registry>> = LazyLock::new(|| {
    let mut known = Registry::new();
    let decoders = [Task::Base, Task::CausalLm];
    insert(&mut known, "gemma2", &decoders, gemma2::trace);
    insert(&mut known, "gemma3_text", &decoders, gemma3::trace);
    insert(&mut known, "gpt2", &decoders, gpt2::trace);
    insert(&mut known, "gpt_neox", &decoders, gpt_neox::trace);
    insert(&mut known, "llama", &decoders, llama::trace);
    insert(&mut known, "mistral", &decoders, mistral::trace);
    insert(&mut known, "olmo2", &decoders, olmo2::trace);
    insert(&mut known, "phi3", &decoders, phi3::trace);
    insert(&mut known, "qwen2", &decoders, qwen2::trace);
    insert(&mut known, "qwen3", &decoders, qwen3::trace);
    insert(&mut known, "smollm3", &decoders, smollm3::trace);
    insert(&mut known, "bert", &encoder::TASKS, bert::trace);
    insert(&mut known, "distilbert", &encoder::TASKS, distilbert::trace);
    insert(&mut known, "roberta", &encoder::TASKS, roberta::trace);
    insert(&mut known, "xlm-roberta", &encoder::TASKS, roberta::trace);
    insert(&mut known, "electra", &encoder::TASKS, electra::trace);
    insert(&mut known, "modernbert", &encoder::TASKS, modernbert::trace);
    let bart_tasks = [Task::Seq2SeqLm, Task::SequenceClassification, Task::QuestionAnswering];
    insert(&mut known, "bart", &bart_tasks, bart::trace);
    insert(&mut known, "mt5", &[Task::Seq2SeqLm], t5::trace);
    insert(&mut known, "t5", &[Task::Seq2SeqLm], t5::trace);
    RwLock::new(known)
});

fn insert(
    registry: &mut Registry,
    model_type: &str,
    tasks: &[Task],
    trace: impl Fn(Task, &Value, &dyn ParamSource, &TraceOptions) -> Result<Traced> + Send + Sync + 'static,
) {
    let trace: Arc<TraceFn> = Arc::new(trace);
    registry.extend(tasks.iter().map(|task| ((model_type.to_string(), *task), trace.clone())));
}

/// Makes an architecture known, under the `model_type` of its configs and for the tasks that it has a head for; a later registration
/// of the same replaces an earlier one.
pub fn register(
    model_type: &str,
    tasks: &[Task],
    trace: impl Fn(Task, &Value, &dyn ParamSource, &TraceOptions) -> Result<Traced> + Send + Sync + 'static,
) {
    // A panic elsewhere cannot leave the map half changed.
    insert(&mut REGISTRY.write().unwrap_or_else(PoisonError::into_inner), model_type, tasks, trace);
}

/// The `model_type`s that [`trace`] knows, each with its tasks.
pub fn supported() -> BTreeMap<String, Vec<Task>> {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let mut supported = BTreeMap::<String, Vec<Task>>::new();
    for (model_type, task) in registry.keys() {
        supported.entry(model_type.clone()).or_default().push(*task);
    }
    supported
}

/// The task that a checkpoint was made for: that of the first class in its `architectures`. Where none is named, or a class that a user
/// made, a model of a kind that writes text is for that, as transformers' `AutoModelForCausalLM` goes by `model_type` alone. Any other
/// one without a class is for its hidden states.
///
/// # Errors
/// [`Error::UnknownArchitecture`] for a class that is for no task known here, of a model that does not write text.
pub fn task_of(config: &Value) -> Result<Task> {
    let class = config.get("architectures").and_then(|all| all.get(0)).and_then(Value::as_str);
    let known = supported();
    let tasks = Task::ALL.into_iter().chain(known.values().flatten().copied());
    if let Some(task) = class.and_then(|class| Task::of_class(class, tasks)) {
        return Ok(task);
    }
    // A config without a `model_type` is refused here.
    config::model_type(config)?;
    match (writing_task(config), class) {
        (Some(task), _) => Ok(task),
        (None, None) => Ok(Task::Base),
        (None, Some(class)) => Err(Error::UnknownArchitecture {
            found: format!("`{class}`"),
            expected: "a class such as LlamaForCausalLM or BertModel in `architectures` of config.json".into(),
        }),
    }
}

/// The task of a model that writes text, whatever class the checkpoint names: as transformers' `AutoModelForCausalLM` and
/// `AutoModelForSeq2SeqLM`, which go by `model_type` alone. None for a kind of model that writes none.
pub fn writing_task(config: &Value) -> Option<Task> {
    let known = supported();
    let tasks = known.get(config::model_type(config).ok()?)?;
    [Task::CausalLm, Task::Seq2SeqLm].into_iter().find(|task| tasks.contains(task))
}

/// Traces the model that a `config.json` describes, for a task or, without one, for that of [`task_of`].
///
/// # Errors
/// [`Error::UnknownArchitecture`] with the names that are known; [`Error::Quantized`]; else whatever does not fit in config and parameters.
pub fn trace(task: Option<Task>, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    use kiln_frontend::Error::{Parameters, UnsupportedTypes};
    let model_type = config::model_type(config)?;
    let supported = supported();
    let Some(tasks) = supported.get(model_type) else {
        return Err(Error::UnknownArchitecture {
            found: format!("model_type `{model_type}`"),
            expected: format!("one of {}", supported.into_keys().collect::<Vec<_>>().join(", ")),
        });
    };
    config::check_not_quantized(config)?;
    let task = task.map_or_else(|| task_of(config), Ok)?;
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let found = registry.get(&(model_type.to_string(), task)).cloned();
    drop(registry);
    match found {
        // Where the model's tensors are not there, others may be that a library has put in their place.
        Some(trace) => trace(task, config, source, options).map_err(|error| match (&error, source.quantized()) {
            (Error::Trace(Parameters { .. } | UnsupportedTypes { .. }) | Error::MissingHead { .. }, Some(method)) => {
                Error::Quantized { method }
            }
            _ => error,
        }),
        None => Err(Error::UnknownArchitecture {
            found: format!("{} ({task}) of model_type `{model_type}`", task.auto_class()),
            expected: format!("one of {}", tasks.iter().map(|t| t.auto_class()).collect::<Vec<_>>().join(", ")),
        }),
    }
}

impl ParamSource for Checkpoint {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        self.get(name).map(|t| (t.storage, t.shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.names().chain(self.unsupported_names()).map(str::to_string).collect()
    }

    fn unsupported(&self, name: &str) -> Option<String> {
        self.unsupported(name).map(str::to_string)
    }

    fn differ(&self, one: &str, other: &str) -> bool {
        !self.same_values(one, other)
    }

    fn quantized(&self) -> Option<String> {
        config::quantized_beside(self)
    }
}
