//! The typing rule of each op.

use crate::{IrError, Op, TensorType, Type};
use kiln_core::{BinaryOp, DType, Dim, ReduceOp, Storage, UnaryOp};

type Result<T> = std::result::Result<T, String>;

impl Op {
    /// The type of the op applied to operands of these types.
    ///
    /// # Errors
    /// [`IrError::Type`], naming the op, the operands' types, and what was expected.
    pub fn infer(&self, operands: &[&Type]) -> std::result::Result<Type, IrError> {
        self.rule(operands).map_err(|reason| IrError::Type {
            op: self.to_string(),
            operands: operands.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "),
            reason,
        })
    }

    fn rule(&self, operands: &[&Type]) -> Result<Type> {
        if let Op::Get(i) = self {
            let [Type::Tuple(results)] = operands else { return Err("expected the result of a call".into()) };
            let result = results.get(*i as usize);
            return result.cloned().map(Type::Tensor).ok_or_else(|| format!("the call has {} results", results.len()));
        }
        let tensors: Option<Vec<&TensorType>> = operands.iter().map(|t| t.tensor()).collect();
        let ops = tensors.ok_or("a call's result is taken apart by `get` first")?;
        if let Some(n) = self.arity()
            && ops.len() != n
        {
            return Err(format!("expected {n} operands, found {}", ops.len()));
        }
        let blocks_allowed = match self {
            Op::Dequantize(_) => true,
            Op::Take { axis: 0 } | Op::Slice { axis: 0, .. } => ops[0].rank() > 1,
            _ => false,
        };
        if !blocks_allowed && let Some(t) = ops.iter().find(|t| t.dtype().is_none()) {
            return Err(format!("{t} is block storage: dequantize it first"));
        }
        self.tensor_rule(&ops).map(Type::Tensor)
    }

