//! Dictionaries.

use super::Error;
use super::value::{Dict, Key, Value};

impl Dict {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Value, Value)> {
        self.entries.iter()
    }

    pub fn get(&self, key: &Value) -> Result<Option<&Value>, Error> {
        Ok(self.places.get(&Key::of(key)?).map(|&at| &self.entries[at].1))
    }

    pub fn get_text(&self, key: &str) -> Option<&Value> {
        self.places.get(&Key::Str(key.into())).map(|&at| &self.entries[at].1)
    }

    /// Sets an entry; one that is there keeps its place.
    pub fn insert(&mut self, key: Value, value: Value) -> Result<(), Error> {
        self.depth = self.depth.max(value.depth()).max(key.depth());
        match self.places.entry(Key::of(&key)?) {
            std::collections::hash_map::Entry::Occupied(place) => self.entries[*place.get()].1 = value,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }
}
