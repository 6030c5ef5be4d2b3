//! What the bits of an element mean, and which bits a number has: the one place that knows 16-bit floats.

use crate::{DType, Storage};
use half::{bf16, f16};

impl DType {
    /// The number of these bits, an element's little-endian bytes with zeros above. An i64 beyond 2^53 loses its last bits.
    pub fn value(self, bits: u64) -> f64 {
        match self {
            DType::F64 => f64::from_bits(bits),
            DType::F32 => f32::from_bits(bits as u32).into(),
            DType::F16 => f16::from_bits(bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
            DType::I64 => bits as i64 as f64,
            DType::I32 => (bits as i32).into(),
            DType::I8 => (bits as i8).into(),
            DType::U8 => (bits as u8).into(),
            DType::Bool => f64::from(u8::from(bits as u8 != 0)),
        }
    }

    /// The bits of a number as an element. To a float it is rounded once, to the nearest and of two the even one; to an integer it
    /// is truncated, what is too large becomes the largest, and NaN becomes 0. A bool is whether it is not 0.
    pub fn bits(self, value: f64) -> u64 {
        match self {
            DType::F64 => value.to_bits(),
            DType::F32 => (value as f32).to_bits().into(),
            // `half` goes from f64 by way of f32, or without the last bits; either rounds twice.
            DType::F16 => f16::from_f32(f32_to_round_again(value)).to_bits().into(),
            DType::BF16 => bf16::from_f32(f32_to_round_again(value)).to_bits().into(),
            DType::I64 => value as i64 as u64,
            DType::I32 => (value as i32 as u32).into(),
            DType::I8 => (value as i8 as u8).into(),
            DType::U8 => (value as u8).into(),
            DType::Bool => (value != 0.0).into(),
        }
    }

    /// The number in an element's little-endian bytes: the first [`size`](Self::size) of them, which must be there.
    pub fn read(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        word[..self.size()].copy_from_slice(&bytes[..self.size()]);
        self.value(u64::from_le_bytes(word))
    }

    /// Appends a number's bytes as an element, little-endian, rounded as by [`bits`](Self::bits).
    pub fn write(self, value: f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bits(value).to_le_bytes()[..self.size()]);
    }

    /// Whether this is a float of 16 bits. Such values are stored, not computed with: see [`computed_in`](Self::computed_in).
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// The type that values of this one are computed and summed in: f32 for floats of 16 bits, which then are rounded once.
    pub const fn computed_in(self) -> Self {
        if self.is_half() { DType::F32 } else { self }
    }
}

impl Storage {
    /// All whole elements of these bytes as f32: floats and integers rounded once, blocks dequantised, bools 0 and 1.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
        }
        match self {
            Storage::Dense(DType::F32) => each(bytes, f32::from_le_bytes),
            Storage::Dense(DType::F16) => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Storage::Dense(DType::BF16) => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            // Through f64 it would be rounded twice.
            Storage::Dense(DType::I64) => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Storage::Dense(dtype) => bytes.chunks_exact(dtype.size()).map(|b| dtype.read(b) as f32).collect(),
            Storage::Block(format) => {
                let (length, size) = (format.block_len(), format.block_bytes());
                let mut out = vec![0.0; bytes.len() / size * length];
                for (block, values) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(length)) {
                    format.dequantize_block(block, values);
                }
                out
            }
        }
    }
}

/// `v` if it is an f32, else of its two neighbours the one with an odd mantissa. Rounding that to a type with at least two bits
/// less gives the same as rounding `v` itself, which two roundings to nearest would not.
fn f32_to_round_again(v: f64) -> f32 {
    let near = v as f32;
    let back = f64::from(near);
    if back == v || v.is_nan() {
        return near;
    }
    let towards_zero = if back.abs() > v.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(towards_zero | 1)
}