    /// Number of operands, where it is fixed.
    fn arity(&self) -> Option<usize> {
        Some(match self {
            Op::Arg(_) | Op::Constant(_) | Op::Iota { .. } | Op::DimSize(_) => 0,
            Op::Unary(_) | Op::Cast(_) | Op::Dequantize(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => 1,
            Op::Slice { .. } | Op::Pad { .. } | Op::Reduce { .. } | Op::TopK { .. } => 1,
            Op::Softmax { .. } | Op::LogSumExp { .. } | Op::Sigmoid | Op::Silu | Op::Gelu { .. } | Op::Get(_) => 1,
            Op::Binary(_) | Op::Compare(_) | Op::Take { .. } | Op::Gather { .. } => 2,
            Op::DotGeneral(_) | Op::RmsNorm { .. } => 2,
            Op::Select | Op::LayerNorm { .. } | Op::Rope => 3,
            Op::CacheUpdate => 4,
            Op::Attention(a) => 3 + 2 * usize::from(a.cached) + usize::from(a.mask),
            Op::Concat { .. } | Op::Call(_) => return None,
        })
    }

    fn tensor_rule(&self, ops: &[&TensorType]) -> Result<TensorType> {
        match self {
            Op::Arg(_) | Op::Call(_) => Err("has no typing rule of its own".into()),
            Op::Get(_) => unreachable!("handled by its caller"),
            Op::Constant(l) => Ok(TensorType::new(l.dtype(), l.dims())),
            Op::DimSize(_) => Ok(TensorType::new(DType::I64, [])),
            Op::Iota { shape, axis } => {
                axis_in(*axis, shape.len())?;
                Ok(TensorType::new(DType::I64, shape.clone()))
            }
            Op::Unary(u) => {
                let d = ops[0].dtype();
                let fits = match u {
                    UnaryOp::Not => d == Some(DType::Bool),
                    UnaryOp::Neg | UnaryOp::Abs => d.is_some_and(|d| d.is_float() || d.is_int()),
                    _ => d.is_some_and(DType::is_float),
                };
                let expected = match u {
                    UnaryOp::Not => "bool",
                    UnaryOp::Neg | UnaryOp::Abs => "numbers",
                    _ => "floats",
                };
                fits.then(|| ops[0].clone()).ok_or(format!("takes {expected}, found {}", ops[0].storage))
            }
            Op::Binary(b) => {
                same(ops[0], ops[1])?;
                let d = ops[0].dtype();
                let (fits, expected) = match b {
                    BinaryOp::And | BinaryOp::Or => (d == Some(DType::Bool), "bool"),
                    BinaryOp::Pow => (d.is_some_and(DType::is_float), "floats"),
                    _ => (d.is_some_and(|d| d != DType::Bool), "numbers"),
                };
                fits.then(|| ops[0].clone()).ok_or(format!("takes {expected}, found {}", ops[0].storage))
            }
            Op::Compare(_) => {
                same(ops[0], ops[1])?;
                Ok(TensorType::new(DType::Bool, ops[0].shape.clone()))
            }
            Op::Select => {
                dtype(ops[0], DType::Bool, "the condition")?;
                same(ops[1], ops[2])?;
                shape_is(ops[0], &ops[1].shape, "the condition")?;
                Ok(ops[1].clone())
            }
            Op::Cast(d) => Ok(TensorType::new(*d, ops[0].shape.clone())),
            Op::Dequantize(d) => match ops[0].storage {
                Storage::Block(_) if d.is_float() => Ok(TensorType::new(*d, ops[0].shape.clone())),
                Storage::Block(_) => Err(format!("gives floats, not {d}")),
                s => Err(format!("takes block storage, found {s}: use cast")),
            },
            Op::Reshape(shape) => {
                let to = TensorType::new(ops[0].storage, shape.clone());
                if to.elements() != ops[0].elements() {
                    return Err(format!("{} elements do not fill {} elements", ops[0].elements(), to.elements()));
                }
                Ok(to)
            }
            Op::Transpose(perm) => {
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..ops[0].rank()) {
                    return Err(format!("{perm:?} is not a permutation of the {} axes", ops[0].rank()));
                }
                Ok(TensorType::new(ops[0].storage, perm.iter().map(|p| ops[0].shape[*p].clone()).collect::<Vec<_>>()))
            }
            Op::Broadcast(shape) => {
                let from = &ops[0].shape;
                let aligned = shape
                    .len()
                    .checked_sub(from.len())
                    .is_some_and(|skip| from.iter().zip(&shape[skip..]).all(|(a, b)| a == b || a.is(1)));
                if !aligned {
                    return Err(
                        "each axis must have size 1 or the size it is broadcast to, aligned at the last axis".into()
                    );
                }
                Ok(TensorType::new(ops[0].storage, shape.clone()))
            }
            Op::Slice { axis, start, len } => {
                axis_in(*axis, ops[0].rank())?;
                let size = &ops[0].shape[*axis];
                if let (Some(s), Some(l), Some(n)) = (start.as_const(), len.as_const(), size.as_const())
                    && (s < 0 || l < 0 || s.checked_add(l).is_none_or(|end| end > n))
                {
                    return Err(format!("{s}..{} lies outside the axis of size {n}", s.saturating_add(l)));
                }
                Ok(with_axis(ops[0], *axis, len.clone()))
            }
            Op::Concat { axis } => {
                let first = ops.first().ok_or("expected at least one operand")?;
                axis_in(*axis, first.rank())?;
                let mut total = Dim::constant(0);
                for t in ops {
                    let same_rank = t.storage == first.storage && t.rank() == first.rank();
                    if !same_rank || with_axis(first, *axis, 1.into()) != with_axis(t, *axis, 1.into()) {
                        return Err(format!("{t} and {first} differ in more than axis {axis}"));
                    }
                    total = total + t.shape[*axis].clone();
                }
                Ok(with_axis(first, *axis, total))
            }
            Op::Pad { axis, low, high, .. } => {
                axis_in(*axis, ops[0].rank())?;
                if let Some(d) = [low, high].into_iter().find(|d| d.as_const().is_some_and(|n| n < 0)) {
                    return Err(format!("pads by {d}: take a slice to remove elements"));
                }
                Ok(with_axis(ops[0], *axis, ops[0].shape[*axis].clone() + low.clone() + high.clone()))
            }
            Op::Reduce { op, axis, keep } => {
                axis_in(*axis, ops[0].rank())?;
                if ops[0].dtype() == Some(DType::Bool) {
                    return Err("takes numbers, found bool".into());
                }
                let storage = if *op == ReduceOp::ArgMax { DType::I64.into() } else { ops[0].storage };
                let mut shape = ops[0].shape.to_vec();
                if *keep {
                    shape[*axis] = 1.into();
                } else {
                    shape.remove(*axis);
                }
                Ok(TensorType::new(storage, shape))
            }
            Op::Take { axis } => {
                axis_in(*axis, ops[0].rank())?;
                dtype(ops[1], DType::I64, "the indices")?;
                let (before, after) = (&ops[0].shape[..*axis], &ops[0].shape[axis + 1..]);
                Ok(TensorType::new(ops[0].storage, [before, &ops[1].shape, after].concat()))
            }
            Op::Gather { axis } => {
                axis_in(*axis, ops[0].rank())?;
                dtype(ops[1], DType::I64, "the indices")?;
                let size = ops[1].shape.get(*axis).cloned().unwrap_or(0.into());
                shape_is(ops[1], &with_axis(ops[0], *axis, size).shape, "the indices")?;
                Ok(TensorType::new(ops[0].storage, ops[1].shape.clone()))
            }
            Op::TopK { axis, k } => {
                axis_in(*axis, ops[0].rank())?;
                if ops[0].dtype() == Some(DType::Bool) {
                    return Err("takes numbers, found bool".into());
                }
                let size = &ops[0].shape[*axis];
                if size.as_const().is_some_and(|n| i64::try_from(*k).is_err() || n < *k as i64) {
                    return Err(format!("an axis of size {size} has no {k} largest elements"));
                }
                Ok(TensorType::new(DType::I64, with_axis(ops[0], *axis, (*k).into()).shape))
            }
            Op::DotGeneral(d) => dot_general(d, ops[0], ops[1]),
            Op::CacheUpdate => {
                let (cache, new) = (ops[0], ops[1]);
                if cache.storage != new.storage || cache.rank() < 2 || cache.shape.get(2..) != new.shape.get(2..) {
                    return Err(
                        "the cache [rows, t, ..] and the new values [batch, s, ..] differ after the second axis".into(),
                    );
                }
                row_index(ops[2], &new.shape[0], "slots")?;
                row_index(ops[3], &new.shape[0], "starts")?;
                Ok(cache.clone())
            }
            Op::RmsNorm { .. } | Op::LayerNorm { .. } => {
                let last = ops[0].shape.last().ok_or("takes a tensor with at least one axis")?;
                float(ops[0])?;
                for t in &ops[1..] {
                    dtype(t, ops[0].dtype().unwrap_or(DType::F32), "weight and bias")?;
                    shape_is(t, std::slice::from_ref(last), "weight and bias")?;
                }
                Ok(ops[0].clone())
            }
            Op::Softmax { axis } => {
                axis_in(*axis, ops[0].rank())?;
                float(ops[0]).map(|()| ops[0].clone())
            }
            Op::LogSumExp { axis } => {
                axis_in(*axis, ops[0].rank())?;
                float(ops[0])?;
                let mut shape = ops[0].shape.to_vec();
                shape[*axis] = 1.into();
                Ok(TensorType::new(ops[0].storage, shape))
            }
            Op::Sigmoid | Op::Silu | Op::Gelu { .. } => float(ops[0]).map(|()| ops[0].clone()),
            Op::Rope => {
                float(ops[0])?;
                let [b, s, _, d] = &ops[0].shape[..] else {
                    return Err(format!("x is [batch, s, heads, dim], found {}", ops[0]));
                };
                let half = d.exact_div(&2.into()).ok_or(format!("the head size {d} is odd"))?;
                for t in &ops[1..] {
                    dtype(t, ops[0].dtype().unwrap_or(DType::F32), "cos and sin")?;
                    shape_is(t, &[b.clone(), s.clone(), half.clone()], "cos and sin")?;
                }
                Ok(ops[0].clone())
            }
            Op::Attention(a) => attention(a, ops),
        }
    }
}

