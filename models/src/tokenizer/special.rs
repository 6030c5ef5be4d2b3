//! What the small files beside a vocabulary say: `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`.

use super::added::AddedToken;
use crate::Result;
use crate::json::bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The special tokens that every tokenizer may have, in the order in which new ones get ids.
pub(super) const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What the files state.
#[derive(Debug, Default)]
pub(super) struct Stated {
    /// `tokenizer_config.json`; `null` without one.
    fields: Value,
    /// The special tokens by name: `None` for one that the files say there is none of.
    pub named: HashMap<&'static str, Option<AddedToken>>,
    /// Special tokens with names of the model's own (`image_token`).
    pub own: Vec<(String, AddedToken)>,
    /// `extra_special_tokens`, and what stands for it in older files.
    pub extra: Option<Vec<AddedToken>>,
    /// `additional_special_tokens`, where that counts only if nothing is said of extra ones.
    pub additional: Option<Vec<AddedToken>>,
    /// The tokens that were added to the vocabulary, by id.
    pub added: BTreeMap<i64, AddedToken>,
    /// Whether texts begin with bos and end with eos, where the files say. Beside a `tokenizer.json` that alone says.
    pub add_bos: Option<bool>,
    pub add_eos: Option<bool>,
}

impl Stated {
    /// Reads the folder's files; `json` is its `tokenizer.json`.
    pub fn read(folder: &Path, json: Option<&Value>) -> Result<Stated> {
        let config: Option<Ordered> = parse(folder, "tokenizer_config.json")?;
        let extra: Option<Extra> = parse(folder, "tokenizer_config.json")?;
        let mut stated = Stated::default();
        let fields = config.map(|config| config.0);
        stated.read_config(fields.as_deref().unwrap_or_default(), extra.unwrap_or_default());
        let field = |name: &str| fields.iter().flatten().find(|(key, _)| key == name).map(|(_, value)| value);
        let in_config = field("added_tokens_decoder").and_then(Value::as_object);
        if json.is_none() {
            let flag = |name: &str| field(name).and_then(Value::as_bool);
            (stated.add_bos, stated.add_eos) = (flag("add_bos_token"), flag("add_eos_token"));
        }
        match in_config {
            Some(added) => {
                let token = |(id, token): (&String, &Value)| Some((id.parse().ok()?, AddedToken::from_json(token)?));
                stated.added = added.iter().filter_map(token).collect();
            }
            None => stated.read_older(folder, json)?,
        }
        stated.fields = fields.map_or(Value::Null, |fields| Value::Object(fields.into_iter().collect()));
        Ok(stated)
    }

    /// Takes the padding token that `tokenizer.json` pads with, unless the other files say one.
    pub fn pad_as(&mut self, json: &Value) {
        if let Some(token) = json["padding"].get("pad_token").and_then(AddedToken::from_json) {
            self.named.entry("pad_token").or_insert(Some(token));
        }
    }

    /// The special tokens of `tokenizer_config.json`.
    fn read_config(&mut self, fields: &[(String, Value)], extra: Extra) {
        for (key, value) in fields {
            self.name(key, AddedToken::from_json(value));
        }
        let list = |tokens: Option<Tokens>| match tokens {
            Some(Tokens::List(list)) => Some(list.iter().filter_map(AddedToken::from_json).collect::<Vec<_>>()),
            _ => None,
        };
        match extra.extra_special_tokens {
            Some(Tokens::Named(Ordered(named))) if !named.is_empty() => {
                named.iter().for_each(|(key, token)| self.own(key, AddedToken::from_json(token)));
                self.additional = list(extra.additional_special_tokens);
            }
            Some(Tokens::List(tokens)) if !tokens.is_empty() => self.extra = list(Some(Tokens::List(tokens))),
            // An empty list of one kind says that there are none of the other either; that of the config's own is the exception.
            empty => {
                let is_said = matches!(empty, Some(Tokens::List(_) | Tokens::Other(_)));
                self.extra = list(extra.additional_special_tokens).or(is_said.then(Vec::new));
            }
        }
    }

    /// Takes a field that names a special token; passes over any other.
    fn name(&mut self, key: &str, token: Option<AddedToken>) {
        if let Some(name) = NAMES.iter().find(|name| **name == key) {
            self.named.insert(name, token);
        } else if key.ends_with("_token") {
            self.own(key, token);
        }
    }

