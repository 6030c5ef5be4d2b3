//! Conversions between f16 and f32 by integer arithmetic, for targets without instructions for them: the bits are those of
//! [`DType::write`](kiln_core::DType::write) and `read`.

use super::builder::{Builder, Ty, Val};
use kiln_core::CompareOp;

impl Builder<'_> {
    /// An f16 as f32.
    pub(super) fn widen_f16(&self, half: Val) -> Val {
        let b = self;
        let u = |v: i64| b.int(Ty::U32, v);
        let bits = b.cast(b.bitcast(half, Ty::U16), Ty::U32);
        let sign = b.shl(b.and(bits, u(0x8000)), u(16));
        let magnitude = b.shl(b.and(bits, u(0x7fff)), u(13));
        // The exponents' biases differ by 112. The product is exact, for subnormal numbers too.
        let scaled = b.mul(b.bitcast(magnitude, Ty::F32), b.f32(2f32.powi(112)));
        // Infinity and NaN keep their mantissa.
        let special = b.or(magnitude, u(0x7f80_0000));
        let is_special = b.compare(CompareOp::Ge, magnitude, u(0x7c00 << 13));
        let value = b.select(is_special, special, b.bitcast(scaled, Ty::U32));
        b.bitcast(b.or(value, sign), Ty::F32)
    }

    /// An f32 rounded to the nearest f16, ties to even.
    pub(super) fn round_to_f16(&self, value: Val) -> Val {
        let b = self;
        let u = |v: i64| b.int(Ty::U32, v);
        let bits = b.bitcast(value, Ty::U32);
        let sign = b.and(b.shr(bits, u(16)), u(0x8000));
        let magnitude = b.and(bits, u(0x7fff_ffff));
        // Normal numbers: another bias, and thirteen bits less, to even. What is too large becomes infinity by its carry.
        let odd = b.and(b.shr(magnitude, u(13)), u(1));
        let normal = b.shr(b.add(b.sub(magnitude, u(112 << 23)), b.add(odd, u(0xfff))), u(13));
        // Subnormal ones: added to 1/2, a number has the place of its last bit where a subnormal f16 has its own.
        let shifted = b.add(b.bitcast(magnitude, Ty::F32), b.f32(0.5));
        let subnormal = b.sub(b.bitcast(shifted, Ty::U32), u(i64::from(0.5f32.to_bits())));
        let finite = b.select(b.compare(CompareOp::Lt, magnitude, u(113 << 23)), subnormal, normal);
        let large = b.compare(CompareOp::Ge, magnitude, u(143 << 23));
        let is_nan = b.compare(CompareOp::Gt, magnitude, u(0x7f80_0000));
        let special = b.select(is_nan, u(0x7e00), u(0x7c00));
        let half = b.or(b.select(large, special, finite), sign);
        b.bitcast(b.cast(half, Ty::U16), Ty::F16)
    }
}
