//! JSON as Python's `json` writes and reads it.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// What Python writes of numbers that JSON has not.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// A file's bytes, `None` if there is no such file.
pub(crate) fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// A file as JSON, `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Value>> {
    bytes(path)?.map(|bytes| parse(path, &bytes)).transpose()
}

/// Reads a file's bytes. `NaN`, `Infinity` and `-Infinity` are read as texts: a field that nobody asks for may hold them, and who wants a
/// number says what it found.
///
/// # Errors
/// What is no JSON, or holds something else than it should.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).or_else(|source| {
        let error = |source| Error::Json { path: path.to_path_buf(), source };
        let Some(quoted) = quoted(bytes) else { return Err(error(source)) };
        serde_json::from_slice(&quoted).map_err(error)
    })
}

/// Reads a file's bytes, which are an object.
///
/// # Errors
/// As [`parse`], and JSON of another kind.
pub(crate) fn object<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    parse(path, bytes).map_err(|error| match parse::<Value>(path, bytes) {
        Ok(found) if !found.is_object() => Error::NoObject { path: path.to_path_buf(), found: kind(&found) },
        _ => error,
    })
}

/// What a JSON value is, in errors.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
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
    use serde_json::{Map, json};

    #[test]
    fn what_python_writes_is_read() {
        let read = |text: &str| parse::<Value>(Path::new("x.json"), text.as_bytes());
        let text = r#"{"a": NaN, "b": [Infinity, -Infinity, -1], "NaN \" NaN\\": "Infinity, \"NaN"}"#;
        let want = json!({"a": "NaN", "b": ["Infinity", "-Infinity", -1], "NaN \" NaN\\": "Infinity, \"NaN"});
        assert_eq!(read(text).unwrap(), want);
        for wrong in ["{\"a\": NaNs}", "{\"a\": NaN", "\"NaN\\", "{\"a\": Infinit}", "NaN NaN", ""] {
            assert!(read(wrong).unwrap_err().to_string().contains("x.json is not valid JSON"), "{wrong}");
        }
    }

    #[test]
    fn json_of_another_kind_is_said_to_be_that() {
        let read = |text: &str| object::<Map<String, Value>>(Path::new("x.json"), text.as_bytes());
        assert!(read("{}").is_ok());
        for (text, kind) in [("[]", "a list"), ("null", "null"), ("\"x\"", "a string"), ("NaN", "a string")] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("x.json: expected a JSON object, found ") && message.contains(kind), "{message}");
        }
        let wrong = object::<std::collections::BTreeMap<String, i64>>(Path::new("x.json"), br#"{"a": "b"}"#);
        let message = wrong.unwrap_err().to_string();
        assert!(message.contains("is not what it should be") && message.contains("\"b\""), "{message}");
    }
}
