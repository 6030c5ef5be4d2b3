//! Ops that compute each element from the elements at the same place.

use super::{Result, Tensor};
use kiln_core::{BinaryOp, CompareOp, DType, UnaryOp, int_to_round_again};
use std::cmp::Ordering;

fn dense(t: &Tensor) -> Result<DType> {
    t.dtype().ok_or_else(|| format!("{} is block storage", t.ty()))
}

/// An op of one float.
pub(super) fn float_unary(op: UnaryOp) -> Result<fn(f64) -> f64> {
    Ok(match op {
        UnaryOp::Neg => |v| -v,
        UnaryOp::Abs => f64::abs,
        UnaryOp::Exp => libm::exp,
        UnaryOp::Log => libm::log,
        UnaryOp::Sqrt => f64::sqrt,
        UnaryOp::Rsqrt => |v| 1.0 / v.sqrt(),
        UnaryOp::Sin => libm::sin,
        UnaryOp::Cos => libm::cos,
        UnaryOp::Tanh => libm::tanh,
        UnaryOp::Erf => libm::erf,
        UnaryOp::Floor => f64::floor,
        UnaryOp::Not => return Err("`not` takes bool".into()),
    })
}

pub(super) fn unary(op: UnaryOp, x: &Tensor) -> Result<Tensor> {
    let d = dense(x)?;
    if d.is_float() {
        let f = float_unary(op)?;
        let mut values = x.floats();
        values.iter_mut().for_each(|v| *v = f(*v));
        return Ok(Tensor::from_f64(d, x.shape(), &values)?);
    }
    let f: fn(i64) -> i64 = match op {
        UnaryOp::Neg => i64::wrapping_neg,
        UnaryOp::Abs => i64::wrapping_abs,
        UnaryOp::Not => |v| i64::from(v == 0),
        op => return Err(format!("`{op}` takes floats")),
    };
    let mut values = x.ints();
    values.iter_mut().for_each(|v| *v = f(*v));
    Ok(Tensor::from_ints(d, x.shape(), &values)?)
}

/// The larger one; if one is NaN, the other.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a > b || b.is_nan() { a } else { b }
}

/// The smaller one; if one is NaN, the other.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a < b || b.is_nan() { a } else { b }
}

/// An op of two floats.
pub(super) fn float_binary(op: BinaryOp) -> Result<fn(f64, f64) -> f64> {
    Ok(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Max => max,
        BinaryOp::Min => min,
        BinaryOp::Pow => libm::pow,
        BinaryOp::Rem => |a, b| a % b,
        BinaryOp::And | BinaryOp::Or => return Err(format!("`{op}` takes bool")),
    })
}

pub(super) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let d = dense(a)?;
    if d.is_float() {
        let f = float_binary(op)?;
        let mut values = a.floats();
        values.iter_mut().zip(b.floats()).for_each(|(a, b)| *a = f(*a, b));
        return Ok(Tensor::from_f64(d, a.shape(), &values)?);
    }
    let f: fn(i64, i64) -> i64 = match op {
        BinaryOp::Add => i64::wrapping_add,
        BinaryOp::Sub => i64::wrapping_sub,
        BinaryOp::Mul => i64::wrapping_mul,
        BinaryOp::Div => |a, b| if b == 0 { 0 } else { a.wrapping_div(b) },
        BinaryOp::Rem => |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) },
        BinaryOp::Max => i64::max,
        BinaryOp::Min => i64::min,
        BinaryOp::And => |a, b| a & b,
        BinaryOp::Or => |a, b| a | b,
        BinaryOp::Pow => return Err("`pow` takes floats".into()),
    };
    let mut values = a.ints();
    values.iter_mut().zip(b.ints()).for_each(|(a, b)| *a = f(*a, b));
    Ok(Tensor::from_ints(d, a.shape(), &values)?)
}

pub(super) fn compare(op: CompareOp, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let orders: Vec<Option<Ordering>> = if dense(a)?.is_float() {
        a.floats().iter().zip(b.floats()).map(|(a, b)| a.partial_cmp(&b)).collect()
    } else {
        a.ints().iter().zip(b.ints()).map(|(a, b)| Some(a.cmp(&b))).collect()
    };
    let holds: fn(Option<Ordering>) -> bool = match op {
        CompareOp::Eq => |o| o == Some(Ordering::Equal),
        CompareOp::Ne => |o| o != Some(Ordering::Equal),
        CompareOp::Lt => |o| o == Some(Ordering::Less),
        CompareOp::Le => |o| o.is_some_and(Ordering::is_le),
        CompareOp::Gt => |o| o == Some(Ordering::Greater),
        CompareOp::Ge => |o| o.is_some_and(Ordering::is_ge),
    };
    let bits: Vec<bool> = orders.into_iter().map(holds).collect();
    Ok(Tensor::from_bool(a.shape(), &bits)?)
}

pub(super) fn select(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let size = dense(a)?.size();
    let mut out = b.bytes().to_vec();
    let pairs = out.chunks_exact_mut(size).zip(a.bytes().chunks_exact(size));
    for ((o, a), c) in pairs.zip(condition.bytes()) {
        if *c != 0 {
            o.copy_from_slice(a);
        }
    }
    Ok(Tensor::from_bytes(a.storage(), a.shape(), out)?)
}

pub(super) fn cast(to: DType, x: &Tensor) -> Result<Tensor> {
    let from = dense(x)?;
    if from == to {
        return Ok(x.clone());
    }
    Ok(match (from.is_float(), to.is_float()) {
        (true, true) => Tensor::from_f64(to, x.shape(), &x.floats())?,
        (false, true) if to == DType::F64 => {
            Tensor::from_f64(to, x.shape(), &x.ints().iter().map(|v| *v as f64).collect::<Vec<_>>())?
        }
        (false, true) => {
            Tensor::from_f64(to, x.shape(), &x.ints().iter().map(|v| int_to_round_again(*v)).collect::<Vec<_>>())?
        }
        (false, false) => Tensor::from_ints(to, x.shape(), &x.ints())?,
        (true, false) => {
            // Rust's `as` truncates, saturates, and takes NaN to 0.
            let f: fn(f64) -> i64 = match to {
                DType::I32 => |v| (v as i32).into(),
                DType::I8 => |v| (v as i8).into(),
                DType::U8 => |v| (v as u8).into(),
                DType::Bool => |v| (v != 0.0).into(),
                _ => |v| v as i64,
            };
            Tensor::from_ints(to, x.shape(), &x.floats().into_iter().map(f).collect::<Vec<_>>())?
        }
    })
}
