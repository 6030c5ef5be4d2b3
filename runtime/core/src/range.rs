//! Which values an input may have: those of inputs that address something, such as rows of an embedding or slots of a cache.

use crate::{DType, Dim, DimError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The values that an integer input may have; a call with another one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueRange {
    /// The smallest.
    pub min: Dim,
    /// The largest.
    pub max: Dim,
    /// Whether no two may be equal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distinct: bool,
}

/// A range under a binding of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundRange {
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
    /// Whether no two may be equal.
    pub distinct: bool,
}

/// The first value that a range refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Number of the element.
    pub element: usize,
    /// Its value.
    pub value: i64,
    /// Number of an earlier element that has the same value, where that is what is wrong.
    pub equals: Option<usize>,
}

/// So many values are compared with each other as they lie; more are sorted first.
const FEW: usize = 64;

impl ValueRange {
    /// What both ranges allow.
    pub fn and(&self, other: &ValueRange) -> ValueRange {
        ValueRange {
            min: self.min.maximum(&other.min),
            max: self.max.minimum(&other.max),
            distinct: self.distinct || other.distinct,
        }
    }

    /// The range under a binding of symbols.
    ///
    /// # Errors
    /// As [`Dim::eval`].
    pub fn bind(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> Result<BoundRange, DimError> {
        Ok(BoundRange { min: self.min.eval(lookup)?, max: self.max.eval(lookup)?, distinct: self.distinct })
    }

    /// What is expected under a binding: `values from 0 to 383`, `different values from 0 to 3 (rows - 1)`.
    pub fn expected(&self, bound: &BoundRange) -> String {
        let end = |dim: &Dim, value: i64| match dim.as_const() {
            Some(_) => value.to_string(),
            None => format!("{value} ({dim})"),
        };
        let values = if self.distinct { "different values" } else { "values" };
        format!("{values} from {} to {}", end(&self.min, bound.min), end(&self.max, bound.max))
    }
}

/// As the text format has it: `[0, rows - 1] distinct`.
impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}]{}", self.min, self.max, if self.distinct { " distinct" } else { "" })
    }
}

impl BoundRange {
    /// Looks for a value that is refused among the little-endian elements of an integer type; `None` also for other types.
    pub fn refuses(&self, dtype: DType, bytes: &[u8]) -> Option<Refused> {
        match dtype {
            DType::I64 => self.search(bytes, i64::from_le_bytes),
            DType::I32 => self.search(bytes, |b| i32::from_le_bytes(b).into()),
            DType::I8 => self.search(bytes, |b| i8::from_le_bytes(b).into()),
            DType::U8 => self.search(bytes, |[b]| b.into()),
            _ => None,
        }
    }

    fn search<const N: usize>(&self, bytes: &[u8], read: impl Fn([u8; N]) -> i64) -> Option<Refused> {
        let (elements, _) = bytes.as_chunks::<N>();
        let at = |i: usize| read(elements[i]);
        let outside = elements.iter().position(|e| !(self.min..=self.max).contains(&read(*e)));
        if let Some(element) = outside {
            return Some(Refused { element, value: at(element), equals: None });
        }
        let pair = match elements.len() {
            _ if !self.distinct => None,
            n @ ..=FEW => (1..n).find_map(|i| Some((i, (0..i).find(|j| at(*j) == at(i))?))),
            n => {
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_unstable_by_key(|i| (at(*i), *i));
                order.windows(2).find(|pair| at(pair[0]) == at(pair[1])).map(|pair| (pair[1], pair[0]))
            }
        };
        pair.map(|(element, equal)| Refused { element, value: at(element), equals: Some(equal) })
    }
}

impl Refused {
    /// `384 at row 0, position 1`, for an input of that shape.
    pub fn found(&self, shape: &[usize]) -> String {
        let place = place(self.element, shape);
        match self.equals {
            Some(other) => format!("{} at {} and again at {place}", self.value, self::place(other, shape)),
            None if place.is_empty() => self.value.to_string(),
            None => format!("{} at {place}", self.value),
        }
    }
}

