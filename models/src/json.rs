//! JSON files of a model, with errors that name them.

use crate::{Error, Result};
use kiln_core::json::{from_slice, kind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

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

/// Reads a file's bytes, as [`from_slice`].
///
/// # Errors
/// What is no JSON, or holds something else than it should.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    from_slice(bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn json_of_another_kind_is_said_to_be_that() {
        let read = |text: &str| object::<Map<String, Value>>(Path::new("x.json"), text.as_bytes());
        assert!(read("{}").is_ok());
        for (text, kind) in [("[]", "a list"), ("null", "null"), ("\"x\"", "a string"), ("NaN", "a string")] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains("x.json: expected a JSON object, found ") && message.contains(kind), "{message}");
        }
        for wrong in ["{\"a\": NaNs}", "{\"a\"", ""] {
            assert!(read(wrong).unwrap_err().to_string().contains("x.json is not valid JSON"), "{wrong}");
        }
    }
}
