//! Block-quantised storage formats.

use serde::{Deserialize, Serialize};

/// A block-quantised storage format, laid out as GGUF lays it out: a row is a sequence of blocks, and a block holds its
/// scale (and minimum) as little-endian f16 beside its packed values.
///
/// The `K` formats have blocks of 256 values, in parts with scales `s`, and some with minima `m`, of their own
/// ([`part_scale`](Self::part_scale)): parts of 32 values, or parts of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockFormat {
    /// f16 scale `d`, then 32 i8 values: `x = d * q`.
    Q8_0,
    /// f16 scale `d`, then 16 bytes: value i is the low nibble of byte i, value i + 16 its high nibble; `x = d * (q - 8)`.
    Q4_0,
    /// f16 scale `d`, f16 minimum `m`, then nibbles as in `Q4_0`: `x = d * q + m`.
    Q4_1,
    /// f16 scale `d`, 4 bytes, of which bit i is bit 4 of value i, then nibbles as in `Q4_0`; `x = d * (q - 16)`.
    Q5_0,
    /// f16 scale `d`, f16 minimum `m`, then as in `Q5_0`: `x = d * q + m`.
    Q5_1,
    /// 16 bytes of 4-bit `s` (low) and `m` (high) for 16 values each, 64 bytes of pairs of bits, f16 scale `d`, f16 minimum `e`. Each half
    /// of the block has 32 bytes: value i of its 128 is pair i / 32 of byte i % 32; `x = (d * s) * q - e * m`.
    #[serde(rename = "q2_k")]
    Q2K,
    /// 32 bytes, of which bit p of byte i is bit 2 of value 32 p + i, 64 bytes of pairs as in `Q2K`, 12 bytes of 6-bit `s` for 16 values
    /// each, f16 scale `d`; `x = (d * (s - 32)) * (q - 4)`.
    #[serde(rename = "q3_k")]
    Q3K,
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
    pub const ALL: [BlockFormat; 10] = [
        BlockFormat::Q8_0,
        BlockFormat::Q4_0,
        BlockFormat::Q4_1,
        BlockFormat::Q5_0,
        BlockFormat::Q5_1,
        BlockFormat::Q2K,
        BlockFormat::Q3K,
        BlockFormat::Q4K,
        BlockFormat::Q5K,
        BlockFormat::Q6K,
    ];

    /// The most values that a block of any format has.
    pub const MAX_BLOCK_LEN: usize = 256;

    /// Values in one block.
    pub const fn block_len(self) -> usize {
        match self {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q4_1 | BlockFormat::Q5_0 | BlockFormat::Q5_1 => 32,
            BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K => 256,
        }
    }

    /// Values in one part of a block: those with the same scale and minimum.
    pub const fn part_len(self) -> usize {
        match self {
            BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q6K => 16,
            _ => 32,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            BlockFormat::Q8_0 => 34,
            BlockFormat::Q4_0 => 18,
            BlockFormat::Q4_1 => 20,
            BlockFormat::Q5_0 => 22,
            BlockFormat::Q5_1 => 24,
            BlockFormat::Q2K => 84,
            BlockFormat::Q3K => 110,
            BlockFormat::Q4K => 144,
            BlockFormat::Q5K => 176,
            BlockFormat::Q6K => 210,
        }
    }

    /// At which byte of a block its f16 scale lies.
    pub const fn scale_offset(self) -> usize {
        match self {
            BlockFormat::Q2K => 80,
            BlockFormat::Q3K => 108,
            BlockFormat::Q6K => 208,
            _ => 0,
        }
    }

    /// At which byte of a block its f16 minimum lies, if it has one.
    pub const fn minimum_offset(self) -> Option<usize> {
        match self {
            BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => Some(2),
            BlockFormat::Q2K => Some(82),
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q3K | BlockFormat::Q6K => None,
        }
    }

    /// At which byte of a block the scales of its parts begin, if they have any.
    pub const fn part_scales_offset(self) -> Option<usize> {
        match self {
            BlockFormat::Q2K => Some(0),
            BlockFormat::Q3K => Some(96),
            BlockFormat::Q4K | BlockFormat::Q5K => Some(4),
            BlockFormat::Q6K => Some(192),
            _ => None,
        }
    }

    /// At which byte of a block its values begin (their low bits, in the formats that split them).
    pub const fn values_offset(self) -> usize {
        match self {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 => 2,
            BlockFormat::Q4_1 => 4,
            BlockFormat::Q5_0 => 6,
            BlockFormat::Q5_1 => 8,
            BlockFormat::Q2K => 16,
            BlockFormat::Q3K => 32,
            BlockFormat::Q4K => 16,
            BlockFormat::Q5K => 48,
            BlockFormat::Q6K => 0,
        }
    }

    /// At which byte of a block the upper bits of its values begin, in the formats that split them.
    pub const fn upper_bits_offset(self) -> Option<usize> {
        match self {
            BlockFormat::Q5_0 => Some(2),
            BlockFormat::Q5_1 => Some(4),
            BlockFormat::Q3K => Some(0),
            BlockFormat::Q5K => Some(16),
            BlockFormat::Q6K => Some(128),
            _ => None,
        }
    }

    /// What a code stands for zero with: it is subtracted from each.
    pub const fn zero_code(self) -> u8 {
        match self {
            BlockFormat::Q3K => 4,
            BlockFormat::Q4_0 => 8,
            BlockFormat::Q5_0 => 16,
            BlockFormat::Q6K => 32,
            _ => 0,
        }
    }

    /// The name in the text format: `q8_0`, …
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::Q8_0 => "q8_0",
            BlockFormat::Q4_0 => "q4_0",
            BlockFormat::Q4_1 => "q4_1",
            BlockFormat::Q5_0 => "q5_0",
            BlockFormat::Q5_1 => "q5_1",
            BlockFormat::Q2K => "q2_k",
            BlockFormat::Q3K => "q3_k",
            BlockFormat::Q4K => "q4_k",
            BlockFormat::Q5K => "q5_k",
            BlockFormat::Q6K => "q6_k",
        }
    }

    /// The scale and the minimum of a part (1 and 1 where parts have none), from the bytes of its block.
    ///
    /// - `Q2K`: byte p has the scale of part p in its low nibble, the minimum in its high one.
    /// - `Q3K`: of the twelve bytes, the first eight have the low nibbles of the scales, those of parts 8 to 15 above those of parts 0 to 7; pair
    ///   p / 4 of byte 8 + p % 4 has the upper two bits; 32 is subtracted.
    /// - `Q4K` and `Q5K`: of the twelve bytes, scales and minima of the first four parts are the low six bits of bytes 0 to 3 and 4 to 7; the
    ///   last four have a low nibble (scale) and a high nibble (minimum) in bytes 8 to 11, and their upper two bits on top of the first four's.
    /// - `Q6K`: byte p, signed.
    pub fn part_scale(self, block: &[u8], part: usize) -> (i8, u8) {
        let Some(first) = self.part_scales_offset() else { return (1, 1) };
        let byte = |i: usize| block[first + i];
        match self {
            BlockFormat::Q2K => ((byte(part) & 15) as i8, byte(part) >> 4),
            BlockFormat::Q3K => {
                let low = byte(part % 8) >> (part / 8 * 4) & 15;
                let high = byte(8 + part % 4) >> (part / 4 * 2) & 3;
                ((low | high << 4) as i8 - 32, 1)
            }
            BlockFormat::Q6K => (byte(part) as i8, 1),
            _ if part < 4 => ((byte(part) & 63) as i8, byte(part + 4) & 63),
            _ => {
                let (scale, minimum) = (byte(part + 4) & 15, byte(part + 4) >> 4);
                ((scale | byte(part - 4) >> 6 << 4) as i8, minimum | byte(part) >> 6 << 4)
            }
        }
    }

    /// The code of value `i` of a block.
    fn code(self, block: &[u8], i: usize) -> u8 {
        let low = &block[self.values_offset()..];
        let high = &block[self.upper_bits_offset().unwrap_or(0)..];
        // Nibbles are `stretch` values, low ones first, high ones after them.
        let nibble = |stretch: usize| low[i / (2 * stretch) * stretch + i % stretch] >> (i / stretch % 2 * 4) & 15;
        let pair = || low[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        match self {
            BlockFormat::Q8_0 => low[i],
            BlockFormat::Q4_0 | BlockFormat::Q4_1 => nibble(16),
            BlockFormat::Q5_0 | BlockFormat::Q5_1 => nibble(16) | (high[i / 8] >> (i % 8) & 1) << 4,
            BlockFormat::Q2K => pair(),
            BlockFormat::Q3K => pair() | (high[i % 32] >> (i / 32) & 1) << 2,
            BlockFormat::Q4K => nibble(32),
            BlockFormat::Q5K => nibble(32) | (high[i % 32] >> (i / 32) & 1) << 4,
            BlockFormat::Q6K => nibble(64) | (high[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) << 4,
        }
    }

    /// Dequantises one block of [`block_bytes`](Self::block_bytes) bytes into [`block_len`](Self::block_len) values.
    ///
    /// Both slices must have exactly those lengths; a shorter one panics.
    pub fn dequantize_block(self, block: &[u8], out: &mut [f32]) {
        let f16_at = |i: usize| half::f16::from_le_bytes([block[i], block[i + 1]]).to_f32();
        let d = f16_at(self.scale_offset());
        let minimum = self.minimum_offset().map(f16_at);
        for (part, out) in out[..self.block_len()].chunks_exact_mut(self.part_len()).enumerate() {
            let (s, m) = self.part_scale(block, part);
            let scale = d * f32::from(s);
            for (i, x) in out.iter_mut().enumerate() {
                let code = self.code(block, part * self.part_len() + i);
                let q = match self {
                    BlockFormat::Q8_0 => f32::from(code as i8),
                    _ => f32::from(code) - f32::from(self.zero_code()),
                };
                // Minima of parts are subtracted, that of a whole block is added.
                *x = match (minimum, self.part_scales_offset()) {
                    (None, _) => scale * q,
                    (Some(minimum), None) => scale * q + minimum,
                    (Some(minimum), Some(_)) => scale * q - minimum * f32::from(m),
                };
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
        let mut block = [0u8; 144];
        // Part 1: scale 5, minimum 9. Part 5: scale 0b10_0011, minimum 0b01_1100.
        (block[5], block[9], block[13]) = (5 | 0b10 << 6, 9 | 0b01 << 6, 0b1100_0011);
        assert_eq!(BlockFormat::Q4K.part_scale(&block, 1), (5, 9));
        assert_eq!(BlockFormat::Q4K.part_scale(&block, 5), (0b10_0011, 0b01_1100));
        let mut block = [0u8; 110];
        // Part 14: low nibble 0b1010 above part 6's 0b0101, upper bits 0b11 in pair 3 of byte 10.
        (block[96 + 6], block[96 + 10]) = (0b1010_0101, 0b1100_0000);
        assert_eq!(BlockFormat::Q3K.part_scale(&block, 14).0, 0b11_1010 - 32);
        assert_eq!(BlockFormat::Q3K.part_scale(&block, 6).0, 0b0101 - 32);
        assert_eq!(BlockFormat::Q8_0.part_scale(&block, 0), (1, 1));
    }

    #[test]
    fn serialised_names_are_those_of_the_text() {
        for format in BlockFormat::ALL {
            assert!(format.block_len() <= BlockFormat::MAX_BLOCK_LEN);
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
    }
}
