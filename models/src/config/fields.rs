//! Reading the fields of a config, each with its type and range; JSON `null` counts as absent.

use crate::{Error, Result};
use kiln_core::json::shown;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// An object of a config, with what is needed to name a field in a message.
pub struct Fields<'a> {
    model_type: &'static str,
    prefix: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of a whole `config.json`.
    ///
    /// # Errors
    /// [`Error::InvalidField`] if it is no JSON object.
    pub fn of(model_type: &'static str, config: &'a Value) -> Result<Fields<'a>> {
        match config {
            Value::Object(map) => Ok(Fields { model_type, prefix: String::new(), map }),
            other => Err(Error::InvalidField {
                model_type,
                field: "(the whole file)".to_string(),
                expected: "a JSON object".to_string(),
                found: shown(other),
            }),
        }
    }

    /// The fields of a nested object.
    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Fields { model_type: self.model_type, prefix: format!("{}{name}.", self.prefix), map }))
            }
            Some(other) => Err(self.invalid(name, "an object", other)),
        }
    }

    /// The field as it stands; `None` if it is absent or `null`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// Whether the field is there and `null`, which transformers tells from absent where the default is not `null`.
    pub fn is_null(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_null)
    }

    /// What was read of a field; the default where the field is absent, but not where it is `null`.
    pub fn or_default<T>(&self, name: &str, read: Option<T>, default: T) -> Option<T> {
        read.or_else(|| (!self.is_null(name)).then_some(default))
    }

    /// Whether there is no field at all, or only `null`s.
    pub fn is_empty(&self) -> bool {
        self.map.values().all(Value::is_null)
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::InvalidField`], like those below, for a field that is no such thing.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>> {
        self.typed(name, "a string", Value::as_str)
    }

    /// `true` or `false`.
    pub fn bool(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.typed(name, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A size from 1 to `largest`.
    pub fn size(&self, name: &str, largest: usize) -> Result<Option<usize>> {
        self.typed(name, &size_range(largest), |v| {
            usize::try_from(whole(v)?).ok().filter(|n| (1..=largest).contains(n))
        })
    }

    /// How many tokens back a layer sees.
    pub fn window(&self, name: &str) -> Result<Option<usize>> {
        self.size(name, 1 << 28)
    }

    /// As [`size`](Self::size), of a field that must be there.
    pub fn required_size(&self, name: &str, largest: usize) -> Result<usize> {
        self.size(name, largest)?.ok_or_else(|| self.missing(name, &size_range(largest)))
    }

    /// A number in a range.
    pub fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
        self.typed(name, &expected, |v| v.as_f64().filter(|x| range.contains(x)))
    }

    /// As [`number`](Self::number), of a field that must be there.
    pub fn required_number(&self, name: &str, range: RangeInclusive<f64>) -> Result<f64> {
        let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
        self.number(name, range)?.ok_or_else(|| self.missing(name, &expected))
    }

    /// A list of so many numbers, each in a range.
    pub(crate) fn required_numbers(&self, name: &str, count: usize, range: RangeInclusive<f64>) -> Result<Vec<f64>> {
        let expected = format!("a list of {count} numbers from {:e} to {:e}", range.start(), range.end());
        let numbers = self.typed(name, &expected, |v| {
            let numbers = v.as_array()?.iter().map(|x| x.as_f64().filter(|x| range.contains(x)));
            numbers.collect::<Option<Vec<f64>>>().filter(|all| all.len() == count)
        })?;
        numbers.ok_or_else(|| self.missing(name, &expected))
    }

    /// A number of attention heads that divides the field `of`, whose value is `width`.
    pub fn heads(&self, name: &str, of: &str, width: usize) -> Result<usize> {
        let heads = self.required_size(name, 1 << 16)?;
        if width.is_multiple_of(heads) {
            return Ok(heads);
        }
        Err(self.contradictory(format!("{of} {width} is no multiple of {name} {heads}")))
    }

    /// The number of classes: the length of `id2label`, else `num_labels`, else 2.
    pub fn num_labels(&self) -> Result<usize> {
        self.num_labels_or(2)
    }

    /// The number of classes, for configs with another default.
    pub fn num_labels_or(&self, default: usize) -> Result<usize> {
        match self.object("id2label")? {
            Some(labels) if !labels.map.is_empty() => Ok(labels.map.len()),
            _ => Ok(self.size("num_labels", 1 << 24)?.unwrap_or(default)),
        }
    }

    /// A token id below `vocab_size`. A negative number, as old configs have it, stands for no token.
    pub fn token_id(&self, name: &str, vocab_size: usize) -> Result<Option<u32>> {
        let expected = format!("a token id from 0 to {}, or -1 for none", vocab_size - 1);
        let id = self.typed(name, &expected, |v| match id(v)? {
            Some(id) => ((id as usize) < vocab_size).then_some(Some(id)),
            None => Some(None),
        })?;
        Ok(id.flatten())
    }

    /// One token id or several; empty if absent. Negative numbers are left out: they stand for no token. One that the vocabulary does not
    /// have stays: no text has it.
    pub fn token_ids(&self, name: &str) -> Result<Vec<u32>> {
        let ids = self.typed(name, "a token id, or a list of them", |v| match v {
            Value::Array(all) => all.iter().map(id).collect::<Option<Vec<_>>>(),
            one => Some(vec![id(one)?]),
        })?;
        Ok(ids.into_iter().flatten().flatten().collect())
    }

    fn typed<T>(&self, name: &str, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.invalid(name, expected, value)),
        }
    }

    /// The error that a field is not there.
    pub fn missing(&self, name: &str, expected: &str) -> Error {
        Error::MissingField {
            model_type: self.model_type,
            field: format!("{}{name}", self.prefix),
            expected: expected.to_string(),
        }
    }

    /// The error that a field is something else than expected.
    pub fn invalid(&self, name: &str, expected: &str, found: &Value) -> Error {
        Error::InvalidField {
            model_type: self.model_type,
            field: format!("{}{name}", self.prefix),
            expected: expected.to_string(),
            found: shown(found),
        }
    }

    /// The error that fields contradict each other.
    pub fn contradictory(&self, problem: String) -> Error {
        Error::ContradictoryFields { model_type: self.model_type, problem }
    }
}

fn size_range(largest: usize) -> String {
    format!("a whole number from 1 to {largest}")
}

/// A whole number. Some writers give one as `2048.0`.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && x.abs() <= 1e15).map(|x| x as i64))
}

/// A token id, or `Some(None)` for a negative number.
fn id(value: &Value) -> Option<Option<u32>> {
    let number = whole(value)?;
    if number < 0 { Some(None) } else { u32::try_from(number).ok().map(Some) }
}
