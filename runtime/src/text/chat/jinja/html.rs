//! Texts as HTML, as markupsafe makes them.

use super::repr::text;
use super::value::Value;

/// A text with the characters escaped that mean something in HTML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// A value as HTML: what is HTML already stays as it is.
pub fn escape(value: &Value) -> String {
    match value {
        Value::Markup(html) => html.to_string(),
        other => escaped(&text(other)),
    }
}
