//! Bounds of sizes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Inclusive bounds of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DimBounds {
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
}

impl DimBounds {
    /// Whether a value lies within them, the ends included.
    pub fn contains(&self, value: i64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

/// `1..=8`, or `1..` where there is no largest value.
impl fmt::Display for DimBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            i64::MAX => write!(f, "{}..", self.min),
            max => write!(f, "{}..={max}", self.min),
        }
    }
}
