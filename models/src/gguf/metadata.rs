//! GGUF metadata: typed values under dotted keys.
//!
//! A getter gives `Ok(None)` for a key that is absent, and says what it expected and found when the type is another one.

use std::collections::BTreeMap;
use std::fmt;

/// One metadata value. Integers of every width are kept as one type: the width carries no meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// uint8 … uint64, int8 … int64.
    Int(i128),
    /// float32, kept as it is so that it prints as short as it was meant.
    F32(f32),
    /// float64.
    F64(f64),
    /// bool.
    Bool(bool),
    /// string.
    String(String),
    /// array, all elements of one type.
    Array(Vec<MetaValue>),
}

impl MetaValue {
    /// The number nearest to what the writer meant: a float32 of `1e-5` gives `1e-5`, not `9.999999747378752e-6`.
    fn number(&self) -> Option<f64> {
        match self {
            MetaValue::Int(n) => Some(*n as f64),
            MetaValue::F32(x) => x.to_string().parse().ok(),
            MetaValue::F64(x) => Some(*x),
            _ => None,
        }
    }
}

impl fmt::Display for MetaValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetaValue::Int(n) => write!(f, "the integer {n}"),
            MetaValue::F32(x) => write!(f, "the number {x}"),
            MetaValue::F64(x) => write!(f, "the number {x}"),
            MetaValue::Bool(b) => write!(f, "{b}"),
            MetaValue::String(s) => write!(f, "the string {:?}", s.chars().take(40).collect::<String>()),
            MetaValue::Array(a) => write!(f, "an array of {}", a.len()),
        }
    }
}

/// All metadata of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(super) BTreeMap<String, MetaValue>);

/// What a getter gives: nothing there, the value, or a complaint that names the key.
pub type Found<T> = Result<Option<T>, String>;

impl Metadata {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&MetaValue> {
        self.0.get(key)
    }

    /// All keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// A string.
    pub fn string(&self, key: &str) -> Found<&str> {
        self.typed(key, "a string", |v| match v {
            MetaValue::String(s) => Some(s.as_str()),
            _ => None,
        })
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Found<bool> {
        self.typed(key, "a bool", |v| match v {
            MetaValue::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// An integer that is not negative.
    pub fn unsigned(&self, key: &str) -> Found<u64> {
        self.typed(key, "an integer that is not negative", |v| match v {
            MetaValue::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        })
    }

    /// Such an integer, or an array of them that are all equal (llama.cpp writes some keys per layer).
    pub fn unsigned_or_uniform(&self, key: &str) -> Found<u64> {
        self.typed(key, "an integer, or an array that repeats one (layers that differ are not supported)", |v| {
            let same = match v {
                MetaValue::Array(all) => all.first().filter(|first| all.iter().all(|x| x == *first))?,
                one => one,
            };
            match same {
                MetaValue::Int(n) => u64::try_from(*n).ok(),
                _ => None,
            }
        })
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Found<f64> {
        self.typed(key, "a finite number", |v| v.number().filter(|x| x.is_finite()))
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Found<Vec<&str>> {
        self.typed(key, "an array of strings", |v| match v {
            MetaValue::Array(all) => all
                .iter()
                .map(|x| match x {
                    MetaValue::String(s) => Some(s.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// An array of integers.
    pub fn integers(&self, key: &str) -> Found<Vec<i64>> {
        self.typed(key, "an array of integers", |v| match v {
            MetaValue::Array(all) => all
                .iter()
                .map(|x| match x {
                    MetaValue::Int(n) => i64::try_from(*n).ok(),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// An array of finite numbers.
    pub fn numbers(&self, key: &str) -> Found<Vec<f64>> {
        self.typed(key, "an array of finite numbers", |v| match v {
            MetaValue::Array(all) => all.iter().map(|x| x.number().filter(|x| x.is_finite())).collect(),
            _ => None,
        })
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, read: impl FnOnce(&'a MetaValue) -> Option<T>) -> Found<T> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => {
                read(value).map(Some).ok_or_else(|| format!("metadata key `{key}`: expected {expected}, found {value}"))
            }
        }
    }
}
