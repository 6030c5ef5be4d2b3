//! The typing rule of each op: the type of its result for operands of these types, or why they do not fit. The caller has counted the
//! operands.

use super::{AttentionAttrs, ConvAttrs, DotDims};
use crate::TensorType;
use kiln_core::{BinaryOp, DType, Dim, ReduceOp, Storage, UnaryOp};

type Result<T> = std::result::Result<T, String>;

/// Of ops whose type is not a function of their operands' types alone.
pub(super) fn none(_: &[&TensorType]) -> Result<TensorType> {
    Err("has no typing rule of its own".into())
}

pub(super) fn iota(shape: &[Dim], axis: usize) -> Result<TensorType> {
    axis_in(axis, shape.len())?;
    Ok(TensorType::new(DType::I64, shape))
}

pub(super) fn unary(t: &[&TensorType], op: UnaryOp) -> Result<TensorType> {
    let d = t[0].dtype();
    let (fits, expected) = match op {
        UnaryOp::Not => (d == Some(DType::Bool), "bool"),
        UnaryOp::Neg | UnaryOp::Abs => (d.is_some_and(|d| d.is_float() || d.is_int()), "numbers"),
        _ => (d.is_some_and(DType::is_float), "floats"),
    };
    fits.then(|| t[0].clone()).ok_or(format!("takes {expected}, found {}", t[0].storage))
}

pub(super) fn binary(t: &[&TensorType], op: BinaryOp) -> Result<TensorType> {
    same(t[0], t[1])?;
    let d = t[0].dtype();
    let (fits, expected) = match op {
        BinaryOp::And | BinaryOp::Or => (d == Some(DType::Bool), "bool"),
        BinaryOp::Pow => (d.is_some_and(DType::is_float), "floats"),
        _ => (d.is_some_and(|d| d != DType::Bool), "numbers"),
    };
    fits.then(|| t[0].clone()).ok_or(format!("takes {expected}, found {}", t[0].storage))
}

pub(super) fn compare(t: &[&TensorType]) -> Result<TensorType> {
    same(t[0], t[1])?;
    Ok(TensorType::new(DType::Bool, t[0].shape.clone()))
}

pub(super) fn select(t: &[&TensorType]) -> Result<TensorType> {
    dtype(t[0], DType::Bool, "the condition")?;
    same(t[1], t[2])?;
    shape_is(t[0], &t[1].shape, "the condition")?;
    Ok(t[1].clone())
}

pub(super) fn dequantize(t: &[&TensorType], to: DType) -> Result<TensorType> {
    match t[0].storage {
        Storage::Block(_) if to.is_float() => Ok(TensorType::new(to, t[0].shape.clone())),
        Storage::Block(_) => Err(format!("gives floats, not {to}")),
        s => Err(format!("takes block storage, found {s}: use cast")),
    }
}

pub(super) fn reshape(t: &[&TensorType], shape: &[Dim]) -> Result<TensorType> {
    let to = TensorType::new(t[0].storage, shape);
    if to.elements() != t[0].elements() {
        return Err(format!("{} elements do not fill {} elements", t[0].elements(), to.elements()));
    }
    Ok(to)
}

pub(super) fn transpose(t: &[&TensorType], perm: &[usize]) -> Result<TensorType> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..t[0].rank()) {
        return Err(format!("{perm:?} is not a permutation of the {} axes", t[0].rank()));
    }
    Ok(TensorType::new(t[0].storage, perm.iter().map(|p| t[0].shape[*p].clone()).collect::<Vec<_>>()))
}

pub(super) fn broadcast(t: &[&TensorType], shape: &[Dim]) -> Result<TensorType> {
    let from = &t[0].shape;
    let aligned = shape
        .len()
        .checked_sub(from.len())
        .is_some_and(|skip| from.iter().zip(&shape[skip..]).all(|(a, b)| a == b || a.is(1)));
    if !aligned {
        return Err("each axis must have size 1 or the size it is broadcast to, aligned at the last axis".into());
    }
    Ok(TensorType::new(t[0].storage, shape))
}

pub(super) fn slice(t: &[&TensorType], axis: usize, start: &Dim, len: &Dim) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    let size = &t[0].shape[axis];
    if let (Some(s), Some(l), Some(n)) = (start.as_const(), len.as_const(), size.as_const())
        && (s < 0 || l < 0 || s.checked_add(l).is_none_or(|end| end > n))
    {
        return Err(format!("{s}..{} lies outside the axis of size {n}", s.saturating_add(l)));
    }
    Ok(with_axis(t[0], axis, len.clone()))
}

pub(super) fn concat(operands: &[&TensorType], axis: usize) -> Result<TensorType> {
    let first = operands[0];
    axis_in(axis, first.rank())?;
    let mut total = Dim::constant(0);
    for t in operands {
        let same_rank = t.storage == first.storage && t.rank() == first.rank();
        if !same_rank || with_axis(first, axis, 1.into()) != with_axis(t, axis, 1.into()) {
            return Err(format!("{t} and {first} differ in more than axis {axis}"));
        }
        total = total + t.shape[axis].clone();
    }
    Ok(with_axis(first, axis, total))
}

