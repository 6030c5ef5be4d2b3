//! What a program says of its size symbols: their bounds, what kind of size each is, and what it usually is.
//!
//! A symbol's name means nothing; whoever wants to know which size is which reads its [`SizeRole`].

use crate::DimBounds;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

/// The symbols of a program, by name.
pub type Symbols = BTreeMap<Arc<str>, Symbol>;

/// What kind of size a symbol is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeRole {
    /// How much of one thing is computed: the tokens of a sequence, the patches of an image. What a symbol is that says nothing.
    #[default]
    Length,
    /// How many things that know nothing of each other there are: the sequences of a call, the slots of a cache.
    Batch,
    /// How much of one thing lies there already, cached or encoded, and is read.
    Context,
}

impl SizeRole {
    /// All of them.
    pub const ALL: [SizeRole; 3] = [SizeRole::Length, SizeRole::Batch, SizeRole::Context];

    /// Its name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            SizeRole::Length => "length",
            SizeRole::Batch => "batch",
            SizeRole::Context => "context",
        }
    }

    fn is_default(&self) -> bool {
        *self == SizeRole::default()
    }
}

/// A size symbol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Symbol {
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
    /// What kind of size it is.
    #[serde(default, skip_serializing_if = "SizeRole::is_default")]
    pub role: SizeRole,
    /// Values at which costs are taken; empty for those of its role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub typical: Vec<i64>,
}

impl Symbol {
    /// The largest size that is typical where a symbol names none.
    pub const TYPICAL: i64 = 512;

    /// A symbol that is a length.
    pub fn length(bounds: RangeInclusive<i64>) -> Symbol {
        Symbol { min: *bounds.start(), max: *bounds.end(), role: SizeRole::Length, typical: vec![] }
    }

    /// A symbol that is a number of independent things.
    pub fn batch(bounds: RangeInclusive<i64>) -> Symbol {
        Symbol { role: SizeRole::Batch, ..Symbol::length(bounds) }
    }

    /// A symbol that is the length of what is cached or encoded.
    pub fn context(bounds: RangeInclusive<i64>) -> Symbol {
        Symbol { role: SizeRole::Context, ..Symbol::length(bounds) }
    }

    /// With values at which costs are taken, in place of those of its role.
    pub fn typically(self, typical: impl Into<Vec<i64>>) -> Symbol {
        Symbol { typical: typical.into(), ..self }
    }

    /// Its bounds.
    pub fn bounds(&self) -> DimBounds {
        DimBounds { min: self.min, max: self.max }
    }

    /// The value nearest to `wanted` that it may have, but not 0 where it may be more.
    pub fn nearest(&self, wanted: i64) -> i64 {
        wanted.min(self.max.max(1)).max(self.min.max(1))
    }

    /// Where costs are taken, within its bounds: the values it names, else one thing of a batch, the shortest and the longest of a length
    /// and the longest of a context, none longer than [`TYPICAL`](Self::TYPICAL).
    pub fn typical_sizes(&self) -> Vec<i64> {
        let of_role: &[i64] = match self.role {
            _ if !self.typical.is_empty() => &self.typical,
            SizeRole::Length => &[1, Self::TYPICAL],
            SizeRole::Batch => &[1],
            SizeRole::Context => &[Self::TYPICAL],
        };
        of_role.iter().map(|v| self.nearest(*v)).collect()
    }
}

/// A symbol that says nothing but its bounds.
impl From<RangeInclusive<i64>> for Symbol {
    fn from(bounds: RangeInclusive<i64>) -> Symbol {
        Symbol::length(bounds)
    }
}

/// A symbol that says nothing but its bounds.
impl From<DimBounds> for Symbol {
    fn from(DimBounds { min, max }: DimBounds) -> Symbol {
        Symbol::length(min..=max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_sizes_are_those_named_or_follow_from_role_and_bounds() {
        let sizes = |symbol: Symbol| symbol.typical_sizes();
        assert_eq!(sizes((1..=2048).into()), [1, 512]);
        assert_eq!(sizes((0..=64).into()), [1, 64]);
        assert_eq!(sizes((7..=8).into()), [7, 8]);
        assert_eq!(sizes((0..=0).into()), [1, 1]);
        assert_eq!(sizes(Symbol::batch(1..=64)), [1]);
        assert_eq!(sizes(Symbol::batch(2..=64)), [2]);
        assert_eq!(sizes(Symbol::context(1..=4096)), [512]);
        assert_eq!(sizes(Symbol::context(1..=16)), [16]);
        assert_eq!(sizes(Symbol::batch(1..=64).typically([8, 32])), [8, 32]);
    }

    #[test]
    fn what_a_symbol_does_not_say_is_not_written() {
        let json = |symbol: &Symbol| serde_json::to_string(symbol).expect("serialises");
        assert_eq!(json(&(1..=8).into()), r#"{"min":1,"max":8}"#);
        let symbol = Symbol::context(1..=8).typically([4]);
        assert_eq!(json(&symbol), r#"{"min":1,"max":8,"role":"context","typical":[4]}"#);
        assert_eq!(serde_json::from_str::<Symbol>(&json(&symbol)).expect("reads"), symbol);
    }
}
