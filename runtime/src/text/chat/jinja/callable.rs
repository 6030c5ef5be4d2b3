//! What the environment's functions give that keeps where it is.

use super::value::{Cycler, Joiner, Value, locked};
use std::sync::{Arc, Mutex};

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
