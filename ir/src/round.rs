//! Rounding of exact numbers to the element types: to nearest, ties to even, once.

use half::{bf16, f16};

/// The nearest `f16`.
pub(crate) fn to_f16(v: f64) -> f16 {
    f16::from_f32(to_f32_odd(v))
}

/// The nearest `bf16`.
pub(crate) fn to_bf16(v: f64) -> bf16 {
    bf16::from_f32(to_f32_odd(v))
}

/// `v` if it is an f32, else of its two neighbours the one with an odd mantissa. Rounding that to a type with at least two bits
/// less gives the same as rounding `v` itself, which two roundings to nearest would not.
fn to_f32_odd(v: f64) -> f32 {
    let near = v as f32;
    let back = f64::from(near);
    if back == v || v.is_nan() {
        return near;
    }
    let towards_zero = if back.abs() > v.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(towards_zero | 1)
}

/// `v` as f64 for a later rounding to at most 40 bits: exact up to 2^53, beyond that with a sticky last bit.
pub(crate) fn int_to_f64_odd(v: i64) -> f64 {
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

    #[test]
    fn rounding_happens_once() {
        // Just above the middle of 1 and the next f16: through f32 it would become the middle, and then 1.
        let v = 1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -40);
        assert_eq!(to_f16(v).to_f64(), 1.0 + f64::powi(2.0, -10));
        assert_eq!(to_f16(1.0 + f64::powi(2.0, -11)).to_f64(), 1.0);
        let v = 1.0 + f64::powi(2.0, -8) + f64::powi(2.0, -40);
        assert_eq!(to_bf16(v).to_f64(), 1.0 + f64::powi(2.0, -7));
        assert_eq!(to_f16(65519.999).to_f64(), 65504.0);
        assert_eq!(to_f16(65520.0).to_f64(), f64::INFINITY);
        assert_eq!(to_bf16(-1e300).to_f64(), f64::NEG_INFINITY);
        assert_eq!(to_f16(-1e-300).to_bits(), 0x8000);
        assert!(to_f16(f64::NAN).is_nan());
    }

    #[test]
    fn large_integers_round_once() {
        let middle = (1i64 << 62) + (1 << 38);
        assert_eq!(int_to_f64_odd(middle) as f32, (1i64 << 62) as f32);
        assert_eq!(int_to_f64_odd(middle + 1) as f32, (middle + 1) as f32);
        assert_eq!(int_to_f64_odd(-middle - 1) as f32, (-middle - 1) as f32);
        assert_eq!(int_to_f64_odd(i64::MIN), i64::MIN as f64);
    }
}
