//! Block-quantised storage formats.

use serde::{Deserialize, Serialize};

/// A block-quantised storage format, laid out as GGUF lays it out: a row is a sequence of blocks, and a block holds its
/// scale (and minimum) as little-endian f16 beside its packed values.
///
/// The `K` formats have blocks of 256 values, in parts with scales of their own: parts of 32 values with a 6-bit scale `s` and a
/// 6-bit minimum `m` each ([`scale_and_minimum`](Self::scale_and_minimum)), or parts of 16 with an 8-bit scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockFormat {
    /// f16 scale `d`, then 32 i8 values: `x = d * q`.
    Q8_0,
    /// f16 scale `d`, then 16 bytes: value i is the low nibble of byte i, value i + 16 its high nibble; `x = d * (q - 8)`.
    Q4_0,
    /// f16 scale `d`, f16 minimum `m`, then nibbles as in `Q4_0`: `x = d * q + m`.
    Q4_1,
    /// f16 scale `d`, f16 minimum `e`, 12 bytes of 6-bit `s` and `m`, then 128 bytes, 32 for two parts: value i of the first is
    /// the low nibble of byte i, of the second the high one; `x = (d * s) * q - e * m`.
    #[serde(rename = "q4_k")]
    Q4K,
    /// As `Q4K` with 32 bytes before the nibbles: bit p of byte i is bit 4 of value i of part p.
    #[serde(rename = "q5_k")]
    Q5K,
    /// 128 bytes of nibbles, 64 bytes of pairs of bits, 16 i8 scales `s` for 16 values each, f16 scale `d`. Each half of the block
    /// has 64 bytes of nibbles and 32 of pairs: value i of its 128 is bits 0 to 3 in the nibbles (the low ones of all bytes, then
    /// the high ones) and bits 4 and 5 in pair i / 32 of byte i % 32; `x = (d * s) * (q - 32)`.
    #[serde(rename = "q6_k")]
    Q6K,
}

impl BlockFormat {
    /// Every block format.
    pub const ALL: [BlockFormat; 6] =
        [BlockFormat::Q8_0, BlockFormat::Q4_0, BlockFormat::Q4_1, BlockFormat::Q4K, BlockFormat::Q5K, BlockFormat::Q6K];

    /// The most values that a block of any format has.
    pub const MAX_BLOCK_LEN: usize = 256;

    /// Values in one block.
    pub const fn block_len(self) -> usize {
        match self {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q4_1 => 32,
            BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K => 256,
        }
    }

    /// Values in one part of a block: those with the same scale and minimum.
    pub const fn part_len(self) -> usize {
        match self {
            BlockFormat::Q6K => 16,
            _ => 32,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            BlockFormat::Q8_0 => 34,
            BlockFormat::Q4_0 => 18,
            BlockFormat::Q4_1 => 20,
            BlockFormat::Q4K => 144,
            BlockFormat::Q5K => 176,
            BlockFormat::Q6K => 210,
        }
    }

    /// At which byte of a block its f16 scale lies.
    pub const fn scale_offset(self) -> usize {
        match self {
            BlockFormat::Q6K => 208,
            _ => 0,
        }
    }

    /// At which byte of a block its f16 minimum lies, if it has one.
    pub const fn minimum_offset(self) -> Option<usize> {
        match self {
            BlockFormat::Q4_1 | BlockFormat::Q4K | BlockFormat::Q5K => Some(2),
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q6K => None,
        }
    }

    /// At which byte of a block its values begin (their low bits, in the formats that split them).
    pub const fn values_offset(self) -> usize {
        match self {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 => 2,
            BlockFormat::Q4_1 => 4,
            BlockFormat::Q4K => 16,
            BlockFormat::Q5K => 48,
            BlockFormat::Q6K => 0,
        }
    }

