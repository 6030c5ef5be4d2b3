//! The metadata of one architecture, under the names of its keys.

use super::Gguf;
use crate::Result;

/// The metadata keys of one architecture.
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub prefix: &'static str,
}

impl Keys<'_> {
    /// Whether the file has a tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.gguf.tensor(tensor).is_some()
    }

    pub fn optional(&self, key: &str) -> Result<Option<u64>> {
        let found = self.gguf.metadata.unsigned_or_uniform(&format!("{}.{key}", self.prefix));
        found.map_err(|p| self.gguf.corrupt(p))
    }

    pub fn required(&self, key: &str) -> Result<u64> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.gguf.metadata.number(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    pub fn required_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.gguf.metadata.string(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.gguf.metadata.bool(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    pub fn missing(&self, key: &str) -> crate::Error {
        self.gguf.corrupt(format!("it lacks the metadata key `{}.{key}`", self.prefix))
    }
}
