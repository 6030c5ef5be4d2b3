//! Random arguments.

use super::Random;
use crate::{ArgKind, BlockFormat, DType, FuncId, IrError, Module, NodeId, Op, Storage, interp::Tensor};
use kiln_core::{BinaryOp, Dim, ReduceOp, UnaryOp};

/// What an argument's values must be like.
enum Role {
    /// Any numbers.
    Plain,
    /// Numbers above zero.
    Positive,
    /// Factors of a product that stays finite.
    NearOne,
    /// Numbers with many equal ones among them.
    Coarse,
    /// Numbers that leave an integer type's range, and NaN.
    Wide,
    /// Indices into an axis, some of them outside.
    Indices(Dim),
    /// Different rows of a cache.
    Rows(Dim),
    /// First positions in a cache of that length.
    Starts(Dim),
    /// Weights: rows whose products with plain numbers stay plain.
    Weights,
}

/// Random arguments for a function, in the order of [`Function::args`](crate::Function::args). `sizes` gives every size symbol
/// in the arguments' types.
///
/// # Errors
/// [`IrError::Eval`]: no such function, or a size without a value.
pub fn random_args(module: &Module, entry: &str, sizes: &[(&str, i64)], seed: u64) -> Result<Vec<Tensor>, IrError> {
    let error = |reason: String| IrError::Eval { function: entry.into(), reason };
    let (id, f) = module.find(entry).ok_or_else(|| error("there is no such function".into()))?;
    let size = |d: &Dim| {
        let v = d.eval(&|s| sizes.iter().find(|(name, _)| *name == s).map(|(_, v)| *v));
        v.map_err(|e| e.to_string()).and_then(|v| usize::try_from(v).map_err(|_| format!("{d} is {v}"))).map_err(error)
    };
    let mut random = Random::new(seed);
    // Extreme numbers belong into single ops, not into models.
    let extremes = f.nodes().filter(|(_, n)| !matches!(n.op, Op::Arg(_))).count() == 1;
    let mut out = Vec::with_capacity(f.args.len());
    for (i, arg) in f.args.iter().enumerate() {
        let shape: Result<Vec<usize>, IrError> = arg.ty.shape.iter().map(size).collect();
        let shape = shape?;
        let count = shape.iter().product();
        let weights = matches!(arg.kind, ArgKind::Param { .. });
        let role = match role(module, id, i as u32).filter(|r| extremes || !matches!(r, Role::Wide)) {
            Some(role) => role,
            None if weights => Role::Weights,
            None => Role::Plain,
        };
        out.push(match arg.ty.storage {
            Storage::Block(b) => {
                let size = if weights { 1.0 / depth(&shape).sqrt() } else { 1.0 };
                blocks(b, shape, count, size, &mut random)?
            }
            Storage::Dense(d) if d.is_float() => {
                let values = floats(&role, &shape, count, &mut random);
                Tensor::from_f64(d, shape, &values)?
            }
            Storage::Dense(DType::Bool) => {
                let values: Vec<bool> = (0..count).map(|_| random.below(4) > 0).collect();
                Tensor::from_bool(shape, &values)?
            }
            Storage::Dense(d) => {
                let values: Vec<i64> = match role {
                    Role::Indices(n) => {
                        let n = size(&n)? as i64;
                        (0..count)
                            .map(|_| random.between(if extremes { -1 } else { 0 }, n - i64::from(!extremes)))
                            .collect()
                    }
                    Role::Rows(n) => rows(size(&n)?, count, &mut random),
                    Role::Starts(n) => {
                        let n = size(&n)? as i64;
                        (0..count).map(|_| random.between(if extremes { -2 } else { 0 }, n - 1)).collect()
                    }
                    _ => (0..count).map(|_| integer(d, extremes, &mut random)).collect(),
                };
                Tensor::from_ints(d, &shape, &values)?
            }
        });
    }
    Ok(out)
}

