//! Element types and block-quantised storage formats.

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

/// A block-quantised storage format, laid out as GGUF lays it out: a row is a sequence of blocks, and a block holds its
/// scale (and minimum) as little-endian f16 before its packed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockFormat {
    /// f16 scale `d`, then 32 i8 values: `x = d * q`.
    Q8_0,
    /// f16 scale `d`, then 16 bytes: value i is the low nibble of byte i, value i + 16 its high nibble; `x = d * (q - 8)`.
    Q4_0,
    /// f16 scale `d`, f16 minimum `m`, then nibbles as in `Q4_0`: `x = d * q + m`.
    Q4_1,
}

impl BlockFormat {
    /// Every block format.
    pub const ALL: [BlockFormat; 3] = [BlockFormat::Q8_0, BlockFormat::Q4_0, BlockFormat::Q4_1];

    /// Values in one block.
    pub const fn block_len(self) -> usize {
        32
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            BlockFormat::Q8_0 => 34,
            BlockFormat::Q4_0 => 18,
            BlockFormat::Q4_1 => 20,
        }
    }

    /// The name in the text format: `q8_0`, …
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::Q8_0 => "q8_0",
            BlockFormat::Q4_0 => "q4_0",
            BlockFormat::Q4_1 => "q4_1",
        }
    }

    /// Dequantises one block of [`block_bytes`](Self::block_bytes) bytes into [`block_len`](Self::block_len) values.
    ///
    /// Both slices must have exactly those lengths; a shorter one panics.
    pub fn dequantize_block(self, block: &[u8], out: &mut [f32]) {
        let f16_at = |i: usize| half::f16::from_le_bytes([block[i], block[i + 1]]).to_f32();
        let d = f16_at(0);
        match self {
            BlockFormat::Q8_0 => {
                for (x, q) in out[..32].iter_mut().zip(&block[2..34]) {
                    *x = d * f32::from(*q as i8);
                }
            }
            BlockFormat::Q4_0 => {
                for (i, q) in block[2..18].iter().enumerate() {
                    out[i] = d * (f32::from(q & 15) - 8.0);
                    out[i + 16] = d * (f32::from(q >> 4) - 8.0);
                }
            }
            BlockFormat::Q4_1 => {
                let m = f16_at(2);
                for (i, q) in block[4..20].iter().enumerate() {
                    out[i] = d * f32::from(q & 15) + m;
                    out[i + 16] = d * f32::from(q >> 4) + m;
                }
            }
        }
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

    #[test]
    fn nibbles_unpack_low_half_first() {
        let mut block = [0u8; 20];
        block[..2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
        block[2..4].copy_from_slice(&half::f16::from_f32(-1.0).to_le_bytes());
        block[4] = 0x31;
        let mut out = [0.0; 32];
        BlockFormat::Q4_1.dequantize_block(&block, &mut out);
        assert_eq!((out[0], out[16], out[1]), (-0.5, 0.5, -1.0));
    }
}
