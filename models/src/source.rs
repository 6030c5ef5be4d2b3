//! From a MODEL, as the user names it, to its files.
//!
//! MODEL is a folder, a `.gguf` file, or a hub id (`owner/name`, or `owner/name@revision`). What exists on disk is taken from
//! there; everything else must look like an id. Out comes [`ModelFiles`], the same for all three: raw JSON where this crate is
//! not the one to judge it, and an opened [`Checkpoint`].

mod default_model;
mod environment;
mod gguf_files;
mod hex;
mod hub;
mod inputs;
mod names;
mod processors;
mod progress;
mod save;

pub use default_model::{DEFAULT_MODEL, fetch_default_model};
pub use environment::user_cache;
pub use hub::{HubOptions, PushOptions, Pushed, push_to_hub};
pub use inputs::inputs;
pub use names::{CHAT_TEMPLATE, PROCESSOR_CONFIG, TOKENIZER, TOKENIZER_CONFIG};
pub use processors::Processors;
pub use progress::{Progress, Transfer};

use crate::gguf::{self, Gguf};
use crate::weights::{Checkpoint, WEIGHTS};
use crate::{Error, Result, json};
use serde_json::{Map, Value};
use std::path::{Component, Path};

/// Everything a model consists of.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The hub id, or the name of the folder or file.
    pub id: String,
    /// The commit, for a model from the hub.
    pub revision: Option<String>,
    /// `config.json`.
    pub config: Value,
    /// `generation_config.json`.
    pub generation_config: Option<Value>,
    /// What makes a model's inputs of texts, images or sounds, and something of its outputs again.
    pub processors: Processors,
    /// For a model of sentence-transformers, the entries of `modules.json`, each with the contents of its folder's `config.json` as
    /// `config`.
    pub sentence_transformer: Option<Value>,
    /// The weights.
    pub checkpoint: Checkpoint,
}

impl ModelFiles {
    /// Resolves MODEL, downloading from the hub what the cache does not hold.
    ///
    /// # Errors
    /// [`Error::NoSuchModel`] if MODEL is nothing of the three, else whatever is wrong with the files or the network.
    pub fn resolve(model: &str) -> Result<ModelFiles> {
        Self::resolve_with(model, &HubOptions::from_env())
    }

    /// As [`resolve`](Self::resolve), with the hub given rather than taken from the environment.
    ///
    /// Where a folder or a repository holds no weights but one `.gguf` file, that is taken; `gguf_file` of the options picks one of several.
    ///
    /// # Errors
    /// The same, and [`Error::InvalidOption`] where a `.gguf` file must be picked, or there is none of that name.
    pub fn resolve_with(model: &str, options: &HubOptions) -> Result<ModelFiles> {
        let path = Path::new(model);
        if path.is_dir() {
            let found = gguf_files::in_folder(path)?;
            let others = WEIGHTS.iter().any(|name| path.join(name).exists());
            return match gguf_files::choose(model, &found, others, options.gguf_file.as_deref())? {
                Some(gguf) => Self::open_file(&path.join(gguf)),
                None => Self::open_folder(path),
            };
        }
        if path.is_file() {
            return Self::open_file(path);
        }
        // What is there and is neither, and what cannot be looked at, is no hub id.
        if let Some(found) = at_the_path(path) {
            return Err(Error::NoSuchModel { model: model.to_string(), found });
        }
        match hub::HubId::parse(model, options) {
            Some(id) => {
                let (place, commit) = hub::snapshot(&id, options)?;
                let files = if place.is_dir() { Self::open_folder(&place)? } else { Self::open_file(&place)? };
                Ok(ModelFiles { id: id.id, revision: Some(commit), ..files })
            }
            None => Err(Error::NoSuchModel {
                model: model.to_string(),
                found: "nothing exists at that path, and it is no hub id".to_string(),
            }),
        }
    }

