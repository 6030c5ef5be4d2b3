//! What is said in a chat, as data whose keys keep their order.

use super::super::TextError;
use minijinja::Value;
use minijinja::value::ValueKind;

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
        self.tools = Some(list(tools, "tools")?.into());
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

    /// The chat with `end` after the last message's content, if that is a text.
    pub(super) fn with_end(&self, end: &str) -> Option<Self> {
        let mut chat = self.clone();
        let mut fields = entries(chat.messages.last()?);
        let (_, content) = fields.iter_mut().find(|(key, _)| key == "content")?;
        *content = Value::from(format!("{}{end}", content.as_str()?));
        *chat.messages.last_mut()? = Value::from_pairs(fields);
        Some(chat)
    }
}

fn message(role: &str, content: &str) -> Value {
    Value::from_pairs([("role", role), ("content", content)])
}

/// The messages as templates expect them: without keys that hold nothing, and the reasoning under each name that is read.
pub(super) fn normalized(messages: &[Value]) -> Vec<Value> {
    let normalize = |message: &Value| {
        let mut fields: Vec<(String, Value)> =
            entries(message).into_iter().filter(|(_, value)| !value.is_none()).collect();
        let find = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        if let Some(reasoning) = REASONING.iter().find_map(|name| find(name)) {
            let has_thinking = find(REASONING[1]).is_some();
            fields.retain(|(key, _)| key != REASONING[0]);
            if !has_thinking {
                fields.push((REASONING[1].to_string(), reasoning.clone()));
            }
            fields.push((REASONING[0].to_string(), reasoning));
        }
        Value::from_pairs(fields)
    };
    messages.iter().map(normalize).collect()
}

/// The entries of an object whose keys are texts.
pub(super) fn entries(object: &Value) -> Vec<(String, Value)> {
    if object.kind() != ValueKind::Map {
        return vec![];
    }
    let keys = object.try_iter().into_iter().flatten();
    keys.filter_map(|key| Some((key.as_str()?.to_string(), object.get_item(&key).ok()?))).collect()
}

/// Reads a JSON object; `what` names it in errors.
pub(super) fn object(json: &[u8], what: &str) -> Result<Value, TextError> {
    let value = parse(json, what)?;
    match value.kind() {
        ValueKind::Map => Ok(value),
        found => Err(TextError::Chat(format!("{what}: expected a JSON object, found a {found}"))),
    }
}

fn list(json: &[u8], what: &str) -> Result<Vec<Value>, TextError> {
    let wrong = |found: String| TextError::Chat(format!("{what}: expected a JSON list of objects, found {found}"));
    let value = parse(json, what)?;
    if value.kind() != ValueKind::Seq {
        return Err(wrong(format!("a {}", value.kind())));
    }
    let items: Vec<Value> = value.try_iter().into_iter().flatten().collect();
    match items.iter().position(|item| item.kind() != ValueKind::Map) {
        Some(at) => Err(wrong(format!("a {} as item {at}", items[at].kind()))),
        None => Ok(items),
    }
}

fn parse(json: &[u8], what: &str) -> Result<Value, TextError> {
    serde_json::from_slice(json).map_err(|e| TextError::Chat(format!("{what}: {e}; expected JSON")))
}
