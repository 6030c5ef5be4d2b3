//! Jinja, as transformers runs it: jinja2's immutable sandbox with `trim_blocks`, `lstrip_blocks`, loop controls and the
//! `generation` tag.
//!
//! In come a template's text and variables, out goes text. Templates are written for Python, so values are Python's: their methods,
//! their operators, and how they print. Templates are programs of strangers: they see their variables only, and what they
//! compute, how deep they nest and how much they write is bounded.

mod arguments;
mod ast;
mod attributes;
mod callable;
mod evaluate;
mod expressions;
mod filters;
mod format;
mod globals;
mod html;
mod lexer;
mod methods;
mod number;
mod ops;
mod parser;
mod predicates;
mod render;
mod repr;
mod scope;
mod value;

pub use arguments::Arguments;
pub use repr::float;
pub use value::{Dict, Value};

use std::fmt;

/// A template that has been read.
pub struct Template {
    body: ast::Body,
}

impl Template {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Self, Error> {
        Ok(Template { body: parser::parse(source)? })
    }

    /// What it writes with these variables.
    pub fn render(&self, variables: impl IntoIterator<Item = (String, Value)>) -> Result<String, Error> {
        render::render(&self.body, variables.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

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
    fn at(mut self, line: usize) -> Self {
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

#[cfg(test)]
mod tests;
