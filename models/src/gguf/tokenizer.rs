//! From `tokenizer.ggml.*` to a Hugging Face `tokenizer.json`.
//!
//! GGUF keeps the vocabulary with a type for each token, merges or scores, and a few flags; what else a tokenizer does follows from the
//! name of its kind (`tokenizer.ggml.model`), each of which has a module here.

mod byte_level;
mod parts;
mod sentencepiece;
mod unigram;
mod vocabulary;
mod wordpiece;

use super::Gguf;
use crate::Result;
use crate::tokenizer::template::Token;
use parts::Source;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vocabulary::Vocabulary;

/// A tokenizer in the form in which a Hugging Face folder holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.json`.
    pub tokenizer_json: Value,
    /// `tokenizer_config.json`: the named special tokens, `add_bos_token`, `add_eos_token`, `chat_template`; and `same_tokens`, which no
    /// other tool knows: each id whose token has another id too, which `tokenizer.json` cannot hold, with that id.
    pub tokenizer_config: Value,
    /// The chat template, a Jinja text.
    pub chat_template: Option<String>,
}

/// transformers' names of special tokens, and llama.cpp's.
const NAMED: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("pad", "padding"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// The tokenizer in the metadata; `None` if there is none at all.
///
/// # Errors
/// [`Error::CorruptGguf`](crate::Error::CorruptGguf) for lists that do not fit each other,
/// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for a model or a pre-tokenizer that is not known here.
pub fn tokenizer(gguf: &Gguf) -> Result<Option<GgufTokenizer>> {
    let corrupt = |p: String| gguf.corrupt(p);
    let parts = match gguf.metadata.string("tokenizer.ggml.model").map_err(corrupt)? {
        None => return Ok(None),
        Some("gpt2") => byte_level::parts,
        Some("llama") => sentencepiece::parts,
        Some("t5") => unigram::parts,
        Some("bert") => wordpiece::parts,
        Some(other) => {
            return Err(gguf.unsupported(format!(
                "its tokenizer model is `{other}`; from GGUF, kiln supports gpt2 (byte-level BPE), llama (BPE with scores), t5 (Unigram) \
                 and bert (WordPiece). Use the model's folder with tokenizer.json"
            )));
        }
    };
    let mut source = Source::read(gguf)?;
    let parts = parts(&mut source)?;
    let chat_template = gguf.metadata.string("tokenizer.chat_template").map_err(corrupt)?.map(str::to_string);
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "add_bos_token": parts.adds.0,
        "add_eos_token": parts.adds.1,
    });
    let same = source.vocabulary.same();
    if !same.is_empty() {
        let file = gguf.path().display();
        tracing::warn!(%file, "{} tokens of the vocabulary are there more than once; text becomes one of each", same.len());
        config["same_tokens"] = json!(same);
    }
    for (name, (_, token)) in &source.named {
        config[format!("{name}_token")] = json!(token);
    }
    if let Some(template) = &chat_template {
        config["chat_template"] = json!(template);
    }
    let tokenizer_json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": source.vocabulary.added(source.strips()),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": parts.post_processor,
        "decoder": parts.decoder,
        "model": parts.model,
    });
    Ok(Some(GgufTokenizer { tokenizer_json, tokenizer_config: config, chat_template }))
}

impl<'a> Source<'a> {
    fn read(gguf: &'a Gguf) -> Result<Source<'a>> {
        let mut vocabulary = Vocabulary::read(gguf).map_err(|p| gguf.corrupt(p))?;
        let mut named = BTreeMap::new();
        for (name, key) in NAMED {
            let key = format!("tokenizer.ggml.{key}_token_id");
            let Some(id) = gguf.metadata.unsigned(&key).map_err(|p| gguf.corrupt(p))? else { continue };
            let token = usize::try_from(id).ok().and_then(|id| Some((id, *vocabulary.tokens.get(id)?)));
            let (id, token) = token.ok_or_else(|| {
                let count = vocabulary.tokens.len();
                gguf.corrupt(format!("metadata key `{key}` is {id}, but there are {count} tokens"))
            })?;
            // Of equal tokens, one that the file names is what its name stands for.
            vocabulary.ids.insert(token, id);
            named.insert(name, (id, token));
        }
        Ok(Source { gguf, vocabulary, named })
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let found = self.gguf.metadata.bool(&format!("tokenizer.ggml.{key}"));
        found.map(|found| found.unwrap_or(default)).map_err(|p| self.gguf.corrupt(p))
    }

    /// Whether text begins with bos and ends with eos, where the file does not say.
    fn adds(&self, bos: bool, eos: bool) -> Result<(bool, bool)> {
        Ok((self.flag("add_bos_token", bos)?, self.flag("add_eos_token", eos)?))
    }

    /// The tokens before and after a text.
    fn around(&self, (bos, eos): (bool, bool)) -> (Option<Token<'a>>, Option<Token<'a>>) {
        let named = |name: &str, wanted: bool| self.named.get(name).filter(|_| wanted).copied();
        (named("bos", bos), named("eos", eos))
    }

    fn architecture(&self) -> &str {
        self.gguf.metadata.string("general.architecture").ok().flatten().unwrap_or_default()
    }

    /// Whether special tokens take the spaces after them, which no metadata says: Phi-3's do, as llama.cpp knows too.
    fn strips(&self) -> bool {
        let kind = self.gguf.metadata.string("tokenizer.ggml.model").ok().flatten();
        self.architecture() == "phi3" && kind == Some("llama")
    }
}
