//! Ranges of sizes for which an entry gets code of its own.
//!
//! An entry declares them, narrowest first; a call runs the code of the first range that its sizes lie in, or else the code for any size. What is
//! declared changes no value, only how fast it is computed: a product of few rows streams its weights once for all of them.

use crate::{Dim, DimBounds, Symbols};
use kiln_core::MatMulSpec;
use std::fmt;

/// The calls in which each of these sizes lies within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeRange(pub Vec<(Dim, DimBounds)>);

impl SizeRange {
    /// The symbols as they are within the range. Where a product of symbols is at least 1, so is each of them, and none is larger than it.
    pub fn narrow(&self, symbols: &Symbols) -> Symbols {
        let mut narrowed = symbols.clone();
        for (size, bounds) in &self.0 {
            let factors = size.as_product().unwrap_or_default();
            let single = factors.len() == 1;
            if !single && bounds.min < 1 {
                continue;
            }
            for factor in factors {
                let Some(symbol) = narrowed.get_mut(factor) else { continue };
                symbol.min = symbol.min.max(if single { bounds.min } else { 1 });
                symbol.max = symbol.max.min(bounds.max);
                // What is typical of the whole may lie outside of a part.
                symbol.typical.clear();
            }
        }
        narrowed
    }
}

/// `(b in 1..=1, s in 1..=1)`
impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, (size, bounds)) in self.0.iter().enumerate() {
            write!(f, "{}{size} in {}..={}", if i > 0 { ", " } else { "" }, bounds.min, bounds.max)?;
        }
        f.write_str(")")
    }
}

/// The ranges of an entry whose work is products over rows along these axes: one row, and as few as a kernel takes at once.
pub fn by_rows(axes: &[Dim]) -> Vec<SizeRange> {
    let one = axes.iter().map(|axis| (axis.clone(), DimBounds { min: 1, max: 1 })).collect();
    let few = (axes.iter().cloned().product(), DimBounds { min: 1, max: MatMulSpec::SKINNY_ROWS });
    vec![SizeRange(one), SizeRange(vec![few])]
}