fn dot_general(d: &crate::DotDims, lhs: &TensorType, rhs: &TensorType) -> Result<TensorType> {
    if lhs.storage != rhs.storage || lhs.dtype() == Some(DType::Bool) {
        return Err("takes two tensors of numbers of one type".into());
    }
    for (axes, t) in [(&d.lhs_batch, lhs), (&d.lhs_contract, lhs), (&d.rhs_batch, rhs), (&d.rhs_contract, rhs)] {
        axes.iter().try_for_each(|a| axis_in(*a, t.rank()))?;
    }
    for (batch, contract) in [(&d.lhs_batch, &d.lhs_contract), (&d.rhs_batch, &d.rhs_contract)] {
        let mut all = [&batch[..], contract].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        if all.len() != count {
            return Err("an axis is named twice".into());
        }
    }
    for (l, r) in [(&d.lhs_batch, &d.rhs_batch), (&d.lhs_contract, &d.rhs_contract)] {
        if l.len() != r.len() {
            return Err(format!("axes {l:?} and {r:?} do not pair"));
        }
        if let Some((l, r)) = l.iter().zip(r).find(|(l, r)| lhs.shape[**l] != rhs.shape[**r]) {
            return Err(format!(
                "axis {l} of the left operand ({}) pairs with axis {r} of the right one ({})",
                lhs.shape[*l], rhs.shape[*r]
            ));
        }
    }
    let mut shape: Vec<Dim> = d.lhs_batch.iter().map(|a| lhs.shape[*a].clone()).collect();
    shape.extend(crate::DotDims::free(lhs.rank(), &d.lhs_batch, &d.lhs_contract).iter().map(|a| lhs.shape[*a].clone()));
    shape.extend(crate::DotDims::free(rhs.rank(), &d.rhs_batch, &d.rhs_contract).iter().map(|a| rhs.shape[*a].clone()));
    Ok(TensorType::new(lhs.storage, shape))
}