/// What the first op that cares asks of an argument, looking into calls.
fn role(module: &Module, id: FuncId, arg: u32) -> Option<Role> {
    let f = module.function(id);
    let value: NodeId = f.nodes().find(|(_, n)| n.op == Op::Arg(arg)).map(|(id, _)| id)?;
    let uses = f.nodes().flat_map(|(_, n)| n.operands.iter().enumerate().map(move |(k, o)| (n, k, *o)));
    uses.filter(|(_, _, o)| *o == value).find_map(|(n, k, _)| {
        let first = || n.operands.first().map(|o| f.tensor(*o).shape.to_vec());
        Some(match (&n.op, k) {
            (Op::Unary(UnaryOp::Log | UnaryOp::Sqrt | UnaryOp::Rsqrt), _) => Role::Positive,
            (Op::Binary(BinaryOp::Pow), 0) => Role::Positive,
            (Op::Unary(UnaryOp::Floor), _) | (Op::Cast(_), _) if f.ty(value).tensor()?.dtype()?.is_float() => {
                Role::Wide
            }
            (Op::Compare(_), _) => Role::Coarse,
            (Op::Binary(BinaryOp::Max | BinaryOp::Min), _) => Role::Coarse,
            (Op::Reduce { op: ReduceOp::ArgMax, .. } | Op::TopK { .. }, _) => Role::Coarse,
            (Op::Reduce { op: ReduceOp::Prod, .. } | Op::Cumulative { op: ReduceOp::Prod, .. }, _) => Role::NearOne,
            (Op::Take { axis } | Op::Gather { axis } | Op::ScatterAdd { axis }, 1) => {
                Role::Indices(first()?.get(*axis)?.clone())
            }
            (Op::CacheUpdate, 2) => Role::Rows(first()?.first()?.clone()),
            (Op::CacheUpdate, 3) => Role::Starts(first()?.get(1)?.clone()),
            (Op::Attention(a), 3 | 4) if a.cached => {
                let cache = &f.tensor(n.operands[1]).shape;
                if k == 3 { Role::Rows(cache[0].clone()) } else { Role::Starts(cache[1].clone()) }
            }
            (Op::Call(callee), k) => role(module, *callee, k as u32)?,
            _ => return None,
        })
    })
}

/// Length of a row.
fn depth(shape: &[usize]) -> f64 {
    shape.last().copied().unwrap_or(1).max(1) as f64
}

fn floats(role: &Role, shape: &[usize], count: usize, random: &mut Random) -> Vec<f64> {
    let depth = depth(shape);
    let mut next = |i: usize| match role {
        Role::Positive => random.uniform(0.05, 4.0),
        Role::NearOne => random.uniform(0.8, 1.2),
        Role::Coarse => (random.normal() * 4.0).round() / 4.0,
        Role::Wide => match i % 16 {
            13 => f64::NAN,
            14 => *random.pick(&[f64::INFINITY, f64::NEG_INFINITY]),
            15 => random.normal() * 6e4,
            _ => random.normal() * 90.0,
        },
        Role::Weights if shape.len() == 1 => 1.0 + 0.1 * random.normal(),
        Role::Weights => random.normal() / depth.sqrt(),
        _ => random.normal(),
    };
    (0..count).map(&mut next).collect()
}

/// Different rows, in any order; rows repeat only where there are not enough.
fn rows(rows: usize, count: usize, random: &mut Random) -> Vec<i64> {
    let mut all: Vec<i64> = (0..rows as i64).collect();
    for i in (1..all.len()).rev() {
        all.swap(i, random.below(i + 1));
    }
    all.into_iter().cycle().take(if rows == 0 { 0 } else { count }).collect()
}

fn integer(d: DType, extremes: bool, random: &mut Random) -> i64 {
    let (min, max) = match d {
        DType::I64 => (i64::MIN, i64::MAX),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::I8 => (-128, 127),
        _ => (0, 255),
    };
    match random.below(12) {
        0 if extremes => *random.pick(&[min, max, min + 1, 0]),
        _ if min == 0 => random.between(0, 9),
        _ => random.between(-9, 9),
    }
}

/// Blocks whose values are of about that size.
fn blocks(b: BlockFormat, shape: Vec<usize>, count: usize, size: f64, random: &mut Random) -> Result<Tensor, IrError> {
    let mut bytes = vec![];
    for _ in 0..count / b.block_len() {
        let first = bytes.len();
        bytes.extend((0..b.block_bytes()).map(|_| random.bits() as u8));
        let put = |bytes: &mut Vec<u8>, at: usize, value: f64| {
            bytes[first + at..first + at + 2].copy_from_slice(&DType::F16.bits(value).to_le_bytes()[..2]);
        };
        // The codes reach 127, or lie about zero up to 8 or so; those of parts are scaled once more. Minima bring them there.
        let (reach, minimum) = match b {
            BlockFormat::Q8_0 => (127.0, 0.0),
            BlockFormat::Q4_0 => (8.0, 0.0),
            BlockFormat::Q4_1 => (8.0, -8.0),
            BlockFormat::Q5_0 => (16.0, 0.0),
            BlockFormat::Q5_1 => (16.0, -16.0),
            BlockFormat::Q2K => (2.0 * 15.0, 2.0),
            BlockFormat::Q3K => (4.0 * 32.0, 0.0),
            BlockFormat::Q4K => (8.0 * 63.0, 8.0),
            BlockFormat::Q5K => (16.0 * 63.0, 16.0),
            BlockFormat::Q6K => (32.0 * 127.0, 0.0),
        };
        let scale = size * random.uniform(0.5, 2.0) / reach;
        put(&mut bytes, b.scale_offset(), scale);
        if let Some(at) = b.minimum_offset() {
            put(&mut bytes, at, minimum * scale);
        }
    }
    Tensor::from_bytes(Storage::Block(b), shape, bytes)
}
