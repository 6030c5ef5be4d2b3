//! Chats as the texts that a model was trained on, by its own templates.
//!
//! In come a [`Chat`] (messages, tools) and a model's templates, Jinja texts of `tokenizer_config.json` or `chat_template.jinja`; out
//! goes the prompt. Templates run as in transformers (`jinja`), with the special tokens as variables. They are programs of strangers:
//! they see nothing but the chat, and their work is bounded.

mod jinja;
mod json;
mod messages;

pub use messages::Chat;

use super::TextError;
use jinja::{Error, Template, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The template that is meant where none is named.
pub const DEFAULT_TEMPLATE: &str = "default";
/// The template for chats with tools, where a model has one of that name.
pub const TOOL_TEMPLATE: &str = "tool_use";

/// A model's chat templates.
#[derive(Clone)]
pub struct ChatTemplates {
    /// By name: a template, or why it cannot be read. One that nobody asks for does no harm.
    templates: BTreeMap<String, Result<Arc<Template>, Error>>,
    /// Names of the templates, in the order of the file.
    names: Vec<String>,
    /// `bos_token` and the like, with their texts.
    special_tokens: Vec<(String, Value)>,
}

impl ChatTemplates {
    /// The templates of `tokenizer_config.json`, with `default`, the text of `chat_template.jinja`, over the one of that name. None
    /// where there are none.
    ///
    /// # Errors
    /// A config that is no JSON object, or whose templates are no texts.
    pub fn new(tokenizer_config: Option<&[u8]>, default: Option<&str>) -> Result<Option<Self>, TextError> {
        let config = match tokenizer_config {
            Some(json) => messages::object(json, "tokenizer_config.json")?,
            None => Value::None,
        };
        let mut templates = named(&config)?;
        if let Some(text) = default {
            match templates.iter_mut().find(|(name, _)| name == DEFAULT_TEMPLATE) {
                Some((_, template)) => *template = text.to_string(),
                None => templates.insert(0, (DEFAULT_TEMPLATE.to_string(), text.to_string())),
            }
        }
        if templates.is_empty() {
            return Ok(None);
        }
        let names = templates.iter().map(|(name, _)| name.clone()).collect();
        let templates = templates.into_iter().map(|(name, text)| (name, Template::new(&text).map(Arc::new))).collect();
        Ok(Some(ChatTemplates { templates, names, special_tokens: special_tokens(&config) }))
    }

    /// The names of the templates.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What is wrong with the templates that cannot be read; using one of these gives the error.
    pub fn unreadable(&self) -> impl Iterator<Item = TextError> {
        self.templates.iter().filter_map(|(name, read)| read.as_ref().err().map(|error| template_error(name, error)))
    }

    /// The text of a chat; with `add_generation_prompt`, as far as to where the model's answer begins.
    ///
    /// The template is the one that the chat names, else `tool_use` where there are tools, else `default`.
    ///
    /// # Errors
    /// An empty chat, a template that is not there or cannot be read, or what the template says is wrong with the chat.
    pub fn apply(&self, chat: &Chat, add_generation_prompt: bool) -> Result<String, TextError> {
        if chat.messages.is_empty() {
            return Err(TextError::Chat("the chat is empty, expected at least one message".into()));
        }
        let name = match &chat.template {
            Some(name) => name.as_str(),
            None if chat.tools.is_some() && self.templates.contains_key(TOOL_TEMPLATE) => TOOL_TEMPLATE,
            None => DEFAULT_TEMPLATE,
        };
        let unknown = || TextError::UnknownTemplate { name: name.into(), known: self.names.join(", ") };
        let read = self.templates.get(name).ok_or_else(unknown)?;
        let template = read.as_ref().map_err(|e| template_error(name, e))?;
        let messages = Value::list(messages::normalized(&chat.messages)).map_err(|e| template_error(name, &e))?;
        let given = [
            ("messages", messages),
            ("tools", chat.tools.clone().unwrap_or(Value::None)),
            ("add_generation_prompt", add_generation_prompt.into()),
        ];
        // Of two with one name, the last one counts.
        let variables = std::iter::once(("documents".to_string(), Value::None))
            .chain(self.special_tokens.iter().cloned())
            .chain(chat.variables.iter().cloned())
            .chain(given.map(|(name, value)| (name.to_string(), value)));
        template.render(variables).map_err(|e| template_error(name, &e))
    }

    /// The text of a chat as far as to the end of its last message's content, for the model to go on with that message
    /// (transformers' `continue_final_message`).
    ///
    /// # Errors
    /// As [`apply`](Self::apply), a last message without a text, or a template that leaves it out.
    pub fn apply_unfinished(&self, chat: &Chat) -> Result<String, TextError> {
        let missing = |what: &str| TextError::Chat(format!("cannot continue the last message of the chat: {what}"));
        let marked = chat.with_end(END).ok_or_else(|| missing("expected one whose `content` has a text"))?;
        let (marked, last) = marked;
        let text = self.apply(&marked, false)?;
        let end = text.rfind(END.trim_end()).filter(|_| text.contains(last.trim()));
        let end = end.ok_or_else(|| missing("the chat template does not write it"))?;
        // A template that cuts spaces at the end has cut those of the message too.
        let kept = text[end..].starts_with(END);
        Ok(if kept { text[..end].to_string() } else { text[..end].trim_end().to_string() })
    }
}

impl std::fmt::Debug for ChatTemplates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplates").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Where a last message ends that the model goes on with: what transformers marks it with, which prints the same in any way of printing.
const END: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The templates in a tokenizer's config: one text, or a list of named ones.
fn named(config: &Value) -> Result<Vec<(String, String)>, TextError> {
    let wrong = || {
        TextError::Chat(
            "tokenizer_config.json: `chat_template` is neither a text nor a list of {name, template}".into(),
        )
    };
    match messages::field(config, "chat_template") {
        None | Some(Value::None) => Ok(vec![]),
        Some(Value::Str(text)) => Ok(vec![(DEFAULT_TEMPLATE.to_string(), text.to_string())]),
        Some(Value::List(templates)) => {
            let named = |template: &Value| {
                let field = |name| messages::field(template, name).and_then(Value::as_str).map(str::to_string);
                field("name").zip(field("template")).ok_or_else(wrong)
            };
            templates.iter().map(named).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// The entries `*_token` whose value is a text or an added token, and those of `extra_special_tokens`.
fn special_tokens(config: &Value) -> Vec<(String, Value)> {
    let text = |value: Value| match value.as_str() {
        Some(_) => Some(value),
        None => messages::field(&value, "content").filter(|content| content.as_str().is_some()).cloned(),
    };
    let mut tokens = vec![];
    let extra = messages::field(config, "extra_special_tokens").unwrap_or(&Value::None);
    for (object, only_tokens) in [(extra, false), (config, true)] {
        for (key, value) in messages::entries(object) {
            if let (true, Some(token)) = (!only_tokens || key.ends_with("_token"), text(value)) {
                tokens.push((key.to_string(), token));
            }
        }
    }
    tokens
}

fn template_error(name: &str, error: &Error) -> TextError {
    let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
    TextError::Template { name: name.into(), line, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
