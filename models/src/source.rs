//! From a MODEL, as the user names it, to its files.
//!
//! MODEL is a folder, a `.gguf` file, or a hub id (`owner/name`, or `owner/name@revision`). What exists on disk is taken from
//! there; everything else must look like an id. Out comes [`ModelFiles`], the same for all three: raw JSON where this crate is
//! not the one to judge it, and an opened [`Checkpoint`].

mod default_model;
mod gguf_files;
mod hub;
mod inputs;
mod save;

pub use default_model::{DEFAULT_MODEL, fetch_default_model, user_cache};
pub use hub::{HubOptions, PushOptions, Pushed, push_to_hub};
pub use inputs::inputs;

use crate::gguf::{self, Gguf};
use crate::tokenizer::FolderTokenizer;
use crate::weights::{Checkpoint, WEIGHTS};
use crate::{Error, Result, json};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
    /// `tokenizer.json`, as bytes: whoever uses it parses it. Whatever else the files say of tokens is applied, and where there is no such
    /// file it is made of the vocabulary's own.
    pub tokenizer_json: Option<Vec<u8>>,
    /// `tokenizer_config.json`, with the chat templates of the folder `additional_chat_templates` among its named ones, and the special
    /// tokens by name, whichever file has them.
    pub tokenizer_config: Option<Value>,
    /// The chat template: `chat_template.jinja`, or the default one in `tokenizer_config.json`.
    pub chat_template: Option<String>,
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
            Some(id) => hub::resolve(&id, options),
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
        let FolderTokenizer { json: tokenizer_json, config: mut tokenizer_config } =
            crate::tokenizer::of_folder(folder, &config)?;
        add_named_templates(folder, &mut tokenizer_config)?;
        Ok(ModelFiles {
            id: name_of(folder),
            revision: None,
            config,
            generation_config: read_config(&folder.join("generation_config.json"))?,
            tokenizer_json,
            chat_template: chat_template(folder, tokenizer_config.as_ref())?,
            tokenizer_config,
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
        let (tokenizer_json, tokenizer_config, chat_template) = match tokenizer {
            Some(t) => (Some(t.tokenizer_json.to_string().into_bytes()), Some(t.tokenizer_config), t.chat_template),
            None => (None, None, None),
        };
        Ok(ModelFiles {
            id: name_of(path),
            revision: None,
            config: gguf::config_json(&gguf)?,
            generation_config: Some(gguf::generation_config_json(&gguf)?),
            tokenizer_json,
            tokenizer_config,
            chat_template,
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

/// A bar on stderr for so many bytes; nothing where stderr is no terminal.
fn progress_bar(bytes: u64, message: &str) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_message(message.to_string())
}

/// Bytes in hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last part of a path, without `.gguf`.
fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy();
    name.strip_suffix(".gguf").unwrap_or(&name).to_string()
}

/// A file's bytes, `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

fn read_json(path: &Path) -> Result<Option<Value>> {
    read(path)?.map(|bytes| json::parse(path, &bytes)).transpose()
}

/// A config, which is an object.
fn read_config(path: &Path) -> Result<Option<Value>> {
    let config = read(path)?.map(|bytes| json::object::<Map<String, Value>>(path, &bytes)).transpose()?;
    Ok(config.map(Value::Object))
}

/// `modules.json` and the configs of the folders that it names.
fn sentence_transformer(folder: &Path) -> Result<Option<Value>> {
    let Some(mut modules) = read_json(&folder.join("modules.json"))? else { return Ok(None) };
    for module in modules.as_array_mut().into_iter().flatten() {
        // The transformer itself lies beside modules.json; nothing outside of the folder is read.
        let inside = |path: &&str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        let path = module.get("path").and_then(Value::as_str).filter(|p| !p.is_empty()).filter(inside);
        let config = path.map(|path| read_json(&folder.join(path).join("config.json"))).transpose()?.flatten();
        if let (Some(module), Some(config)) = (module.as_object_mut(), config) {
            module.insert("config".to_string(), config);
        }
    }
    Ok(Some(modules))
}

/// Where transformers saves chat templates besides the default one, each as `NAME.jinja`.
const MORE_TEMPLATES: &str = "additional_chat_templates";

/// Puts the folder's named templates into the tokenizer's config, where a list of them has its place.
fn add_named_templates(folder: &Path, tokenizer_config: &mut Option<Value>) -> Result<()> {
    let more = folder.join(MORE_TEMPLATES);
    let files = match std::fs::read_dir(&more) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", &more)(e)),
    };
    let mut named = BTreeMap::new();
    for file in files {
        let path = file.map_err(Error::io("read", &more))?.path();
        if let (Some(name), Some("jinja")) =
            (path.file_stem().and_then(|s| s.to_str()), path.extension().and_then(|e| e.to_str()))
        {
            named.insert(name.to_string(), std::fs::read_to_string(&path).map_err(Error::io("read", &path))?);
        }
    }
    let config = tokenizer_config.get_or_insert_with(|| json!({}));
    let in_config = match config.get("chat_template") {
        Some(Value::String(template)) => vec![json!({ "name": "default", "template": template })],
        Some(Value::Array(templates)) => templates.clone(),
        _ => vec![],
    };
    let is_replaced = |t: &Value| t.get("name").and_then(Value::as_str).is_some_and(|name| named.contains_key(name));
    let mut all: Vec<Value> = in_config.into_iter().filter(|t| !is_replaced(t)).collect();
    all.extend(named.iter().map(|(name, template)| json!({ "name": name, "template": template })));
    if let (Some(fields), false) = (config.as_object_mut(), all.is_empty()) {
        fields.insert("chat_template".to_string(), all.into());
    }
    Ok(())
}

/// transformers looks in this order: a file of its own, then the tokenizer's config, where it is one template or a list of named
/// ones, of which `default` is meant.
fn chat_template(folder: &Path, tokenizer_config: Option<&Value>) -> Result<Option<String>> {
    let jinja = folder.join("chat_template.jinja");
    if let Some(bytes) = read(&jinja)? {
        let invalid = |e| Error::io("read", &jinja)(std::io::Error::new(std::io::ErrorKind::InvalidData, e));
        return String::from_utf8(bytes).map(Some).map_err(invalid);
    }
    let in_json = read_json(&folder.join("chat_template.json"))?;
    let entry = in_json.as_ref().or(tokenizer_config).and_then(|config| config.get("chat_template"));
    Ok(match entry {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(named)) => named
            .iter()
            .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|t| t.get("template"))
            .and_then(Value::as_str)
            .map(str::to_string),
        _ => None,
    })
}