pub(super) fn pad(t: &[&TensorType], axis: usize, low: &Dim, high: &Dim) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    if let Some(d) = [low, high].into_iter().find(|d| d.as_const().is_some_and(|n| n < 0)) {
        return Err(format!("pads by {d}: take a slice to remove elements"));
    }
    Ok(with_axis(t[0], axis, t[0].shape[axis].clone() + low.clone() + high.clone()))
}

pub(super) fn take(t: &[&TensorType], axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    dtype(t[1], DType::I64, "the indices")?;
    let (before, after) = (&t[0].shape[..axis], &t[0].shape[axis + 1..]);
    Ok(TensorType::new(t[0].storage, [before, &t[1].shape, after].concat()))
}

pub(super) fn gather(t: &[&TensorType], axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    dtype(t[1], DType::I64, "the indices")?;
    shape_but(t[1], axis, t[0], "the indices")?;
    Ok(TensorType::new(t[0].storage, t[1].shape.clone()))
}

pub(super) fn scatter_add(t: &[&TensorType], axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    number(t[0])?;
    dtype(t[1], DType::I64, "the indices")?;
    if t[2].storage != t[0].storage {
        return Err(format!("the updates: expected {}, found {}", t[0].storage, t[2].storage));
    }
    shape_but(t[2], axis, t[0], "the updates")?;
    shape_is(t[1], &t[2].shape, "the indices")?;
    Ok(t[0].clone())
}

pub(super) fn reduce(t: &[&TensorType], op: ReduceOp, axis: usize, keep: bool) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    number(t[0])?;
    let storage = if op == ReduceOp::ArgMax { DType::I64.into() } else { t[0].storage };
    let mut shape = t[0].shape.to_vec();
    if keep {
        shape[axis] = 1.into();
    } else {
        shape.remove(axis);
    }
    Ok(TensorType::new(storage, shape))
}

pub(super) fn cumulative(t: &[&TensorType], op: ReduceOp, axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    number(t[0])?;
    match op {
        ReduceOp::ArgMax => Err("has no running argmax: it runs sum, prod, max or min".into()),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => Ok(t[0].clone()),
    }
}

pub(super) fn top_k(t: &[&TensorType], axis: usize, k: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    number(t[0])?;
    let size = &t[0].shape[axis];
    if size.as_const().is_some_and(|n| i64::try_from(k).is_err() || n < k as i64) {
        return Err(format!("an axis of size {size} has no {k} largest elements"));
    }
    Ok(TensorType::new(DType::I64, with_axis(t[0], axis, k.into()).shape))
}

pub(super) fn cache_update(t: &[&TensorType]) -> Result<TensorType> {
    let (cache, new) = (t[0], t[1]);
    if cache.storage != new.storage || cache.rank() < 2 || cache.shape.get(2..) != new.shape.get(2..) {
        return Err("the cache [rows, t, ..] and the new values [batch, s, ..] differ after the second axis".into());
    }
    row_index(t[2], &new.shape[0], "slots")?;
    row_index(t[3], &new.shape[0], "starts")?;
    Ok(cache.clone())
}

pub(super) fn write(t: &[&TensorType]) -> Result<TensorType> {
    if t[0] == t[1] { Ok(t[0].clone()) } else { Err(format!("the state is {}, the value {}", t[0], t[1])) }
}

/// Of a norm over the last axis, with a weight and perhaps a bias.
pub(super) fn norm(t: &[&TensorType]) -> Result<TensorType> {
    let last = t[0].shape.last().ok_or("takes a tensor with at least one axis")?;
    float(t)?;
    for affine in &t[1..] {
        dtype(affine, t[0].dtype().unwrap_or(DType::F32), "weight and bias")?;
        shape_is(affine, std::slice::from_ref(last), "weight and bias")?;
    }
    Ok(t[0].clone())
}

pub(super) fn softmax(t: &[&TensorType], axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    float(t)
}

pub(super) fn log_sum_exp(t: &[&TensorType], axis: usize) -> Result<TensorType> {
    axis_in(axis, t[0].rank())?;
    float(t)?;
    Ok(with_axis(t[0], axis, 1.into()))
}

pub(super) fn rope(t: &[&TensorType]) -> Result<TensorType> {
    float(t)?;
    let [b, s, _, d] = &t[0].shape[..] else {
        return Err(format!("x is [batch, s, heads, dim], found {}", t[0]));
    };
    let half = d.exact_div(&2.into()).ok_or(format!("the head size {d} is odd"))?;
    for angles in &t[1..] {
        dtype(angles, t[0].dtype().unwrap_or(DType::F32), "cos and sin")?;
        shape_is(angles, &[b.clone(), s.clone(), half.clone()], "cos and sin")?;
    }
    Ok(t[0].clone())
}

