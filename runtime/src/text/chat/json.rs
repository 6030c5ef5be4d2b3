//! JSON as Python's `json.dumps` writes it.

use super::jinja::{Arguments, Error, Value, float};
use std::fmt::Write;

/// The filter `tojson`, with the options of `json.dumps` that transformers gives it.
pub fn tojson(value: &Value, arguments: Arguments) -> Result<String, Error> {
    let [ensure_ascii, indent, separators, sort_keys] =
        arguments.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
    let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let given = |value: Option<Value>| value.filter(|value| !value.is_none());
    let indent = match given(indent) {
        None => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = width.as_int().ok_or_else(|| Error::new("tojson: `indent` is neither a number nor a text"))?;
            Some(" ".repeat(usize::try_from(width).unwrap_or(0).min(MAX_INDENT)))
        }
    };
    let (item_separator, key_separator) = match given(separators) {
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(pair) => match pair.values()?.as_slice() {
            [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
            _ => return Err(Error::new("tojson: `separators` is no pair of texts")),
        },
    };
    let style =
        Style { ensure_ascii: flag(ensure_ascii), indent, item_separator, key_separator, sort_keys: flag(sort_keys) };
    let mut out = String::new();
    style.value(value, 0, &mut out)?;
    Ok(out)
}

/// How wide an indentation may be.
const MAX_INDENT: usize = 64;

/// How to write.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

impl Style {
    fn value(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Value::Int(number) => {
                // Writing to a string does not fail.
                let _ = write!(out, "{number}");
            }
            Value::Float(number) => out.push_str(&json_float(*number)),
            Value::Str(text) | Value::Markup(text) => self.string(text, out),
            Value::List(items) | Value::Tuple(items) => {
                self.items(['[', ']'], items, depth, out, |item, out| self.value(item, depth + 1, out))?;
            }
            Value::Dict(dict) => {
                let mut entries = vec![];
                for (key, value) in dict.iter() {
                    entries.push((name(key)?, value));
                }
                if self.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.items(['{', '}'], &entries, depth, out, |(key, item), out| {
                    self.string(key, out);
                    out.push_str(&self.key_separator);
                    self.value(item, depth + 1, out)
                })?;
            }
            other => return Err(not_json(other)),
        }
        Ok(())
    }

    fn items<T>(
        &self,
        brackets: [char; 2],
        items: &[T],
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(brackets[0]);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.item_separator);
            }
            self.new_line(depth + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            self.new_line(depth, out);
        }
        out.push(brackets[1]);
        Ok(())
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A key of an object.
fn name(key: &Value) -> Result<String, Error> {
    match key {
        Value::Str(text) | Value::Markup(text) => Ok(text.to_string()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(json_float(*number)),
        Value::Bool(truth) => Ok(if *truth { "true" } else { "false" }.to_string()),
        Value::None => Ok("null".to_string()),
        other => Err(not_json(other)),
    }
}

fn json_float(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".to_string(),
        f64::INFINITY => "Infinity".to_string(),
        f64::NEG_INFINITY => "-Infinity".to_string(),
        number => float(number),
    }
}

fn not_json(value: &Value) -> Error {
    match value.defined() {
        Err(undefined) => Error::new(format!("tojson: {undefined}, and has no JSON")),
        Ok(()) => Error::new(format!("tojson: a value of type {} has no JSON", value.type_name())),
    }
}
