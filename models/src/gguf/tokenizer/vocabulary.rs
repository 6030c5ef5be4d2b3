//! The tokens of a GGUF file, and which of them stand for themselves.

use crate::gguf::Gguf;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i64 = 1;
pub(super) const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

pub(super) struct Vocabulary<'a> {
    pub tokens: Vec<&'a str>,
    pub types: Vec<i64>,
    /// The id that text becomes; of a token that is there several times, it is one of them.
    pub ids: HashMap<&'a str, usize>,
}

impl<'a> Vocabulary<'a> {
    pub fn read(gguf: &'a Gguf) -> Result<Vocabulary<'a>, String> {
        let meta = &gguf.metadata;
        let tokens = meta.strings("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokens"))?;
        let types = meta.integers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        one_for_each("token_type", types.len(), &tokens)?;
        // As in llama.cpp, the last of equal tokens counts, except that special ones are looked for in a text first.
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if ids.get(token).is_none_or(|before| !is_matched_first(types[*before]) || is_matched_first(types[id])) {
                ids.insert(*token, id);
            }
        }
        Ok(Vocabulary { tokens, types, ids })
    }

    /// The tokens that text can become, by id.
    pub fn reachable(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.tokens.iter().copied().enumerate().filter(|(id, token)| self.ids[token] == *id)
    }

    /// The ids that no text becomes, each with that of the equal token.
    pub fn same(&self) -> BTreeMap<usize, usize> {
        let ids = self.tokens.iter().map(|token| self.ids[token]).enumerate();
        ids.filter(|(id, same)| id != same).collect()
    }

    /// The scores of the tokens.
    pub fn scores(&self, gguf: &Gguf) -> Result<Vec<f64>, String> {
        let scores = gguf.metadata.numbers("tokenizer.ggml.scores")?.ok_or_else(|| missing("scores"))?;
        one_for_each("scores", scores.len(), &self.tokens)?;
        Ok(scores)
    }

    /// Tokens that are matched in the text before anything else: control tokens and the unknown one, which are special, and user-defined
    /// ones. With `strips` the special ones take the spaces after them, except for those that begin and end whole texts.
    pub fn added(&self, strips: bool) -> Vec<Value> {
        (self.reachable().map(|(id, token)| (id, token, self.types[id])))
            .filter(|(.., kind)| is_matched_first(*kind))
            .map(|(id, token, kind)| {
                let special = kind != USER_DEFINED;
                json!({
                    "id": id, "content": token, "special": special, "single_word": false, "lstrip": false,
                    "rstrip": strips && special && !["<unk>", "<s>", "<|endoftext|>"].contains(&token), "normalized": false,
                })
            })
            .collect()
    }

    /// Each token with its id.
    pub fn json(&self) -> Value {
        let vocabulary = self.reachable().map(|(id, token)| (token.to_string(), json!(id)));
        Value::Object(vocabulary.collect::<Map<_, _>>())
    }

    /// The first token of a type.
    pub fn first_of(&self, kind: i64) -> Option<(usize, &'a str)> {
        let id = self.types.iter().position(|t| *t == kind)?;
        Some((id, self.tokens[id]))
    }

    pub fn is_control(&self, id: usize) -> bool {
        self.types[id] == CONTROL
    }
}

/// Whether tokens of a type are looked for in a text before it is split.
fn is_matched_first(kind: i64) -> bool {
    matches!(kind, CONTROL | UNKNOWN | USER_DEFINED)
}

pub(super) fn missing(key: &str) -> String {
    format!("it has a tokenizer, but lacks the metadata key `tokenizer.ggml.{key}`")
}

fn one_for_each(key: &str, count: usize, tokens: &[&str]) -> Result<(), String> {
    match count == tokens.len() {
        true => Ok(()),
        false => Err(format!(
            "`tokenizer.ggml.{key}` has {count} entries for {} tokens; expected one for each",
            tokens.len()
        )),
    }
}