pub(super) fn conv(t: &[&TensorType], a: &ConvAttrs) -> Result<TensorType> {
    let (x, w) = (t[0], t[1]);
    float(t)?;
    if x.storage != w.storage {
        return Err(format!("x is {}, the weight is {}: they have one element type", x.storage, w.storage));
    }
    let axes = x.rank().checked_sub(2).filter(|n| *n > 0 && w.rank() == x.rank());
    let axes =
        axes.ok_or("x is [batch, channels, size..], the weight [out, channels / groups, kernel..], of one rank")?;
    for (list, what) in
        [(&a.strides, "strides"), (&a.dilations, "dilations"), (&a.low, "padding before"), (&a.high, "padding after")]
    {
        if list.len() != axes {
            return Err(format!(
                "{what}: expected {axes} numbers, one for each axis with a size, found {}",
                list.len()
            ));
        }
    }
    if [&a.strides, &a.dilations].into_iter().flatten().any(|n| *n == 0) || a.groups == 0 {
        return Err("strides, dilations and groups are at least 1".into());
    }
    let groups = Dim::from(a.groups);
    if x.shape[1] != w.shape[1].clone() * groups.clone() {
        return Err(format!("x has {} channels, the weight reads {} in {groups} groups", x.shape[1], w.shape[1]));
    }
    if w.shape[0].exact_div(&groups).is_none() {
        return Err(format!("{} channels of the result do not divide among {groups} groups", w.shape[0]));
    }
    let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
    for axis in 0..axes {
        let Some(kernel) = w.shape[axis + 2].as_const().filter(|n| *n > 0) else {
            return Err(format!("the kernel's size {} is not a constant above 0", w.shape[axis + 2]));
        };
        let size = a.windows(axis, &x.shape[axis + 2], kernel);
        if size.as_const().is_some_and(|n| n < 0) {
            let window = (kernel - 1) * a.dilations[axis] as i64 + 1;
            return Err(format!(
                "a window of {window} elements does not fit into an axis of size {}",
                x.shape[axis + 2]
            ));
        }
        shape.push(size);
    }
    Ok(TensorType::new(x.storage, shape))
}

pub(super) fn dot_general(t: &[&TensorType], d: &DotDims) -> Result<TensorType> {
    let (lhs, rhs) = (t[0], t[1]);
    if rhs.dtype().is_none() {
        // The blocks lie along what is summed: a layer's weight, one row for each column of the product.
        if lhs.dtype() != Some(DType::F32) || rhs.rank() != 2 || d.rhs_contract != [1] {
            return Err(format!(
                "takes blocks on the right as a matrix that is summed along its rows, with f32 on the left; found {lhs} and {rhs}"
            ));
        }
    } else if lhs.storage != rhs.storage || lhs.dtype() == Some(DType::Bool) {
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
    shape.extend(DotDims::free(lhs.rank(), &d.lhs_batch, &d.lhs_contract).iter().map(|a| lhs.shape[*a].clone()));
    shape.extend(DotDims::free(rhs.rank(), &d.rhs_batch, &d.rhs_contract).iter().map(|a| rhs.shape[*a].clone()));
    Ok(TensorType::new(lhs.storage, shape))
}

pub(super) fn attention(operands: &[&TensorType], a: &AttentionAttrs) -> Result<TensorType> {
    let expected = 3 + 2 * usize::from(a.cached) + usize::from(a.mask);
    if operands.len() != expected {
        return Err(format!("expected {expected} operands, found {}", operands.len()));
    }
    let (q, k, v) = (operands[0], operands[1], operands[2]);
    operands[..3].iter().try_for_each(|t| float(&[*t]).map(drop))?;
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
        row_index(operands[3], b, "slots")?;
        row_index(operands[4], b, "starts")?;
    } else if rows != b {
        return Err(format!("q has batch {b}, k has {rows}"));
    }
    if a.mask {
        let mask = operands[operands.len() - 1];
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

/// Of ops on floats whose result has the first operand's type.
pub(super) fn float(t: &[&TensorType]) -> Result<TensorType> {
    if t[0].dtype().is_some_and(DType::is_float) {
        Ok(t[0].clone())
    } else {
        Err(format!("takes floats, found {}", t[0].storage))
    }
}

fn number(t: &TensorType) -> Result<()> {
    if t.dtype() == Some(DType::Bool) { Err("takes numbers, found bool".into()) } else { Ok(()) }
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

/// Whether a tensor has the shape of `like` but along an axis.
fn shape_but(t: &TensorType, axis: usize, like: &TensorType, what: &str) -> Result<()> {
    let size = t.shape.get(axis).cloned().unwrap_or(0.into());
    shape_is(t, &with_axis(like, axis, size).shape, what)
}

fn row_index(t: &TensorType, rows: &Dim, what: &str) -> Result<()> {
    dtype(t, DType::I64, what)?;
    shape_is(t, std::slice::from_ref(rows), what)
}
