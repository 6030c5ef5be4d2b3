//! Values as Python's `str` and `repr` write them.

use super::value::{Value, View};
use std::fmt::{self, Write};

/// How deep namespaces are shown in each other; nothing else is deeper.
const MAX_DEPTH: usize = 300;

/// What `{{ value }}` prints.
pub fn text(value: &Value) -> String {
    match value {
        Value::Undefined(_) => String::new(),
        Value::Str(s) | Value::Markup(s) => s.to_string(),
        other => repr(other),
    }
}

/// Python's `repr`.
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, 0, &mut out);
    out
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(self))
    }
}

/// A value's type in messages.
pub fn shown_type(value: &Value) -> String {
    match value {
        Value::None => "'None'".to_string(),
        other => format!("'{} object'", other.type_name()),
    }
}

fn write_repr(value: &Value, depth: usize, out: &mut String) {
    if depth > MAX_DEPTH {
        return out.push_str("...");
    }
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
        Value::Int(i) => {
            // Writing to a string does not fail.
            let _ = write!(out, "{i}");
        }
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(s) => quoted(s, out),
        Value::Markup(s) => {
            out.push_str("Markup(");
            quoted(s, out);
            out.push(')');
        }
        Value::List(items) => sequence(["[", "]"], items, depth, out),
        Value::Tuple(items) => sequence(["(", if items.len() == 1 { ",)" } else { ")" }], items, depth, out),
        Value::Dict(dict) => {
            out.push('{');
            for (i, (key, value)) in dict.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(key, depth + 1, out);
                out.push_str(": ");
                write_repr(value, depth + 1, out);
            }
            out.push('}');
        }
        Value::View(view, dict) => {
            let _ = write!(out, "{}([", value.type_name());
            for (i, (key, value)) in dict.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                out.push_str(if *view == View::Items { "(" } else { "" });
                if *view != View::Values {
                    write_repr(key, depth + 1, out);
                }
                out.push_str(if *view == View::Items { ", " } else { "" });
                if *view != View::Keys {
                    write_repr(value, depth + 1, out);
                }
                out.push_str(if *view == View::Items { ")" } else { "" });
            }
            out.push_str("])");
        }
        Value::Range(range) => {
            let _ = write!(out, "range({}, {}", range.start, range.stop);
            if range.step != 1 {
                let _ = write!(out, ", {}", range.step);
            }
            out.push(')');
        }
        other => {
            let _ = write!(out, "<{}>", other.type_name());
        }
    }
}

fn sequence(brackets: [&str; 2], items: &[Value], depth: usize, out: &mut String) {
    out.push_str(brackets[0]);
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_repr(item, depth + 1, out);
    }
    out.push_str(brackets[1]);
}

/// A text in quotes: double ones only where it has single ones and no double ones.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let _ = match c as u32 {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Python's `isprintable` of one character.
pub fn is_printable(c: char) -> bool {
    // Behind another character, Rust escapes just what Python does not print, and what is quoted.
    matches!(c, '\'' | '"' | '\\') || ['a', c].iter().collect::<String>().escape_debug().nth(1) == Some(c)
}

/// A number as Python writes it: the shortest digits that mean it, with an exponent below 1e-4 and from 1e16 on.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
