//! Elementary functions as polynomials over [`Builder`]: the same operations in the same order for one lane and for eight,
//! so that a vector loop and its scalar tail agree to the last bit, and no kernel ever calls libm.
//!
//! f32 coefficients are Cephes' (relative error below 3e-7), f64 ones fdlibm's or Taylor series (below 1e-13).

use super::builder::{Builder, Ty, Val};
use kiln_core::CompareOp;
use std::f64::consts;

/// `1.5 * 2^23`: adding it to a small f32 leaves the nearest integer in the low bits.
const MAGIC_F32: f64 = 12582912.0;
/// `1.5 * 2^52`, likewise for f64.
const MAGIC_F64: f64 = 6755399441055744.0;

/// Coefficients from the highest power down.
fn horner(b: &Builder<'_>, x: Val, coefficients: &[f64]) -> Val {
    let mut sum = b.float(x.ty, coefficients[0]);
    for c in &coefficients[1..] {
        sum = b.fma(sum, x, b.float(x.ty, *c));
    }
    sum
}

/// The nearest integer to `x`, as a float and as the signed integer of the same width modulo its range.
fn nearest(b: &Builder<'_>, x: Val) -> (Val, Val) {
    let (magic, bits) = match x.ty {
        Ty::F64 => (MAGIC_F64, Ty::U64),
        _ => (MAGIC_F32, Ty::U32),
    };
    let magic = b.float(x.ty, magic);
    let shifted = b.add(x, magic);
    let integer = b.sub(b.bitcast(shifted, bits), b.bitcast(magic, bits));
    (b.sub(shifted, magic), integer)
}

/// `select(x > hi, hi, select(x < lo, lo, x))`, which keeps a NaN.
fn clamp(b: &Builder<'_>, x: Val, lo: f64, hi: f64) -> Val {
    let (lo, hi) = (b.float(x.ty, lo), b.float(x.ty, hi));
    let x = b.select(b.gt(x, hi), hi, x);
    b.select(b.lt(x, lo), lo, x)
}

/// `x * 2^n` for `n` (unsigned bits of a signed number) between about -1.2 and 1.2 times the exponent range: in two steps, so that
/// results may be subnormal or infinite.
fn scale(b: &Builder<'_>, x: Val, n: Val) -> Val {
    let (mantissa, bias) = if x.ty == Ty::F64 { (52, 1023) } else { (23, 127) };
    let half = b.sub(b.shr(b.add(n, b.int(n.ty, 8 * bias + 8)), b.int(n.ty, 1)), b.int(n.ty, 4 * bias + 4));
    let power = |n: Val| b.bitcast(b.shl(b.add(n, b.int(n.ty, bias)), b.int(n.ty, mantissa)), x.ty);
    b.mul(b.mul(x, power(half)), power(b.sub(n, half)))
}

/// `e^x`
pub fn exp(b: &Builder<'_>, x: Val) -> Val {
    if x.ty == Ty::F64 {
        let x = clamp(b, x, -750.0, 715.0);
        let (nf, n) = nearest(b, b.mul(x, b.float(Ty::F64, consts::LOG2_E)));
        let r = b.fma(nf, b.float(Ty::F64, -6.931_471_803_691_238e-1), x);
        let r = b.fma(nf, b.float(Ty::F64, -1.908_214_929_270_587_7e-10), r);
        let mut factorial = 1.0;
        let mut taylor = vec![1.0];
        for k in 1..=13 {
            factorial *= f64::from(k);
            taylor.push(1.0 / factorial);
        }
        taylor.reverse();
        return scale(b, horner(b, r, &taylor), n);
    }
    let x = clamp(b, x, -105.0, 90.0);
    let (nf, n) = nearest(b, b.mul(x, b.f32(consts::LOG2_E as f32)));
    let r = b.fma(nf, b.f32(-0.693_359_4), x);
    let r = b.fma(nf, b.f32(2.121_944_4e-4), r);
    let p = horner(
        b,
        r,
        &[
            1.987_569_15e-4,
            1.398_199_950_7e-3,
            8.333_451_907_3e-3,
            4.166_579_589_4e-2,
            1.666_666_545_9e-1,
            5.000_000_120_1e-1,
        ],
    );
    let p = b.add(b.fma(p, b.mul(r, r), r), b.f32(1.0));
    scale(b, p, n)
}