    /// Opens a folder as Hugging Face lays it out. Only `config.json` and the weights must be there.
    ///
    /// # Errors
    /// Whatever is wrong with the files.
    pub fn open_folder(folder: &Path) -> Result<ModelFiles> {
        let config = read_config(&folder.join("config.json"))?.ok_or_else(|| Error::MissingFile {
            folder: folder.to_path_buf(),
            expected: "config.json",
            advice: "give the folder that transformers' save_pretrained wrote, or the path of a .gguf file".to_string(),
        })?;
        let processors = processors::of_folder(folder, &config)?;
        Ok(ModelFiles {
            id: name_of(folder),
            revision: None,
            config,
            generation_config: read_config(&folder.join("generation_config.json"))?,
            processors,
            sentence_transformer: sentence_transformer(folder)?,
            checkpoint: Checkpoint::open(folder)?,
        })
    }

    /// Opens a `.gguf` file.
    ///
    /// A tokenizer of a kind that is not supported is left out, with a warning: the model still runs on token ids.
    ///
    /// # Errors
    /// Whatever is wrong with the file; [`Error::NoSuchModel`] for a file of another kind.
    pub fn open_file(path: &Path) -> Result<ModelFiles> {
        if path.extension().is_none_or(|e| e != "gguf") {
            return Err(Error::NoSuchModel {
                model: path.display().to_string(),
                found: "it is a file, but no .gguf (for safetensors, give the folder that also holds config.json)"
                    .to_string(),
            });
        }
        let gguf = Gguf::open(path)?;
        let tokenizer = match gguf::tokenizer(&gguf) {
            Err(error @ Error::UnsupportedGguf { .. }) => {
                tracing::warn!("{error}; going on without a tokenizer");
                None
            }
            other => other?,
        };
        Ok(ModelFiles {
            id: name_of(path),
            revision: None,
            config: gguf::config_json(&gguf)?,
            generation_config: Some(gguf::generation_config_json(&gguf)?),
            processors: tokenizer.map(processors::of_gguf).unwrap_or_default(),
            sentence_transformer: gguf::sentence_transformer(&gguf)?,
            checkpoint: gguf::checkpoint(&gguf)?,
        })
    }
}

/// What is at a path that is neither folder nor file; `None` for nothing.
fn at_the_path(path: &Path) -> Option<String> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match path.metadata() {
        Ok(_) => Some("there is something at that path, but neither a folder nor a file".to_string()),
        Err(e) if path.is_symlink() => {
            let to = path.read_link().unwrap_or_default();
            Some(format!("at that path is a link to {}, which cannot be followed ({e})", to.display()))
        }
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => None,
        // A text that is too long for a path is no path.
        Err(e) if e.kind() == std::io::ErrorKind::InvalidFilename => None,
        Err(e) => Some(format!("that path cannot be looked at ({e})")),
    }
}

/// The last part of a path, without `.gguf`.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy();
    name.strip_suffix(".gguf").unwrap_or(&name).to_string()
}

/// A config, which is an object.
fn read_config(path: &Path) -> Result<Option<Value>> {
    let config = json::bytes(path)?.map(|bytes| json::object::<Map<String, Value>>(path, &bytes)).transpose()?;
    Ok(config.map(Value::Object))
}

/// `modules.json` and the configs of the folders that it names.
fn sentence_transformer(folder: &Path) -> Result<Option<Value>> {
    let Some(mut modules) = json::read(&folder.join("modules.json"))? else { return Ok(None) };
    for module in modules.as_array_mut().into_iter().flatten() {
        // The transformer itself lies beside modules.json; nothing outside of the folder is read.
        let inside = |path: &&str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        let path = module.get("path").and_then(Value::as_str).filter(|p| !p.is_empty()).filter(inside);
        let config = path.map(|path| json::read(&folder.join(path).join("config.json"))).transpose()?.flatten();
        if let (Some(module), Some(config)) = (module.as_object_mut(), config) {
            module.insert("config".to_string(), config);
        }
    }
    Ok(Some(modules))
}
