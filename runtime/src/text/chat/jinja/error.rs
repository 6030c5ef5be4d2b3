//! What is wrong with a template.

use std::fmt;

/// What is wrong with a template, or with what it was given.
#[derive(Clone, Debug)]
pub struct Error {
    message: String,
    line: Option<usize>,
}

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), line: None }
    }

    /// The error with its line, if it has none yet.
    pub(super) fn at(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    /// The line of the template.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
