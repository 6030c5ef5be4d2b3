//! What is said in a chat, as data whose keys keep their order.

use super::super::TextError;
use super::jinja::{Dict, Value};

/// The names under which a message's reasoning is passed; templates read the first, older ones the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Messages, and what else a template may look at.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    pub(super) messages: Vec<Value>,
    pub(super) tools: Option<Value>,
    pub(super) template: Option<String>,
    pub(super) variables: Vec<(String, Value)>,
}

impl Chat {
    /// A chat without messages.
    pub fn new() -> Self {
        Chat::default()
    }

    /// The chat of a JSON list of messages, such as `[{"role": "user", "content": "Hello"}]`.
    ///
    /// # Errors
    /// When it is no such list.
    pub fn from_json(messages: &[u8]) -> Result<Self, TextError> {
        Ok(Chat { messages: list(messages, "messages")?, ..Chat::default() })
    }

    /// The chat with one message more.
    #[must_use]
    pub fn with_message(mut self, role: &str, content: &str) -> Self {
        self.messages.push(message(role, content));
        self
    }

    /// The chat with a system message before all others.
    #[must_use]
    pub fn with_system(mut self, content: &str) -> Self {
        self.messages.insert(0, message("system", content));
        self
    }

    /// The chat with tools: a JSON list of their schemas.
    ///
    /// # Errors
    /// When it is no such list.
    pub fn with_tools(mut self, tools: &[u8]) -> Result<Self, TextError> {
        let tools = Value::list(list(tools, "tools")?).map_err(|e| TextError::Chat(format!("tools: {e}")))?;
        self.tools = Some(tools);
        Ok(self)
    }

    /// The chat for the template of that name.
    #[must_use]
    pub fn with_template(mut self, name: &str) -> Self {
        self.template = Some(name.to_string());
        self
    }

    /// The chat with a variable for the template, such as `enable_thinking`, whose value is JSON.
    ///
    /// # Errors
    /// When the value is no JSON.
    pub fn with_variable(mut self, name: &str, json: &str) -> Result<Self, TextError> {
        self.variables.push((name.to_string(), parse(json.as_bytes(), name)?));
        Ok(self)
    }

    /// The chat with `end` after the last message's text, which is its content or the last part of that with a text; and that text.
    pub(super) fn with_end(&self, end: &str) -> Option<(Self, String)> {
        let mut chat = self.clone();
        let last = chat.messages.last_mut()?;
        let content = field(last, "content")?.clone();
        let (content, text) = match &content {
            Value::List(parts) => {
                let mut parts = parts.to_vec();
                let part = parts.iter_mut().rfind(|part| field(part, "text").is_some())?;
                let text = field(part, "text")?.as_str()?.to_string();
                *part = with_field(part, "text", format!("{text}{end}").into());
                (Value::list(parts).ok()?, text)
            }
            content => {
                let text = content.as_str()?.to_string();
                (format!("{text}{end}").into(), text)
            }
        };
        *last = with_field(last, "content", content);
        Some((chat, text))
    }
}

fn message(role: &str, content: &str) -> Value {
    object_of([("role", role.into()), ("content", content.into())])
}

/// The messages as templates expect them: without keys that hold nothing, and the reasoning under each name that is read.
pub(super) fn normalized(messages: &[Value]) -> Vec<Value> {
    let normalize = |message: &Value| {
        let fields = entries(message).filter(|(_, value)| !value.is_none());
        let reasoning = REASONING.iter().find_map(|name| field(message, name).filter(|value| !value.is_none()));
        let Some(reasoning) = reasoning else { return object_of(fields) };
        // In transformers' order.
        let before = std::iter::once((REASONING[1], reasoning.clone()));
        object_of(before.chain(fields).chain([(REASONING[0], reasoning.clone())]))
    };
    messages.iter().map(normalize).collect()
}

/// An object of these fields; of two with one name, the last one counts.
fn object_of<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut object = Dict::default();
    for (name, value) in fields {
        // Texts can be keys, and nothing here is nested deeper than what was read.
        let _ = object.insert(name.into(), value);
    }
    Value::dict(object).unwrap_or(Value::None)
}

fn with_field(object: &Value, name: &str, value: Value) -> Value {
    object_of(entries(object).chain([(name, value)]))
}

/// The field of an object.
pub(super) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    match object {
        Value::Dict(object) => object.get_text(name),
        _ => None,
    }
}

/// The entries of an object.
pub(super) fn entries(object: &Value) -> impl Iterator<Item = (&str, Value)> {
    let object = match object {
        Value::Dict(object) => Some(object),
        _ => None,
    };
    let entries = object.into_iter().flat_map(|object| object.iter());
    entries.filter_map(|(key, value)| Some((key.as_str()?, value.clone())))
}

/// Reads a JSON object; `what` names it in errors.
pub(super) fn object(json: &[u8], what: &str) -> Result<Value, TextError> {
    match parse(json, what)? {
        value @ Value::Dict(_) => Ok(value),
        found => Err(TextError::Chat(format!("{what}: expected a JSON object, found {}", kind(&found)))),
    }
}

fn list(json: &[u8], what: &str) -> Result<Vec<Value>, TextError> {
    let wrong = |found: String| TextError::Chat(format!("{what}: expected a JSON list of objects, found {found}"));
    let items = match parse(json, what)? {
        Value::List(items) => items,
        found => return Err(wrong(kind(&found).to_string())),
    };
    match items.iter().position(|item| !matches!(item, Value::Dict(_))) {
        Some(at) => Err(wrong(format!("{} as item {at}", kind(&items[at])))),
        None => Ok(items.to_vec()),
    }
}

/// What a JSON value is, in errors.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "null",
        Value::Bool(_) => "a boolean",
        Value::Str(_) => "a string",
        Value::List(_) => "a list",
        Value::Dict(_) => "an object",
        _ => "a number",
    }
}

fn parse(json: &[u8], what: &str) -> Result<Value, TextError> {
    serde_json::from_slice(json).map_err(|e| TextError::Chat(format!("{what}: {e}; expected JSON")))
}
