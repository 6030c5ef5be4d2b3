//! Tokens beside a model's vocabulary, which are found in a text before anything else.

use serde_json::{Value, json};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Such a token and how it is found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AddedToken {
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    pub special: bool,
}

impl AddedToken {
    /// A special token without further wishes.
    pub fn special(content: impl Into<String>) -> AddedToken {
        Self::new(content, true)
    }

    pub fn new(content: impl Into<String>, special: bool) -> AddedToken {
        AddedToken {
            content: content.into(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: !special,
            special,
        }
    }

    /// A token as JSON files write it: an object, or its text alone, which then is special.
    pub fn from_json(json: &Value) -> Option<AddedToken> {
        if let Some(text) = json.as_str() {
            return Some(AddedToken::special(text));
        }
        let flag = |name: &str| json.get(name).and_then(Value::as_bool);
        let plain = AddedToken::new(json.get("content")?.as_str()?, flag("special").unwrap_or(false));
        Some(AddedToken {
            single_word: flag("single_word").unwrap_or(false),
            lstrip: flag("lstrip").unwrap_or(false),
            rstrip: flag("rstrip").unwrap_or(false),
            normalized: flag("normalized").unwrap_or(plain.normalized),
            ..plain
        })
    }

    fn json(&self, id: usize) -> Value {
        json!({
            "id": id, "content": self.content, "single_word": self.single_word, "lstrip": self.lstrip, "rstrip": self.rstrip,
            "normalized": self.normalized, "special": self.special,
        })
    }
}

/// The ids of a model's own tokens.
pub(super) struct Ids<'a> {
    vocab: &'a Value,
    /// Of a vocabulary that is a list.
    places: OnceCell<HashMap<&'a str, usize>>,
}

impl<'a> Ids<'a> {
    /// Of the model of a `tokenizer.json`.
    pub fn of(model: &'a Value) -> Ids<'a> {
        Ids { vocab: &model["vocab"], places: OnceCell::new() }
    }

    fn get(&self, token: &str) -> Option<usize> {
        if let Some(map) = self.vocab.as_object() {
            return map.get(token)?.as_u64()?.try_into().ok();
        }
        let places = self.places.get_or_init(|| {
            let entries = self.vocab.as_array().into_iter().flatten().enumerate();
            entries.filter_map(|(id, entry)| Some((entry.get(0)?.as_str()?, id))).collect()
        });
        places.get(token).copied()
    }

    fn count(&self) -> usize {
        self.vocab.as_object().map_or_else(|| self.vocab.as_array().map_or(0, Vec::len), |map| map.len())
    }
}

/// The added tokens of a tokenizer. Adding follows the `tokenizers` library, whose state this stands for.
#[derive(Default)]
pub(super) struct AddedVocabulary {
    tokens: BTreeMap<usize, AddedToken>,
    ids: HashMap<String, usize>,
    /// Those that were once added as special, which they stay.
    special: HashSet<String>,
}

impl AddedVocabulary {
    /// Adds tokens in turn. One that is there, here or in the model, keeps its id and is found from now on as the new one says; others
    /// get the next ids.
    pub fn add(&mut self, tokens: impl IntoIterator<Item = AddedToken>, model: &Ids) {
        let last = self.tokens.keys().next_back().copied();
        let mut next = last.map_or(0, |last| last + 1).max(model.count());
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            if token.special {
                self.special.insert(token.content.clone());
            }
            let id = self.id(&token.content, model).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            self.ids.insert(token.content.clone(), id);
            self.tokens.insert(id, token);
        }
    }

    /// A token's id, here or in the model.
    pub fn id(&self, token: &str, model: &Ids) -> Option<usize> {
        self.ids.get(token).copied().or_else(|| model.get(token))
    }

    pub fn contains(&self, token: &str) -> bool {
        self.ids.contains_key(token)
    }

    /// `added_tokens` of a `tokenizer.json`.
    pub fn json(&self) -> Value {
        let token = |(id, token): (&usize, &AddedToken)| {
            AddedToken { special: self.special.contains(&token.content), ..token.clone() }.json(*id)
        };
        self.tokens.iter().map(token).collect()
    }
}
