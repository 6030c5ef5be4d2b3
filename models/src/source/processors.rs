//! The files that say how a model's inputs are made: a tokenizer with its config and its chat template, an image processor's config.
//!
//! They are bytes by the names that they have in a model's folder, and whoever uses one parses it. An artifact carries all of them.

use super::names::{CHAT_TEMPLATE, MORE_TEMPLATES, PROCESSOR_CONFIG, TOKENIZER, TOKENIZER_CONFIG};
use crate::gguf::GgufTokenizer;
use crate::json;
use crate::tokenizer::{self, FolderTokenizer};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Files by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors(BTreeMap<String, Vec<u8>>);

impl Processors {
    /// A file's bytes, if it is there.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// A file as JSON, if it is there and is JSON.
    pub fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(self.get(name)?).ok()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Puts a file in the place of one of its name.
    pub fn insert(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert(name.to_string(), bytes.into());
    }

    fn insert_tokenizer(&mut self, json: Option<Vec<u8>>, config: Option<Value>, template: Option<String>) {
        let config = config.map(|config| config.to_string().into_bytes());
        let files = [(TOKENIZER, json), (TOKENIZER_CONFIG, config), (CHAT_TEMPLATE, template.map(String::into_bytes))];
        files.into_iter().for_each(|(name, bytes)| {
            if let Some(bytes) = bytes {
                self.insert(name, bytes);
            }
        });
    }
}

/// Those of a folder; `model` is its `config.json`.
pub(super) fn of_folder(folder: &Path, model: &Value) -> Result<Processors> {
    let mut processors = Processors::default();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        if let Some(name) = entry.file_name().to_str().filter(|name| name.ends_with(PROCESSOR_CONFIG)) {
            let path = entry.path();
            let Some(bytes) = json::bytes(&path)? else { continue };
            // Damage shows here, and not on the machine that runs the model.
            json::parse::<Value>(&path, &bytes)?;
            processors.insert(name, bytes);
        }
    }
    let FolderTokenizer { json, mut config } = tokenizer::of_folder(folder, model)?;
    add_named_templates(folder, &mut config)?;
    let template = chat_template(folder, config.as_ref())?;
    processors.insert_tokenizer(json, config, template);
    Ok(processors)
}

/// The tokenizer of a GGUF file.
pub(super) fn of_gguf(tokenizer: GgufTokenizer) -> Processors {
    let mut processors = Processors::default();
    let json = tokenizer.tokenizer_json.to_string().into_bytes();
    processors.insert_tokenizer(Some(json), Some(tokenizer.tokenizer_config), tokenizer.chat_template);
    processors
}

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
    let jinja = folder.join(CHAT_TEMPLATE);
    if let Some(bytes) = json::bytes(&jinja)? {
        let invalid = |e| Error::io("read", &jinja)(std::io::Error::new(std::io::ErrorKind::InvalidData, e));
        return String::from_utf8(bytes).map(Some).map_err(invalid);
    }
    let in_json = json::read(&folder.join("chat_template.json"))?;
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
