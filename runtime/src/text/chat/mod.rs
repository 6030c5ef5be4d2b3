//! Chats as the texts that a model was trained on, by its own templates.
//!
//! In come a [`Chat`] (messages, tools) and a model's templates, Jinja texts of `tokenizer_config.json` or `chat_template.jinja`; out
//! goes the prompt. Templates run in the environment that transformers gives them: blocks trimmed, Python's methods of strings, lists
//! and dictionaries, `tojson` as Python prints it, `raise_exception`, `strftime_now`, and the special tokens as variables. They are
//! programs of strangers: they see nothing but the chat, and their work is bounded.

mod json;
mod messages;

pub use messages::Chat;

use super::TextError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};

/// The template that is meant where none is named.
pub const DEFAULT_TEMPLATE: &str = "default";
/// The template for chats with tools, where a model has one of that name.
pub const TOOL_TEMPLATE: &str = "tool_use";
/// How much work a template may do: ten million instructions are a second or so.
const FUEL: u64 = 10_000_000;

/// A model's chat templates.
#[derive(Debug, Clone)]
pub struct ChatTemplates {
    environment: Environment<'static>,
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
    /// A config that is no JSON object, or a template that does not parse.
    pub fn new(tokenizer_config: Option<&[u8]>, default: Option<&str>) -> Result<Option<Self>, TextError> {
        let config = match tokenizer_config {
            Some(json) => messages::object(json, "tokenizer_config.json")?,
            None => Value::UNDEFINED,
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
        let mut environment = environment();
        let mut names = vec![];
        for (name, text) in templates {
            let added = environment.add_template_owned(name.clone(), without_generation_tags(&text));
            added.map_err(|e| template_error(&name, &e))?;
            names.push(name);
        }
        Ok(Some(ChatTemplates { environment, names, special_tokens: special_tokens(&config) }))
    }

    /// The names of the templates.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text of a chat; with `add_generation_prompt`, as far as to where the model's answer begins.
    ///
    /// The template is the one that the chat names, else `tool_use` where there are tools, else `default`.
    ///
    /// # Errors
    /// An empty chat, a template that is not there, or what the template says is wrong with the chat.
    pub fn apply(&self, chat: &Chat, add_generation_prompt: bool) -> Result<String, TextError> {
        if chat.messages.is_empty() {
            return Err(TextError::Chat("the chat is empty, expected at least one message".into()));
        }
        let has = |name: &str| self.names.iter().any(|n| n == name);
        let name = match &chat.template {
            Some(name) => name.as_str(),
            None if chat.tools.is_some() && has(TOOL_TEMPLATE) => TOOL_TEMPLATE,
            None => DEFAULT_TEMPLATE,
        };
        if !has(name) {
            return Err(TextError::UnknownTemplate { name: name.into(), known: self.names.join(", ") });
        }
        let variables = self.special_tokens.iter().chain(&chat.variables).cloned();
        let variables = Value::from_pairs(variables);
        let context = context! {
            messages => messages::normalized(&chat.messages),
            tools => chat.tools.clone(),
            documents => (),
            add_generation_prompt,
            ..variables
        };
        let rendered = self.environment.get_template(name).and_then(|template| template.render(context));
        rendered.map_err(|e| template_error(name, &e))
    }

    /// The text of a chat as far as to the end of its last message's content, for the model to go on with that message
    /// (transformers' `continue_final_message`).
    ///
    /// # Errors
    /// As [`apply`](Self::apply), a last message without a text, or a template that leaves it out.
    pub fn apply_unfinished(&self, chat: &Chat) -> Result<String, TextError> {
        let missing = |what: &str| TextError::Chat(format!("cannot continue the last message of the chat: {what}"));
        let marked = chat.with_end(END).ok_or_else(|| missing("expected one whose `content` is a text"))?;
        let text = self.apply(&marked, false)?;
        let end = text.rfind(END.trim_end()).ok_or_else(|| missing("the chat template does not write it"))?;
        // A template that cuts spaces at the end has cut those of the message too.
        let kept = text[end..].starts_with(END);
        Ok(if kept { text[..end].to_string() } else { text[..end].trim_end().to_string() })
    }
}

/// Where a last message ends that the model goes on with: a text that no template and no chat has.
const END: &str = "\u{f8ff}END-OF-THE-LAST-MESSAGE\u{f8ff} ";

/// The templates in a tokenizer's config: one text, or a list of named ones.
fn named(config: &Value) -> Result<Vec<(String, String)>, TextError> {
    let entry = config.get_attr("chat_template").unwrap_or_default();
    if let Some(text) = entry.as_str() {
        return Ok(vec![(DEFAULT_TEMPLATE.to_string(), text.to_string())]);
    }
    if entry.is_none() || entry.is_undefined() {
        return Ok(vec![]);
    }
    let wrong = || {
        TextError::Chat(
            "tokenizer_config.json: `chat_template` is neither a text nor a list of {name, template}".into(),
        )
    };
    let mut templates = vec![];
    for template in entry.try_iter().map_err(|_| wrong())? {
        let field = |name| template.get_attr(name).ok().and_then(|v| v.as_str().map(str::to_string)).ok_or_else(wrong);
        templates.push((field("name")?, field("template")?));
    }
    Ok(templates)
}

/// The entries `*_token` whose value is a text or an added token, and those of `extra_special_tokens`.
fn special_tokens(config: &Value) -> Vec<(String, Value)> {
    let text = |value: Value| match value.as_str() {
        Some(_) => Some(value),
        None => value.get_attr("content").ok().filter(|content| content.as_str().is_some()),
    };
    let mut tokens = vec![];
    let extra = config.get_attr("extra_special_tokens").unwrap_or_default();
    for (object, only_tokens) in [(&extra, false), (config, true)] {
        for (key, value) in messages::entries(object) {
            if let (true, Some(token)) = (!only_tokens || key.ends_with("_token"), text(value)) {
                tokens.push((key, token));
            }
        }
    }
    tokens
}

/// The environment of transformers' templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    // Only delimiters can be wrong, and these are Jinja's.
    environment.set_syntax(syntax.build().unwrap_or_default());
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
            .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now(\"{format}\"): {e}")))
    });
    environment
}

/// Python's `json.dumps`, with its options by name.
fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let flag = |name: &str| Ok::<_, Error>(options.get::<Option<bool>>(name)?.unwrap_or(false));
    let given = |name: &str| Ok::<_, Error>(options.get::<Option<Value>>(name)?.filter(|value| !value.is_none()));
    let indent = match given("indent")? {
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
        None => None,
    };
    let separators = match given("separators")? {
        Some(pair) => Some((pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string())),
        None => None,
    };
    let style = json::Style::new(flag("ensure_ascii")?, indent, separators, flag("sort_keys")?);
    options.assert_all_used()?;
    style.write(&value)
}

/// Jinja has no `{% generation %}`, by which transformers marks what the assistant says: a block that is always there stands for it.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}").map(|end| end + 2) else {
            rest = tag;
            break;
        };
        let inner = &tag[2..end - 2];
        let is_sign = |c: char| c == '-' || c == '+';
        match inner.trim_matches(is_sign).trim() {
            "generation" => out.push_str(&tag[..end].replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag[..end].replace("endgeneration", "endif")),
            _ => out.push_str(&tag[..end]),
        }
        rest = &tag[end..];
    }
    out + rest
}

fn template_error(name: &str, error: &Error) -> TextError {
    let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
    let reason = match error.detail() {
        Some(detail) => detail.to_string(),
        None => error.kind().to_string(),
    };
    TextError::Template { name: name.into(), line, reason }
}

#[cfg(test)]
mod tests;
