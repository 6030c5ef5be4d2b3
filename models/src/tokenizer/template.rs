//! Post-processors: special tokens around texts.

use serde_json::{Map, Value, json};

/// A token with its id.
pub(crate) type Token<'a> = (usize, &'a str);

/// How the second text of a pair goes on after the first.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pair {
    /// As if it stood alone: `<s> A <s> B`.
    Again,
    /// After the first one's last token: `[CLS] A [SEP] B [SEP]`.
    Continued,
    /// After that token twice: `<s> A </s> </s> B </s>`.
    Separated,
}

/// A part of a text with its special tokens.
enum Item<'a> {
    Special(Token<'a>),
    Text(&'static str),
}

/// `TemplateProcessing` with a token before and one after each text. `second_type` is the token type of a pair's second text.
pub(crate) fn around(first: Option<Token>, last: Option<Token>, pair: Pair, second_type: u32) -> Value {
    let items = |first: Option<Token>, text: &'static str, type_id: u32| -> Vec<Value> {
        let parts = first.map(Item::Special).into_iter().chain([Item::Text(text)]).chain(last.map(Item::Special));
        parts.map(|item| item.json(type_id)).collect()
    };
    let single = items(first, "A", 0);
    let mut both = single.clone();
    match pair {
        Pair::Again => both.extend(items(first, "B", second_type)),
        Pair::Continued => both.extend(items(None, "B", second_type)),
        Pair::Separated => {
            both.extend(last.map(|last| Item::Special(last).json(0)));
            both.extend(items(None, "B", second_type));
        }
    }
    let tokens: Map<String, Value> = (first.iter().chain(&last))
        .map(|(id, token)| (token.to_string(), json!({ "id": token, "ids": [id], "tokens": [token] })))
        .collect();
    json!({ "type": "TemplateProcessing", "single": single, "pair": both, "special_tokens": tokens })
}

impl Item<'_> {
    fn json(&self, type_id: u32) -> Value {
        match self {
            Item::Special((_, token)) => json!({ "SpecialToken": { "id": token, "type_id": type_id } }),
            Item::Text(id) => json!({ "Sequence": { "id": id, "type_id": type_id } }),
        }
    }
}