fn attention(a: &crate::AttentionAttrs, ops: &[&TensorType]) -> Result<TensorType> {
    let (q, k, v) = (ops[0], ops[1], ops[2]);
    ops[..3].iter().try_for_each(|t| float(t))?;
    let ([b, s, hq, d], [rows, t, hk, dk], [rows_v, t_v, hv, dv]) = (&q.shape[..], &k.shape[..], &v.shape[..]) else {
        return Err("q, k and v are [batch, length, heads, dim]".into());
    };
    if q.storage != k.storage || k.storage != v.storage {
        return Err("q, k and v have one element type".into());
    }
    if let Some(window) = a.window.filter(|w| *w < 1) {
        return Err(format!("a window of {window} keys shows none: expected at least 1"));
    }
    if d != dk {
        return Err(format!("q has head size {d}, k has {dk}"));
    }
    if (rows, t, hk) != (rows_v, t_v, hv) {
        return Err("k and v agree in batch, length and heads".into());
    }
    if let (Some(hq), Some(hk)) = (hq.as_const(), hk.as_const())
        && (hk == 0 || hq % hk != 0)
    {
        return Err(format!("{hq} query heads do not divide among {hk} key heads"));
    }
    if a.cached {
        row_index(ops[3], b, "slots")?;
        row_index(ops[4], b, "starts")?;
    } else if rows != b {
        return Err(format!("q has batch {b}, k has {rows}"));
    }
    if a.mask {
        let mask = ops[ops.len() - 1];
        dtype(mask, DType::Bool, "the mask")?;
        shape_is(mask, &[b.clone(), t.clone()], "the mask")?;
    }
    Ok(TensorType::new(q.storage, [b.clone(), s.clone(), hq.clone(), dv.clone()]))
}

fn axis_in(axis: usize, rank: usize) -> Result<()> {
    if axis < rank { Ok(()) } else { Err(format!("axis {axis} does not exist: there are {rank} axes")) }
}

fn with_axis(t: &TensorType, axis: usize, size: Dim) -> TensorType {
    let mut shape = t.shape.to_vec();
    shape[axis] = size;
    TensorType::new(t.storage, shape)
}

fn same(a: &TensorType, b: &TensorType) -> Result<()> {
    if a == b { Ok(()) } else { Err("takes two tensors of one type and shape: broadcast or cast first".into()) }
}

fn float(t: &TensorType) -> Result<()> {
    if t.dtype().is_some_and(DType::is_float) { Ok(()) } else { Err(format!("takes floats, found {}", t.storage)) }
}

fn dtype(t: &TensorType, d: DType, what: &str) -> Result<()> {
    if t.dtype() == Some(d) { Ok(()) } else { Err(format!("{what}: expected {d}, found {}", t.storage)) }
}

fn shape_is(t: &TensorType, shape: &[Dim], what: &str) -> Result<()> {
    if &*t.shape == shape {
        return Ok(());
    }
    let expected: Vec<String> = shape.iter().map(Dim::to_string).collect();
    Err(format!("{what}: expected shape [{}], found {t}", expected.join(", ")))
}

fn row_index(t: &TensorType, rows: &Dim, what: &str) -> Result<()> {
    dtype(t, DType::I64, what)?;
    shape_is(t, std::slice::from_ref(rows), what)
}