/// Where an element of a tensor lies; empty in a scalar.
fn place(element: usize, shape: &[usize]) -> String {
    let mut rest = element;
    let mut index: Vec<usize> = vec![];
    for n in shape.iter().rev() {
        index.push(rest % n.max(&1));
        rest /= n.max(&1);
    }
    index.reverse();
    match index[..] {
        [] => String::new(),
        [row] => format!("row {row}"),
        [row, position] => format!("row {row}, position {position}"),
        _ => format!("{index:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(range: BoundRange, values: &[i64], shape: &[usize]) -> Option<String> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        range.refuses(DType::I64, &bytes).map(|r| r.found(shape))
    }

    #[test]
    fn the_first_value_outside_is_named_with_its_place() {
        let range = BoundRange { min: -1, max: 3, distinct: false };
        assert_eq!(refused(range, &[-1, 3, 0, 3], &[2, 2]), None);
        assert_eq!(refused(range, &[-1, 3, 4, -2], &[2, 2]).as_deref(), Some("4 at row 1, position 0"));
        assert_eq!(refused(range, &[0, i64::MIN], &[2]).as_deref(), Some("-9223372036854775808 at row 1"));
        assert_eq!(refused(range, &[0, 0, 9], &[1, 1, 3]).as_deref(), Some("9 at [0, 0, 2]"));
        assert_eq!(refused(range, &[7], &[]).as_deref(), Some("7"));
        assert_eq!(refused(range, &[], &[0]), None);
        let nothing = BoundRange { min: 0, max: -1, distinct: false };
        assert_eq!((refused(nothing, &[], &[0]), refused(nothing, &[0], &[1])), (None, Some("0 at row 0".into())));
    }

    #[test]
    fn equal_values_are_found_among_few_and_many() {
        let range = BoundRange { min: 0, max: 999, distinct: true };
        assert_eq!(refused(range, &[2, 0, 1], &[3]), None);
        assert_eq!(refused(range, &[2, 0, 2, 0], &[4]).as_deref(), Some("2 at row 0 and again at row 2"));
        let mut many: Vec<i64> = (0..200).rev().collect();
        assert_eq!(refused(range, &many, &[200]), None);
        many[150] = many[9];
        assert_eq!(refused(range, &many, &[200]).as_deref(), Some("190 at row 9 and again at row 150"));
    }

    #[test]
    fn narrow_integers_are_read_as_they_are() {
        let range = BoundRange { min: 0, max: 200, distinct: false };
        assert_eq!(range.refuses(DType::U8, &[7, 200, 201]).map(|r| r.value), Some(201));
        assert_eq!(range.refuses(DType::I8, &[7, 200]).map(|r| r.value), Some(-56));
        let bytes: Vec<u8> = [5, -3].iter().flat_map(|v: &i32| v.to_le_bytes()).collect();
        assert_eq!(range.refuses(DType::I32, &bytes).map(|r| (r.element, r.value)), Some((1, -3)));
        assert_eq!(range.refuses(DType::F32, &bytes), None);
    }

    #[test]
    fn both_ranges_hold() {
        let range = |min: &str, max: &str, distinct| ValueRange {
            min: min.parse().expect("a size"),
            max: max.parse().expect("a size"),
            distinct,
        };
        let both = range("0", "383", false).and(&range("-2", "127", true));
        assert_eq!((both.to_string(), both.clone().and(&both)), ("[0, 127] distinct".into(), both.clone()));
        let cache = range("-t", "t - s", false);
        let bound = cache.bind(&|s| Some(if s == "t" { 16 } else { 3 })).expect("a range");
        assert_eq!(cache.expected(&bound), "values from -16 (-t) to 13 (t - s)");
    }
}
