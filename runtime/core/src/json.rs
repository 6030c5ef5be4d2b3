//! JSON as Python's `json` writes and reads it, and how its values are called in errors.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What Python writes of numbers that JSON has not.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
/// Characters of a value that errors show.
const SHOWN: usize = 60;

/// Reads a text. `NaN`, `Infinity` and `-Infinity` are read as texts: a field that nobody asks for may hold them, and who wants a number
/// says what it found.
///
/// # Errors
/// What is no JSON, or holds something else than it should.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| match quoted(bytes) {
        Some(quoted) => serde_json::from_slice(&quoted),
        None => Err(error),
    })
}

/// What a JSON value is, in errors.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as JSON, cut short, in errors.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The bytes with what is no number in quotation marks, if there is any.
fn quoted(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let (mut rest, mut found, mut in_text) = (bytes, false, false);
    while let Some(&byte) = rest.first() {
        let name = NO_NUMBERS.iter().find(|name| !in_text && rest.starts_with(name.as_bytes()));
        let taken = match (byte, name) {
            (_, Some(name)) => {
                found = true;
                out.extend_from_slice(format!("\"{name}\"").as_bytes());
                rest = &rest[name.len()..];
                continue;
            }
            (b'\\', None) if in_text => rest.len().min(2),
            (b'"', None) => {
                in_text = !in_text;
                1
            }
            _ => 1,
        };
        out.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_python_writes_is_read() {
        let text = r#"{"a": NaN, "b": [Infinity, -Infinity, -1], "NaN \" NaN\\": "Infinity, \"NaN"}"#;
        let want = json!({"a": "NaN", "b": ["Infinity", "-Infinity", -1], "NaN \" NaN\\": "Infinity, \"NaN"});
        assert_eq!(from_slice::<Value>(text.as_bytes()).unwrap(), want);
        for wrong in ["{\"a\": NaNs}", "{\"a\": NaN", "\"NaN\\", "{\"a\": Infinit}", "NaN NaN", ""] {
            assert!(from_slice::<Value>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(shown(&json!([1, "x"])), r#"[1,"x"]"#);
        let long = shown(&json!("ä".repeat(100)));
        assert!(long.ends_with('…') && long.chars().count() == SHOWN + 1, "{long}");
    }
}