/// `e^x` of an f32 that is not positive and not NaN, zero where the result would be subnormal: for softmax.
pub fn exp_nonpositive(b: &Builder<'_>, x: Val) -> Val {
    let x = b.max_number(x, b.f32(-87.0));
    let (nf, n) = nearest(b, b.mul(x, b.f32(consts::LOG2_E as f32)));
    let r = b.fma(nf, b.f32(-0.693_359_4), x);
    let r = b.fma(nf, b.f32(2.121_944_4e-4), r);
    let p = horner(
        b,
        r,
        &[
            1.987_569_15e-4,
            1.398_199_950_7e-3,
            8.333_451_907_3e-3,
            4.166_579_589_4e-2,
            1.666_666_545_9e-1,
            5.000_000_120_1e-1,
        ],
    );
    let p = b.add(b.fma(p, b.mul(r, r), r), b.f32(1.0));
    let bits = b.add(b.bitcast(p, Ty::U32), b.shl(n, b.int(Ty::U32, 23)));
    b.select(b.gt(x, b.f32(-87.0)), b.bitcast(bits, Ty::F32), b.f32(0.0))
}

/// Natural logarithm.
pub fn log(b: &Builder<'_>, x: Val) -> Val {
    let f = |v: f64| b.float(x.ty, v);
    let result = if x.ty == Ty::F64 { log_f64(b, x) } else { log_f32(b, x) };
    let result = b.select(b.eq(x, f(f64::INFINITY)), x, result);
    let result = b.select(b.eq(x, f(0.0)), f(f64::NEG_INFINITY), result);
    // Negative and NaN.
    b.select(b.compare(CompareOp::Ge, x, f(0.0)), result, f(f64::NAN))
}

fn log_f32(b: &Builder<'_>, x: Val) -> Val {
    let small = b.lt(x, b.f32(f32::MIN_POSITIVE));
    let bits = b.bitcast(b.select(small, b.mul(x, b.f32(8388608.0)), x), Ty::U32);
    let u = |v: i64| b.int(Ty::U32, v);
    let e = b.shr(bits, u(23));
    let e = b.cast(b.bitcast(e, Ty::I32), Ty::F32);
    let e = b.sub(e, b.select(small, b.f32(149.0), b.f32(126.0)));
    let m = b.bitcast(b.or(b.and(bits, u(0x7f_ffff)), u(0x3f00_0000)), Ty::F32);
    let low = b.lt(m, b.f32(std::f32::consts::FRAC_1_SQRT_2));
    let e = b.select(low, b.sub(e, b.f32(1.0)), e);
    let m = b.sub(b.select(low, b.add(m, m), m), b.f32(1.0));
    let z = b.mul(m, m);
    let p = horner(
        b,
        m,
        &[
            7.037_683_629_2e-2,
            -1.151_461_031e-1,
            1.167_699_874e-1,
            -1.242_014_084_6e-1,
            1.424_932_278_7e-1,
            -1.666_805_766_5e-1,
            2.000_071_476_5e-1,
            -2.499_999_399_3e-1,
            3.333_333_117_4e-1,
        ],
    );
    let y = b.mul(b.mul(p, m), z);
    let y = b.fma(e, b.f32(-2.121_944_4e-4), y);
    let y = b.fma(z, b.f32(-0.5), y);
    b.fma(e, b.f32(0.693_359_4), b.add(m, y))
}

