//! The tokenizer of a folder, as transformers 5 makes one of its files.
//!
//! In come the files that speak of tokens: `tokenizer.json`, else a vocabulary of an older form (`vocab.txt`, `vocab.json` with
//! `merges.txt`, a SentencePiece model), and what `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say over it.
//! Out comes one `tokenizer.json` in which all of that is applied, and one `tokenizer_config.json` that names what it does not hold. So
//! nothing after this module asks how a model's files were laid out.
//!
//! As in transformers, what is made of the files depends on the tokenizer's class ([`class`]): most classes take the vocabulary only and
//! build the rest anew ([`build`]), the general one takes `tokenizer.json` as it is. The parts that tokenizers consist of are in
//! [`parts`], which reading GGUF shares.

mod added;
mod build;
mod class;
mod merges;
mod names;
pub(crate) mod parts;
mod sentencepiece;
mod special;
pub(crate) mod template;
mod vocabulary;

pub(crate) use merges::ways;

use crate::Result;
use crate::source::TOKENIZER;
use class::Class;
use serde_json::{Map, Value};
use special::Stated;
use std::path::Path;

/// The files that say something over a vocabulary.
const BESIDES: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// The files that a tokenizer is made of, of those that there are.
pub(crate) fn files(there_is: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let tokens: &[&str] = if there_is(TOKENIZER) { &[TOKENIZER] } else { &names::FILES };
    BESIDES.iter().chain(tokens).copied().filter(|name| there_is(name)).collect()
}

/// A folder's tokenizer.
#[derive(Debug, Default)]
pub(crate) struct FolderTokenizer {
    /// `tokenizer.json` with everything applied.
    pub json: Option<Vec<u8>>,
    /// `tokenizer_config.json`, with the special tokens by name.
    pub config: Option<Value>,
}

/// Reads the tokenizer of a folder; `model` is its `config.json`.
///
/// What is no tokenizer is left as it is, for the one who reads it to complain of. Files that need a kind of tokenizer that is not
/// known here are left out, with a warning: the model still runs on token ids.
///
/// # Errors
/// A file that cannot be read or is not what its name says.
pub(crate) fn of_folder(folder: &Path, model: &Value) -> Result<FolderTokenizer> {
    let bytes = crate::json::bytes(&folder.join(TOKENIZER))?;
    let parsed = bytes.as_deref().and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let mut json = parsed.filter(|json| json.get("model").is_some_and(Value::is_object));
    let mut stated = Stated::read(folder, json.as_ref())?;
    let unread = bytes.is_some() && json.is_none();
    let has_byte_level = json.as_ref().is_some_and(class::has_byte_level);
    let class = Class::of_model(model, stated.text("tokenizer_class"), has_byte_level);
    let vocabulary = match &mut json {
        _ if unread => None,
        Some(json) => vocabulary::of_json(class, json),
        None => vocabulary::of_files(folder, class, model)?,
    };
    let anew = vocabulary.is_some();
    let names_padding = vocabulary.as_ref().is_some_and(|(class, _)| class.names_padding());
    if let Some(json) = json.as_ref().filter(|_| !names_padding) {
        stated.pad_as(json);
    }
    let built = match (vocabulary, &json) {
        (Some((class, vocabulary)), _) => build::build(class, &stated, vocabulary, json.as_ref()),
        (None, Some(_)) => build::as_it_is(class, &stated, json.take().unwrap_or_default()),
        (None, None) => return Ok(FolderTokenizer { json: bytes, config: stated.config(Map::new()) }),
    };
    let (mut json, mut besides, changed) = build::finish(built, &stated);
    if names_padding {
        // Whoever reads the file again would take its token; the side is in the config.
        json["padding"] = Value::Null;
    }
    if anew {
        // Whoever reads the two files again has nothing to build.
        besides.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    }
    let json = match bytes {
        Some(bytes) if !anew && !changed => bytes,
        _ => json.to_string().into_bytes(),
    };
    Ok(FolderTokenizer { json: Some(json), config: stated.config(besides) })
}