    fn own(&mut self, key: &str, token: Option<AddedToken>) {
        let Some(token) = token else { return };
        match self.own.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = token,
            None => self.own.push((key.to_string(), token)),
        }
    }

    /// The files that count where `tokenizer_config.json` does not list the added tokens: `special_tokens_map.json`, which goes over it,
    /// `added_tokens.json`, and the list in `tokenizer.json`.
    fn read_older(&mut self, folder: &Path, json: Option<&Value>) -> Result<()> {
        let map: Option<Ordered> = parse(folder, "special_tokens_map.json")?;
        for (key, value) in map.into_iter().flat_map(|map| map.0) {
            let list = value.as_array().map(|list| list.iter().filter_map(AddedToken::from_json).map(special));
            match (key.as_str(), list) {
                ("additional_special_tokens", Some(list)) => self.additional = Some(list.collect()),
                ("extra_special_tokens", Some(list)) => {
                    let extra = self.extra.get_or_insert_default();
                    for token in list {
                        if !extra.iter().any(|known| known.content == token.content) {
                            extra.push(token);
                        }
                    }
                }
                ("extra_special_tokens", None) => {
                    let named = value.as_object().into_iter().flatten();
                    named.for_each(|(key, token)| self.own(key, AddedToken::from_json(token)));
                }
                _ => self.name(&key, AddedToken::from_json(&value).map(special)),
            }
        }
        let added: Option<BTreeMap<String, i64>> = parse(folder, "added_tokens.json")?;
        for (content, id) in added.into_iter().flatten() {
            let special = self.is_named(&content);
            self.added.insert(id, AddedToken::new(content, special));
        }
        for token in json.and_then(|json| json["added_tokens"].as_array()).into_iter().flatten() {
            if let (Some(id), Some(token)) = (token["id"].as_i64(), AddedToken::from_json(token)) {
                self.added.insert(id, token);
            }
        }
        Ok(())
    }

    /// Whether the files name a token as special.
    fn is_named(&self, content: &str) -> bool {
        let named = self.named.values().flatten();
        named.chain(self.extra.iter().flatten()).any(|token| token.content == content)
    }

    /// A field of `tokenizer_config.json`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field of `tokenizer_config.json`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.fields.get(name)?.as_bool()
    }

    /// A field of `tokenizer_config.json`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    /// `tokenizer_config.json` for the tokenizer that was made, with what it must say besides; `None` where there is nothing to say.
    pub fn config(&self, besides: Map<String, Value>) -> Option<Value> {
        let mut fields = match &self.fields {
            Value::Object(fields) => fields.clone(),
            _ => Map::new(),
        };
        for (name, token) in &self.named {
            fields.insert(name.to_string(), json!(token.as_ref().map(|token| &token.content)));
        }
        // The tokenizer lists them.
        fields.remove("added_tokens_decoder");
        if let Some(length) = fields.get("max_len").cloned() {
            fields.entry("model_max_length").or_insert(length);
        }
        for (name, value) in besides {
            let field = fields.entry(name.as_str()).or_insert(Value::Null);
            if field.is_null() || name == "tokenizer_class" {
                *field = value;
            }
        }
        (self.fields.is_object() || !fields.is_empty()).then_some(Value::Object(fields))
    }
}

fn special(token: AddedToken) -> AddedToken {
    AddedToken { special: true, ..token }
}

/// The special tokens without names of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Extra {
    #[serde(deserialize_with = "stated")]
    extra_special_tokens: Option<Tokens>,
    additional_special_tokens: Option<Tokens>,
}

/// A field that is there, `null` or not.
fn stated<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Tokens>, D::Error> {
    Tokens::deserialize(deserializer).map(Some)
}

/// Without names after all, or with names of the model's own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    List(Vec<Value>),
    Named(Ordered),
    Other(serde::de::IgnoredAny),
}

/// A JSON object with its fields in the order of the file.
#[derive(Debug)]
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut fields = vec![];
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A JSON file of the folder; `None` if there is no such file.
fn parse<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> Result<Option<T>> {
    let path = folder.join(name);
    bytes(&path)?.map(|bytes| crate::json::object(&path, &bytes)).transpose()
}