    /// The name in the text format: `q8_0`, …
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::Q8_0 => "q8_0",
            BlockFormat::Q4_0 => "q4_0",
            BlockFormat::Q4_1 => "q4_1",
            BlockFormat::Q4K => "q4_k",
            BlockFormat::Q5K => "q5_k",
            BlockFormat::Q6K => "q6_k",
        }
    }

    /// The 6-bit scale and minimum of one of the eight parts of a `Q4K` or `Q5K` block, from their twelve bytes: those of the first
    /// four parts are the low bits of bytes 0 to 3 and 4 to 7; the last four have a low nibble (scale) and a high nibble (minimum)
    /// in bytes 8 to 11, and their upper two bits on top of the first four's.
    pub fn scale_and_minimum(bytes: &[u8; 12], part: usize) -> (u8, u8) {
        match part {
            0..4 => (bytes[part] & 63, bytes[part + 4] & 63),
            _ => (bytes[part + 4] & 15 | bytes[part - 4] >> 6 << 4, bytes[part + 4] >> 4 | bytes[part] >> 6 << 4),
        }
    }

    /// Dequantises one block of [`block_bytes`](Self::block_bytes) bytes into [`block_len`](Self::block_len) values.
    ///
    /// Both slices must have exactly those lengths; a shorter one panics.
    pub fn dequantize_block(self, block: &[u8], out: &mut [f32]) {
        let f16_at = |i: usize| half::f16::from_le_bytes([block[i], block[i + 1]]).to_f32();
        let d = f16_at(self.scale_offset());
        let minimum = self.minimum_offset().map_or(0.0, f16_at);
        let values = &block[self.values_offset()..];
        match self {
            BlockFormat::Q8_0 => {
                for (x, q) in out[..32].iter_mut().zip(&values[..32]) {
                    *x = d * f32::from(*q as i8);
                }
            }
            BlockFormat::Q4_0 => {
                for (i, q) in values[..16].iter().enumerate() {
                    out[i] = d * (f32::from(q & 15) - 8.0);
                    out[i + 16] = d * (f32::from(q >> 4) - 8.0);
                }
            }
            BlockFormat::Q4_1 => {
                for (i, q) in values[..16].iter().enumerate() {
                    out[i] = d * f32::from(q & 15) + minimum;
                    out[i + 16] = d * f32::from(q >> 4) + minimum;
                }
            }
            BlockFormat::Q4K | BlockFormat::Q5K => {
                let mut parts = [0; 12];
                parts.copy_from_slice(&block[4..16]);
                for (part, out) in out[..256].chunks_exact_mut(32).enumerate() {
                    let (s, m) = Self::scale_and_minimum(&parts, part);
                    let (scale, minimum) = (d * f32::from(s), minimum * f32::from(m));
                    for (i, x) in out.iter_mut().enumerate() {
                        let low = values[part / 2 * 32 + i] >> (part % 2 * 4) & 15;
                        let high = if self == BlockFormat::Q5K { block[16 + i] >> part & 1 } else { 0 };
                        *x = scale * f32::from(low | high << 4) - minimum;
                    }
                }
            }
            BlockFormat::Q6K => {
                for (i, x) in out[..256].iter_mut().enumerate() {
                    let (half, within) = (i / 128, i % 128);
                    let low = values[half * 64 + within % 64] >> (within / 64 * 4) & 15;
                    let high = block[128 + half * 32 + within % 32] >> (within / 32 * 2) & 3;
                    let scale = d * f32::from(block[192 + i / 16] as i8);
                    *x = scale * (f32::from(low | high << 4) - 32.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BlockFormat;

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

    #[test]
    fn parts_of_a_block_have_their_own_scales() {
        let mut bytes = [0u8; 12];
        // Part 1: scale 5, minimum 9. Part 5: scale 0b10_0011, minimum 0b01_1100.
        (bytes[1], bytes[5], bytes[9]) = (5 | 0b10 << 6, 9 | 0b01 << 6, 0b1100_0011);
        assert_eq!(BlockFormat::scale_and_minimum(&bytes, 1), (5, 9));
        assert_eq!(BlockFormat::scale_and_minimum(&bytes, 5), (0b10_0011, 0b01_1100));
    }

    #[test]
    fn serialised_names_are_those_of_the_text() {
        for format in BlockFormat::ALL {
            assert!(format.block_len() <= BlockFormat::MAX_BLOCK_LEN);
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }
}