fn log_f64(b: &Builder<'_>, x: Val) -> Val {
    let f = |v: f64| b.float(Ty::F64, v);
    let u = |v: i64| b.int(Ty::U64, v);
    let small = b.lt(x, f(f64::MIN_POSITIVE));
    let bits = b.bitcast(b.select(small, b.mul(x, f(18014398509481984.0)), x), Ty::U64);
    // The exponent as the low mantissa bits of 2^52 + e.
    let e = b.bitcast(b.or(b.shr(bits, u(52)), u(0x4330_0000_0000_0000)), Ty::F64);
    let e = b.sub(e, b.select(small, f(4503599627370496.0 + 1077.0), f(4503599627370496.0 + 1023.0)));
    let m = b.bitcast(b.or(b.and(bits, u(0xf_ffff_ffff_ffff)), u(0x3ff0_0000_0000_0000)), Ty::F64);
    let high = b.gt(m, f(consts::SQRT_2));
    let e = b.select(high, b.add(e, f(1.0)), e);
    let m = b.select(high, b.mul(m, f(0.5)), m);
    // log m = 2 artanh((m - 1) / (m + 1))
    let s = b.div(b.sub(m, f(1.0)), b.add(m, f(1.0)));
    let z = b.mul(s, s);
    let series: Vec<f64> = (1..=11).rev().map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let tail = b.mul(b.mul(horner(b, z, &series), z), s);
    let low = b.fma(e, f(1.908_214_929_270_587_7e-10), tail);
    b.fma(e, f(6.931_471_803_691_238e-1), b.fma(s, f(2.0), low))
}

/// Hyperbolic tangent.
pub fn tanh(b: &Builder<'_>, x: Val) -> Val {
    let f = |v: f64| b.float(x.ty, v);
    let a = b.abs(x);
    let z = b.mul(x, x);
    let (limit, small) = if x.ty == Ty::F64 {
        // Lambert's continued fraction.
        let mut denominator = f(13.0);
        for k in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            denominator = b.add(f(k), b.div(z, denominator));
        }
        (0.25, b.div(x, denominator))
    } else {
        let p = horner(
            b,
            z,
            &[
                -5.704_988_727_45e-3,
                2.063_908_879_54e-2,
                -5.373_971_555_31e-2,
                1.333_144_220_36e-1,
                -3.333_328_194_22e-1,
            ],
        );
        (0.625, b.fma(b.mul(p, z), x, x))
    };
    let clamped = b.select(b.gt(a, f(25.0)), f(25.0), a);
    let e = exp(b, b.add(clamped, clamped));
    let large = b.sub(f(1.0), b.div(f(2.0), b.add(e, f(1.0))));
    let large = b.select(b.lt(x, f(0.0)), b.neg(large), large);
    b.select(b.lt(a, f(limit)), small, large)
}

