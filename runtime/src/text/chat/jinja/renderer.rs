//! One run of a template: how much it may still do, whether it escapes, and what it frees at its end.

use super::Error;
use super::html::escape;
use super::repr::text;
use super::value::{Namespace, Scope, Value};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// How much a template may do: so many steps, or bytes that it makes, are a second or so.
const FUEL: usize = 100_000_000;
/// What a step costs; a byte costs one.
const STEP: usize = 10;
/// How deep statements, expressions and calls may be nested.
const MAX_DEPTH: usize = 400;

/// One run of a template.
pub struct Renderer {
    fuel: Cell<usize>,
    depth: Cell<usize>,
    /// Whether what is printed is escaped.
    escapes: Cell<bool>,
    /// Scopes that macros or recursive loops hold, and that may hold those.
    scopes: RefCell<Vec<Arc<Scope>>>,
    namespaces: RefCell<Vec<Arc<Namespace>>>,
}

impl Renderer {
    pub fn new() -> Renderer {
        Renderer {
            fuel: Cell::new(FUEL),
            depth: Cell::new(0),
            escapes: Cell::new(false),
            scopes: RefCell::default(),
            namespaces: RefCell::default(),
        }
    }

    /// Takes fuel for so many bytes.
    pub fn charge(&self, bytes: usize) -> Result<(), Error> {
        match self.fuel.get().checked_sub(bytes) {
            Some(left) => {
                self.fuel.set(left);
                Ok(())
            }
            None => Err(Error::new("the template does too much, or writes too much")),
        }
    }

    /// Runs something one level deeper.
    pub fn deeper<T>(&self, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.charge(STEP)?;
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return Err(Error::new("the template's calls are nested too deep"));
        }
        self.depth.set(depth + 1);
        let result = run();
        self.depth.set(depth);
        result
    }

    /// Whether what is printed is escaped (`autoescape`).
    pub fn escapes(&self) -> bool {
        self.escapes.get()
    }

    /// Runs something that escapes what it prints, or does not.
    pub(super) fn escaping<T>(&self, escapes: bool, run: impl FnOnce() -> T) -> T {
        let before = self.escapes.replace(escapes);
        let result = run();
        self.escapes.set(before);
        result
    }

    /// What a body wrote, as a value: HTML where it was escaped.
    pub fn written(&self, text: String) -> Value {
        if self.escapes() { Value::Markup(text.into()) } else { text.into() }
    }

    /// Prints a value.
    pub(super) fn print(&self, value: &Value, out: &mut String) -> Result<(), Error> {
        self.write(&if self.escapes() { escape(value) } else { text(value) }, out)
    }

    /// A namespace that is freed when the run is over.
    pub fn namespace(&self) -> Arc<Namespace> {
        let namespace = Arc::new(Namespace::default());
        self.namespaces.borrow_mut().push(namespace.clone());
        namespace
    }

    /// Frees what holds itself, without going from one namespace into the next.
    pub(super) fn free(&self) {
        let scopes: Vec<_> = self.scopes.borrow().iter().map(|scope| scope.take()).collect();
        let namespaces: Vec<_> = self.namespaces.borrow().iter().map(|namespace| namespace.take()).collect();
        drop((scopes, namespaces));
    }

    pub(super) fn hold(&self, scope: &Arc<Scope>) {
        let mut scopes = self.scopes.borrow_mut();
        if !scopes.last().is_some_and(|last| Arc::ptr_eq(last, scope)) {
            scopes.push(scope.clone());
        }
    }

    /// Writes a text.
    pub(super) fn write(&self, text: &str, out: &mut String) -> Result<(), Error> {
        self.charge(text.len())?;
        out.push_str(text);
        Ok(())
    }
}
