//! What pipelines take, as JSON: one input or a list of them.

use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A text, or a pair of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TextPair {
    /// The text.
    pub text: String,
    /// The second text, for models that judge pairs.
    #[serde(default)]
    pub text_pair: Option<String>,
}

impl From<&str> for TextPair {
    fn from(text: &str) -> Self {
        TextPair { text: text.into(), text_pair: None }
    }
}

/// A text, or the messages of a chat.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerationInput {
    /// A text to go on with.
    Text(String),
    /// A JSON list of messages: `[{"role": "user", "content": "Hello"}]`. The model answers; where the last message is the assistant's, it
    /// goes on with that.
    Chat(Value),
}

/// The inputs of a call.
pub(super) struct Inputs {
    pub items: Vec<Value>,
    /// Whether it was one input and no list.
    pub is_one: bool,
}

/// Several questions: a list, or an object with lists, where one context may be for all.
pub(super) fn questions(input: &Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = input {
        return Some(items.clone());
    }
    let (questions, contexts) = (input.get("question")?.as_array()?, input.get("context")?);
    let context = |i: usize| match contexts {
        Value::Array(each) => each.get(i).cloned().unwrap_or_default(),
        one => one.clone(),
    };
    Some(questions.iter().enumerate().map(|(i, q)| json!({"question": q, "context": context(i)})).collect())
}

/// All inputs, of one type.
pub(super) fn all<T: DeserializeOwned>(pipeline: &'static str, items: &[Value], expected: &str) -> Result<Vec<T>> {
    let one = |item: &Value| {
        serde_json::from_value(item.clone()).map_err(|e| Error::Pipeline {
            pipeline,
            reason: format!("expected {expected}, or a list of those, found {item}: {e}"),
        })
    };
    items.iter().map(one).collect()
}

/// Texts.
pub(super) fn texts(pipeline: &'static str, items: &[Value]) -> Result<Vec<String>> {
    all(pipeline, items, "a text")
}

/// Texts or pairs; a mere text stands for an object with it.
pub(super) fn text_pairs(pipeline: &'static str, items: &[Value]) -> Result<Vec<TextPair>> {
    let object = |item: &Value| match item {
        Value::String(text) => json!({ "text": text }),
        other => other.clone(),
    };
    let objects: Vec<Value> = items.iter().map(object).collect();
    all(pipeline, &objects, "a text or an object with `text` and `text_pair`")
}

/// Texts or chats.
pub(super) fn prompts(pipeline: &'static str, items: &[Value]) -> Result<Vec<GenerationInput>> {
    let one = |item: &Value| match item {
        Value::String(text) => Ok(GenerationInput::Text(text.clone())),
        chat if is_chat(chat) => Ok(GenerationInput::Chat(chat.clone())),
        other => Err(Error::Pipeline {
            pipeline,
            reason: format!(
                "expected a text, a list of messages with `role` and `content`, or a list of those, found {other}"
            ),
        }),
    };
    items.iter().map(one).collect()
}

pub(super) fn is_chat(input: &Value) -> bool {
    let is_message = |message: &Value| message.get("role").is_some_and(Value::is_string);
    input.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_chats_are_told_apart() {
        let chat = json!([{"role": "user", "content": "Hello"}]);
        assert!(is_chat(&chat) && !is_chat(&json!([chat])) && !is_chat(&json!([])));
        let both = prompts("p", &[json!("a text"), chat.clone()]).unwrap();
        assert_eq!(both, [GenerationInput::Text("a text".into()), GenerationInput::Chat(chat)]);
        let wrong = prompts("p", &[json!([{"content": "Hello"}])]).unwrap_err().to_string();
        assert!(wrong.contains("`role` and `content`"), "{wrong}");
    }

    #[test]
    fn one_context_may_be_for_several_questions() {
        let several = |input: Value| questions(&input).map(|all| json!(all));
        let two = json!([{"question": "a", "context": "c"}, {"question": "b", "context": "c"}]);
        assert_eq!(several(json!({"question": ["a", "b"], "context": "c"})), Some(two.clone()));
        assert_eq!(several(json!({"question": ["a", "b"], "context": ["c", "c"]})), Some(two.clone()));
        assert_eq!(several(two.clone()), Some(two));
        assert_eq!(several(json!({"question": "a", "context": "c"})), None);
    }
}