/// Sine of `x` plus `quarter` quarter turns.
fn sine(b: &Builder<'_>, x: Val, quarter: i64) -> Val {
    let wide = b.cast(x, Ty::F64);
    let f = |v: f64| b.float(Ty::F64, v);
    let (nf, n) = nearest(b, b.mul(wide, f(consts::FRAC_2_PI)));
    let r = b.fma(nf, f(-1.570_796_326_734_125_6), wide);
    let r = b.fma(nf, f(-6.077_100_506_303_966e-11), r);
    let r = b.fma(nf, f(-2.022_266_248_795_950_6e-21), r);
    let r = clamp(b, r, -1.0, 1.0);
    let n = b.add(n, b.int(Ty::U64, quarter));
    let bit = |mask: i64| b.compare(CompareOp::Ne, b.and(n, b.int(Ty::U64, mask)), b.int(Ty::U64, 0));
    let (sin, cos) = if x.ty == Ty::F64 {
        let z = b.mul(r, r);
        let s = horner(
            b,
            z,
            &[
                1.589_690_995_211_55e-10,
                -2.505_076_025_340_686_4e-8,
                2.755_731_370_707_006_8e-6,
                -1.984_126_982_985_795e-4,
                8.333_333_333_322_49e-3,
                -1.666_666_666_666_663_2e-1,
            ],
        );
        let c = horner(
            b,
            z,
            &[
                -1.135_964_755_778_819_5e-11,
                2.087_572_321_298_175e-9,
                -2.755_731_435_139_066_3e-7,
                2.480_158_728_947_673e-5,
                -1.388_888_888_887_411e-3,
                4.166_666_666_666_66e-2,
            ],
        );
        let cos = b.fma(b.mul(z, z), c, b.fma(z, f(-0.5), f(1.0)));
        (b.fma(b.mul(s, z), r, r), cos)
    } else {
        let r = b.cast(r, Ty::F32);
        let z = b.mul(r, r);
        let s = horner(b, z, &[-1.951_529_589_1e-4, 8.332_160_873_6e-3, -1.666_665_461_1e-1]);
        let c = horner(b, z, &[2.443_315_711_809_948e-5, -1.388_731_625_493_765e-3, 4.166_664_568_298_827e-2]);
        let cos = b.fma(b.mul(z, z), c, b.fma(z, b.f32(-0.5), b.f32(1.0)));
        (b.fma(b.mul(s, z), r, r), cos)
    };
    let value = b.select(bit(1), cos, sin);
    b.select(bit(2), b.neg(value), value)
}

/// Sine of radians.
pub fn sin(b: &Builder<'_>, x: Val) -> Val {
    sine(b, x, 0)
}

/// Cosine of radians.
pub fn cos(b: &Builder<'_>, x: Val) -> Val {
    sine(b, x, 1)
}

/// Gauss error function.
pub fn erf(b: &Builder<'_>, x: Val) -> Val {
    let f = |v: f64| b.float(x.ty, v);
    if x.ty == Ty::F64 {
        // erf x = 2/sqrt(pi) e^(-x^2) (x + 2x^3/3 + 4x^5/(3*5) + ...): no cancellation; 160 terms serve |x| <= 6.
        let x = clamp(b, x, -6.0, 6.0);
        let z = b.mul(x, x);
        let twice = b.add(z, z);
        let (term, sum, n) = (b.var(x), b.var(x), b.var(f(3.0)));
        b.range(super::builder::Ix::C(0), super::builder::Ix::C(160), 1, |b, _| {
            b.set(term, b.div(b.mul(b.get(term), twice), b.get(n)));
            b.set(sum, b.add(b.get(sum), b.get(term)));
            b.set(n, b.add(b.get(n), b.float(Ty::F64, 2.0)));
        });
        return b.mul(b.mul(b.get(sum), f(consts::FRAC_2_SQRT_PI)), exp(b, b.neg(z)));
    }
    let a = b.abs(x);
    let z = b.mul(x, x);
    let p = horner(
        b,
        z,
        &[
            7.853_861_353_153_693e-5,
            -8.010_193_625_184_903e-4,
            5.188_327_685_732_524e-3,
            -2.685_381_193_529_856e-2,
            1.128_358_514_861_418e-1,
            -3.761_262_582_423_3e-1,
            1.128_379_165_726_71,
        ],
    );
    let small = b.mul(p, x);
    // Abramowitz and Stegun 7.1.26.
    let t = b.div(f(1.0), b.fma(a, f(0.3275911), f(1.0)));
    let p = horner(b, t, &[1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]);
    let tail = b.mul(b.mul(p, t), exp(b, b.neg(z)));
    let large = b.sub(f(1.0), tail);
    let large = b.select(b.lt(x, f(0.0)), b.neg(large), large);
    b.select(b.lt(a, f(1.0)), small, large)
}

