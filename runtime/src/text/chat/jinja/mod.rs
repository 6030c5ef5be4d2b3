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
mod deserialize;
mod dict;
mod error;
mod evaluate;
mod expressions;
mod filters;
mod format;
mod global;
mod globals;
mod html;
mod lexer;
mod methods;
mod number;
mod ops;
mod parser;
mod predicates;
mod render;
mod renderer;
mod repr;
mod scope;
mod value;

pub use arguments::Arguments;
pub use error::Error;
pub use repr::float;
pub use value::{Dict, Value};

/// A template that has been read.
pub struct Template {
    body: ast::Body,
}

impl Template {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Self, Error> {
        let body = with_stack(|| parser::parse(source))?;
        Ok(Template { body })
    }

    /// What it writes with these variables.
    pub fn render(&self, variables: impl IntoIterator<Item = (String, Value)>) -> Result<String, Error> {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value)).collect();
        with_stack(|| render::render(&self.body, variables))
    }
}

/// What templates may take of stack, as deep as they may be nested.
const STACK: usize = 16 << 20;

/// Does something on a thread with enough stack, whatever the caller's has left.
fn with_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("kiln-template".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|e| Error::new(format!("cannot start a thread for the template: {e}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