/// An integer as f64 for a later rounding to at most 40 bits: exact up to 2^53, beyond that with a last bit that tells what was lost.
pub fn int_to_round_again(v: i64) -> f64 {
    const LOST: u64 = 0x7ff;
    let magnitude = v.unsigned_abs();
    if magnitude >> 53 == 0 {
        return v as f64;
    }
    let kept = (magnitude & !LOST) | if magnitude & LOST == 0 { 0 } else { LOST + 1 };
    if v < 0 { -(kept as f64) } else { kept as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockFormat;

    fn rounded(dtype: DType, v: f64) -> f64 {
        dtype.value(dtype.bits(v))
    }

    #[test]
    fn rounding_happens_once() {
        // Just above the middle of 1 and the next f16: through f32 it would become the middle, and then 1.
        let v = 1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -40);
        assert_eq!(rounded(DType::F16, v), 1.0 + f64::powi(2.0, -10));
        assert_eq!(rounded(DType::F16, 1.0 + f64::powi(2.0, -11)), 1.0);
        let v = 1.0 + f64::powi(2.0, -8) + f64::powi(2.0, -40);
        assert_eq!(rounded(DType::BF16, v), 1.0 + f64::powi(2.0, -7));
        assert_eq!(rounded(DType::F16, 65519.999), 65504.0);
        assert_eq!(rounded(DType::F16, 65520.0), f64::INFINITY);
        assert_eq!(rounded(DType::BF16, -1e300), f64::NEG_INFINITY);
        assert_eq!(DType::F16.bits(-1e-300), 0x8000);
        assert!(rounded(DType::F16, f64::NAN).is_nan());
    }

    #[test]
    fn large_integers_round_once() {
        let middle = (1i64 << 62) + (1 << 38);
        assert_eq!(int_to_round_again(middle) as f32, (1i64 << 62) as f32);
        assert_eq!(int_to_round_again(middle + 1) as f32, (middle + 1) as f32);
        assert_eq!(int_to_round_again(-middle - 1) as f32, (-middle - 1) as f32);
        assert_eq!(int_to_round_again(i64::MIN), i64::MIN as f64);
    }

    #[test]
    fn every_16_bit_float_has_its_bits_back() {
        for dtype in [DType::F16, DType::BF16] {
            for bits in 0..=u64::from(u16::MAX) {
                let value = dtype.value(bits);
                assert!(value.is_nan() || dtype.bits(value) == bits, "{dtype} {bits:#x}");
            }
        }
    }

    #[test]
    fn integers_truncate_and_stay_within_their_type() {
        let cases = [
            (DType::I8, -1.9, -1.0),
            (DType::I8, 1e9, 127.0),
            (DType::U8, -3.0, 0.0),
            (DType::I32, -1e10, -2147483648.0),
        ];
        for (dtype, value, want) in cases {
            assert_eq!(rounded(dtype, value), want, "{dtype} {value}");
            assert_eq!(dtype.bits(value) >> (8 * dtype.size()), 0, "nothing above the element's bits");
        }
        assert_eq!(DType::I32.bits(f64::NAN), 0);
        assert_eq!((DType::Bool.bits(0.5), DType::Bool.value(2)), (1, 1.0));
    }

    #[test]
    fn elements_are_read_as_they_were_written() {
        for dtype in DType::ALL {
            let mut bytes = vec![];
            [0.0, 1.0, 3.0].into_iter().for_each(|v| dtype.write(v, &mut bytes));
            let three = if dtype == DType::Bool { 1.0 } else { 3.0 };
            assert_eq!(Storage::Dense(dtype).to_f32(&bytes), [0.0, 1.0, three], "{dtype}");
            assert_eq!(dtype.read(&bytes[2 * dtype.size()..]), f64::from(three), "{dtype}");
        }
        let large = (1i64 << 62) + (1 << 38) + 1;
        assert_eq!(Storage::Dense(DType::I64).to_f32(&large.to_le_bytes()), [large as f32], "rounded once");
        let mut block = vec![0; 34];
        block[..2].copy_from_slice(&(DType::F16.bits(0.5) as u16).to_le_bytes());
        block[2] = 3;
        assert_eq!(Storage::Block(BlockFormat::Q8_0).to_f32(&block)[..2], [1.5, 0.0]);
    }
}