/// `a ^ b` as C's `pow`; f32 is computed in f64.
pub fn pow(b: &Builder<'_>, base: Val, exponent: Val) -> Val {
    let ty = base.ty;
    let (x, y) = (b.cast(base, Ty::F64), b.cast(exponent, Ty::F64));
    let lanes = x.lanes.max(y.lanes);
    let (x, y) = (b.splat(x, lanes), b.splat(y, lanes));
    let f = |v: f64| b.float(Ty::F64, v);
    let magnitude = exp(b, b.mul(y, log(b, b.abs(x))));
    // 1^y = x^0 = 1 even for y = inf or NaN; the product above is NaN where it is 0 * inf.
    let half = b.mul(y, f(0.5));
    let integral = b.eq(b.trunc(y), y);
    let odd = b.and(integral, b.compare(CompareOp::Ne, b.trunc(half), half));
    let negative = b.lt(x, f(0.0));
    // A negative zero counts as negative for odd exponents.
    let sign = b.compare(CompareOp::Ne, b.shr(b.bitcast(x, Ty::U64), b.int(Ty::U64, 63)), b.int(Ty::U64, 0));
    let value = b.select(b.and(sign, odd), b.neg(magnitude), magnitude);
    let finite = b.lt(b.abs(x), f(f64::INFINITY));
    let undefined = b.and(b.and(negative, finite), b.not(integral));
    let undefined = b.and(undefined, b.lt(b.abs(y), f(f64::INFINITY)));
    let value = b.select(undefined, f(f64::NAN), value);
    let one = b.or(b.eq(y, f(0.0)), b.eq(x, f(1.0)));
    let minus_one = b.and(b.eq(x, f(-1.0)), b.eq(b.abs(y), f(f64::INFINITY)));
    b.cast(b.select(b.or(one, minus_one), f(1.0), value), ty)
}

/// Floating-point remainder with the sign of `a`, exact while the quotient is below 2^53.
pub fn rem(b: &Builder<'_>, a: Val, divisor: Val) -> Val {
    let ty = a.ty;
    let (x, y) = (b.cast(a, Ty::F64), b.cast(divisor, Ty::F64));
    let f = |v: f64| b.float(Ty::F64, v);
    let (ax, ay) = (b.abs(x), b.abs(y));
    let q = b.trunc(b.div(ax, ay));
    let r = b.fma(b.neg(q), ay, ax);
    let r = b.select(b.lt(r, f(0.0)), b.add(r, ay), r);
    let r = b.select(b.compare(CompareOp::Ge, r, ay), b.sub(r, ay), r);
    let inf = f(f64::INFINITY);
    let r = b.select(b.and(b.eq(ay, inf), b.lt(ax, inf)), ax, r);
    let r = b.select(b.lt(x, f(0.0)), b.neg(r), r);
    b.cast(r, ty)
}

/// Conversion to an integer type that truncates and saturates; NaN gives 0.
pub fn saturating_cast(b: &Builder<'_>, x: Val, ty: Ty) -> Val {
    let f = |v: f64| b.float(x.ty, v);
    let number = b.eq(x, x);
    let x = b.select(number, x, f(0.0));
    if matches!(ty, Ty::I8 | Ty::U8) {
        let (lo, hi) = if ty == Ty::I8 { (-128.0, 127.0) } else { (0.0, 255.0) };
        return b.cast(b.cast(clamp(b, x, lo, hi), Ty::I32), ty);
    }
    let (limit, max, min) = match ty {
        Ty::I32 => (2f64.powi(31), i64::from(i32::MAX), i64::from(i32::MIN)),
        _ => (2f64.powi(63), i64::MAX, i64::MIN),
    };
    let (above, below) = (b.compare(CompareOp::Ge, x, f(limit)), b.lt(x, f(-limit)));
    let within = b.select(b.or(above, below), f(0.0), x);
    let converted = b.cast(within, ty);
    b.select(above, b.int(ty, max), b.select(below, b.int(ty, min), converted))
}
