//! Values that are called, or that keep what a template is at.

use super::ast;
use super::scope::Scope;
use super::value::{Value, locked};
use std::sync::{Arc, Mutex};

/// A function of the environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Global {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

impl Global {
    /// The function of that name.
    pub fn named(name: &str) -> Option<Global> {
        Some(match name {
            "range" => Global::Range,
            "dict" => Global::Dict,
            "namespace" => Global::Namespace,
            "cycler" => Global::Cycler,
            "joiner" => Global::Joiner,
            "raise_exception" => Global::RaiseException,
            "strftime_now" => Global::StrftimeNow,
            _ => return None,
        })
    }
}

/// A macro with the variables it was defined among.
pub struct Macro {
    pub definition: Arc<ast::Macro>,
    pub scope: Arc<Scope>,
    /// Whether it was defined where what is printed is escaped.
    pub escapes: bool,
}

/// The variable `loop`.
pub struct Loop {
    pub items: Vec<Value>,
    /// The iteration, from zero.
    pub at: Mutex<usize>,
    /// Loops around this one that are the same recursive one.
    pub depth: usize,
    /// What `changed` was called with last.
    pub changed: Mutex<Option<Vec<Value>>>,
    /// The loop itself, where it may be called.
    pub recursion: Option<(Arc<ast::For>, Arc<Scope>)>,
}

/// What `cycler()` gives: values that come round again.
pub struct Cycler {
    pub items: Vec<Value>,
    at: Mutex<usize>,
}

impl Cycler {
    /// Of one value at least.
    pub fn new(items: Vec<Value>) -> Self {
        Cycler { items, at: Mutex::new(0) }
    }

    pub fn current(&self) -> Value {
        self.items[*locked(&self.at)].clone()
    }

    pub fn advance(&self) -> Value {
        let mut at = locked(&self.at);
        let value = self.items[*at].clone();
        *at = (*at + 1) % self.items.len();
        value
    }

    pub fn reset(&self) {
        *locked(&self.at) = 0;
    }
}

/// What `joiner()` gives: nothing the first time, the separator from then on.
pub struct Joiner {
    separator: Arc<str>,
    used: Mutex<bool>,
}

impl Joiner {
    pub fn new(separator: Arc<str>) -> Self {
        Joiner { separator, used: Mutex::new(false) }
    }

    pub fn next(&self) -> Value {
        match std::mem::replace(&mut *locked(&self.used), true) {
            true => Value::Str(self.separator.clone()),
            false => "".into(),
        }
    }
}
