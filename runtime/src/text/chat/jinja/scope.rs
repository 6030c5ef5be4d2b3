//! Variables by name, as far as a block of a template sees them.

use super::value::{Scope, Value, locked};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

impl Scope {
    /// The outermost one.
    pub fn root(variables: HashMap<Arc<str>, Value>) -> Arc<Scope> {
        Arc::new(Scope { variables: Mutex::new(variables), parent: None })
    }

    /// One inside another.
    pub fn within(parent: &Arc<Scope>) -> Arc<Scope> {
        Arc::new(Scope { variables: Mutex::default(), parent: Some(parent.clone()) })
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = locked(&scope.variables).get(name) {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    pub fn set(&self, name: Arc<str>, value: Value) {
        // The old value is dropped when the lock is free again.
        let _old = locked(&self.variables).insert(name, value);
    }

    /// Takes all variables of this block. A macro holds the variables it was defined among, and they hold the macro: this
    /// frees both.
    pub fn take(&self) -> HashMap<Arc<str>, Value> {
        std::mem::take(&mut *locked(&self.variables))
    }
}
