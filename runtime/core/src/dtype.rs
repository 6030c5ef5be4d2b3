//! Element types and how tensors are stored.

use crate::BlockFormat;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The type of one tensor element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I8,
    U8,
    Bool,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 9] =
        [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I8, DType::U8, DType::Bool];

    /// Bytes of one element; a bool takes one byte, 0 or 1.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer type (bool is not).
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I8 | DType::U8)
    }

    /// The name in the text format: `f32`, `bool`, …
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        DType::ALL.into_iter().find(|d| d.name() == s).ok_or_else(|| format!("unknown dtype `{s}`"))
    }
}

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// One element after the other, row-major.
    Dense(DType),
    /// Blocks along the last axis; only dequantise, row gather and outer slice accept it.
    Block(BlockFormat),
}

impl Storage {
    /// Bytes up to the end of an element; of block storage, up to the end of its block. `None` for a negative one, or beyond 64 bits.
    pub fn end_of(self, element: i64) -> Option<u64> {
        let element = u64::try_from(element).ok()?;
        match self {
            Storage::Dense(d) => element.checked_add(1)?.checked_mul(d.size() as u64),
            Storage::Block(b) => (element / b.block_len() as u64).checked_add(1)?.checked_mul(b.block_bytes() as u64),
        }
    }

    /// The dense element type, if there is one.
    pub const fn dense(self) -> Option<DType> {
        match self {
            Storage::Dense(d) => Some(d),
            Storage::Block(_) => None,
        }
    }

    /// Bytes of `elements` consecutive elements; `None` if a block would be cut or the number overflows.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        match self {
            Storage::Dense(d) => elements.checked_mul(d.size()),
            Storage::Block(b) if elements.is_multiple_of(b.block_len()) => {
                (elements / b.block_len()).checked_mul(b.block_bytes())
            }
            Storage::Block(_) => None,
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Storage::Dense(d) => d.name(),
            Storage::Block(b) => b.name(),
        })
    }
}

impl FromStr for Storage {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if let Some(b) = BlockFormat::ALL.into_iter().find(|b| b.name() == s) {
            return Ok(Storage::Block(b));
        }
        s.parse().map(Storage::Dense)
    }
}

impl From<DType> for Storage {
    fn from(d: DType) -> Self {
        Storage::Dense(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for d in DType::ALL {
            assert_eq!(d.to_string().parse::<Storage>(), Ok(Storage::Dense(d)));
        }
        for b in BlockFormat::ALL {
            assert_eq!(b.name().parse::<Storage>(), Ok(Storage::Block(b)));
        }
        assert!("q9_9".parse::<Storage>().is_err());
    }

    #[test]
    fn blocks_are_never_cut() {
        assert_eq!(Storage::Block(BlockFormat::Q4_1).bytes(64), Some(40));
        assert_eq!(Storage::Block(BlockFormat::Q4_1).bytes(33), None);
    }
}
