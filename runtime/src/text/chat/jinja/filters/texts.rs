//! Filters of texts.

use super::super::Error;
use super::super::arguments::{Arguments, flag, int, text as text_argument};
use super::super::format;
use super::super::globals;
use super::super::html::escape;
use super::super::lexer::is_space;
use super::super::methods::split;
use super::super::methods::text::{aligned, capitalize, replace, strip, title};
use super::super::ops;
use super::super::renderer::Renderer;
use super::super::repr::text;
use super::super::value::{Value, View};

pub fn apply(renderer: &Renderer, name: &str, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    // HTML stays HTML where Python's own methods work on it.
    let is_markup = matches!(value, Value::Markup(_));
    let made = |text: String| if is_markup { Value::Markup(text.into()) } else { text.into() };
    let own = text(value);
    renderer.charge(own.len())?;
    match name {
        "center" => {
            let [width] = arguments.bind(name, ["width"], 0)?;
            Ok(made(aligned(renderer, &own, "center", int(width, 80)?, " ")?))
        }
        "format" => {
            let Arguments { positional, named } = arguments;
            let values = match (positional.is_empty(), named.is_empty()) {
                (false, false) => {
                    return Err(Error::new("can't handle positional and keyword arguments at the same time"));
                }
                (_, true) => Value::tuple(positional)?,
                _ => globals::dict_of(named)?,
            };
            Ok(made(format::percent(renderer, &own, &values, is_markup)?))
        }
        "indent" => {
            let [width, first, blank] = arguments.bind(name, ["width", "first", "blank"], 0)?;
            let own = value.as_str().ok_or_else(|| wants_text(name, value))?;
            let indention = match width {
                Some(Value::Str(text) | Value::Markup(text)) => text.to_string(),
                width => {
                    let width = usize::try_from(int(width, 4)?).unwrap_or(0);
                    renderer.charge(width)?;
                    " ".repeat(width)
                }
            };
            indent(renderer, own, &indention, flag(first, false), flag(blank, false)).map(made)
        }
        "join" => {
            let [separator, attribute] = arguments.bind(name, ["d", "attribute"], 0)?;
            let getter = super::sequences::Getter::new(attribute, None)?;
            let separator = separator.unwrap_or_else(|| "".into());
            let items = value.values()?.iter().map(|item| getter.get(item)).collect::<Result<Vec<_>, _>>()?;
            // Where texts are escaped, one that is HTML makes HTML of all.
            let is_html =
                renderer.escapes() && items.iter().chain([&separator]).any(|item| matches!(item, Value::Markup(_)));
            let shown = if is_html { escape } else { text };
            let separator = shown(&separator);
            let mut out = String::new();
            for (i, item) in items.iter().enumerate() {
                let item = shown(item);
                renderer.charge(separator.len() + item.len())?;
                out.push_str(if i > 0 { &separator } else { "" });
                out.push_str(&item);
            }
            Ok(if is_html { Value::Markup(out.into()) } else { out.into() })
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"], 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            let is_html = |value: &Value| renderer.escapes() && matches!(value, Value::Markup(_));
            if !is_html(value) && !is_html(&old) && !is_html(&new) {
                return replace(renderer, &own, &text(&old), &text(&new), int(count, -1)?).map(Value::from);
            }
            // Where texts are escaped, one that is HTML makes HTML of all, but for what is looked for.
            let replaced = replace(renderer, &escape(value), &text(&old), &escape(&new), int(count, -1)?)?;
            Ok(Value::Markup(replaced.into()))
        }
        "trim" => {
            let [chars] = arguments.bind(name, ["chars"], 0)?;
            Ok(made(strip(&own, "strip", text_argument(chars)?.as_deref()).to_string()))
        }
        "truncate" => {
            let names = ["length", "killwords", "end", "leeway"];
            let [length, kill, end, leeway] = arguments.bind(name, names, 0)?;
            let end = text_argument(end)?.unwrap_or_else(|| "...".into());
            truncate(value, int(length, 255)?, flag(kill, false), &end, int(leeway, 5)?)
        }
        "urlencode" => {
            arguments.none(name)?;
            url_encoded(value).map(Value::from)
        }
        _ => {
            arguments.none(name)?;
            Ok(match name {
                "capitalize" => made(capitalize(&own)),
                "lower" => made(own.to_lowercase()),
                "upper" => made(own.to_uppercase()),
                "title" => title(&own, is_between).into(),
                "striptags" => without_tags(&own).into(),
                _ => {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    own.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count().into()
                }
            })
        }
    }
}

fn wants_text(name: &str, value: &Value) -> Error {
    match value.defined() {
        Err(undefined) => undefined,
        Ok(()) => Error::new(format!("{name} wants a str, found '{}' object", value.type_name())),
    }
}

/// Where the filter `title` sees words end: at blanks, `-`, `(`, `{`, `[` and `<`.
fn is_between(c: char) -> bool {
    is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<')
}

fn indent(renderer: &Renderer, text: &str, indention: &str, first: bool, blank: bool) -> Result<String, Error> {
    // So that a line break at the end counts.
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in split::lines(&text, false).into_iter().enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        if (i == 0 && first) || (i > 0 && (blank || !line.is_empty())) {
            renderer.charge(indention.len())?;
            out.push_str(indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn truncate(value: &Value, length: i128, kill_words: bool, end: &str, leeway: i128) -> Result<Value, Error> {
    let end_length = end.chars().count() as i128;
    if length < end_length || leeway < 0 {
        let what = if leeway < 0 { "leeway >= 0".to_string() } else { format!("length >= {end_length}") };
        let found = if leeway < 0 { leeway } else { length };
        return Err(Error::new(format!("truncate expected {what}, got {found}")));
    }
    // Whatever has a length, as long as it is short.
    if value.len().is_some_and(|own| own as i128 <= length.saturating_add(leeway)) {
        return Ok(value.clone());
    }
    let own = value.as_str().ok_or_else(|| wants_text("truncate", value))?;
    let cut = ops::slice(&own.into(), [None, Some(length - end_length), None])?;
    let cut = cut.as_str().unwrap_or_default();
    // As far as to the last blank.
    let cut = if kill_words { cut } else { cut.rsplit_once(' ').map_or(cut, |(words, _)| words) };
    Ok(format!("{cut}{end}").into())
}

/// HTML without its tags and comments, and with single blanks.
fn without_tags(html: &str) -> String {
    let remove = |text: &str, begin: &str, end: &str| {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(begin) {
            let Some(length) = rest[at..].find(end) else { break };
            out.push_str(&rest[..at]);
            rest = &rest[at + length + end.len()..];
        }
        out + rest
    };
    let text = remove(&remove(html, "<!--", "-->"), "<", ">");
    let text = text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&#34;", "\""), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text, |text, (entity, character)| text.replace(entity, character))
}

fn url_encoded(value: &Value) -> Result<String, Error> {
    let quote = |text: &str, in_query: bool| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
                b'/' if !in_query => out.push('/'),
                b' ' if in_query => out.push('+'),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    let pairs = match value {
        Value::Dict(dict) => Value::View(View::Items, dict.clone()).values()?,
        other if other.as_str().is_none() && other.is_iterable() => other.values()?,
        other => return Ok(quote(&text(other), false)),
    };
    let mut parts = vec![];
    for pair in pairs {
        match pair.values()?.as_slice() {
            [key, value] => parts.push(format!("{}={}", quote(&text(key), true), quote(&text(value), true))),
            _ => return Err(Error::new("urlencode wants pairs of a key and a value")),
        }
    }
    Ok(parts.join("&"))
}
