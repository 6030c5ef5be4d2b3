//! Attention and the cache that it reads.

use super::{Result, Tensor, composite::softmax_row};
use crate::AttentionAttrs;

fn row_of(slot: i64, rows: usize) -> Result<usize> {
    usize::try_from(slot)
        .ok()
        .filter(|s| *s < rows)
        .ok_or_else(|| format!("slot {slot} is not one of the {rows} rows of the cache"))
}

pub(super) fn cache_update(cache: Tensor, new: &Tensor, slots: &[i64], starts: &[i64]) -> Result<Tensor> {
    let (storage, shape) = (cache.storage(), cache.shape().to_vec());
    let (&[rows, t, ..], &[batch, s, ..]) = (&shape[..], new.shape()) else {
        return Err("the cache is [rows, t, ..] and the new values are [batch, s, ..]".into());
    };
    let mut bytes = cache.into_bytes();
    let step = new.bytes().len().checked_div(batch * s).unwrap_or(0);
    for b in 0..batch {
        let row = row_of(slots[b], rows)?;
        if slots[..b].contains(&slots[b]) {
            return Err(format!("slot {row} is written twice"));
        }
        for j in 0..s {
            let position = usize::try_from(starts[b].saturating_add(j as i64));
            if let Some(p) = position.ok().filter(|p| *p < t) {
                bytes[(row * t + p) * step..][..step].copy_from_slice(&new.bytes()[(b * s + j) * step..][..step]);
            }
        }
    }
    Ok(Tensor::from_bytes(storage, shape, bytes)?)
}

pub(super) fn attention(a: &AttentionAttrs, operands: &[Tensor], shape: &[usize]) -> Result<Tensor> {
    let (q, k, v) = (&operands[0], &operands[1], &operands[2]);
    let (&[batch, queries, q_heads, dim], &[rows, keys, kv_heads, _], &[.., v_dim]) = (q.shape(), k.shape(), v.shape())
    else {
        return Err("q, k and v are [batch, length, heads, dim]".into());
    };
    if kv_heads == 0 || q_heads % kv_heads != 0 {
        return Err(format!("{q_heads} query heads do not divide among {kv_heads} key heads"));
    }
    let group = q_heads / kv_heads;
    let cache = a.cached.then(|| (operands[3].ints(), operands[4].ints()));
    let mask = operands.last().filter(|_| a.mask).map(Tensor::bytes);
    let (q, k, v) = (q.floats(), k.floats(), v.floats());
    let mut out = Vec::with_capacity(shape.iter().product());
    let mut seen = Vec::with_capacity(keys);
    let mut weights: Vec<f64> = Vec::with_capacity(keys);
    for b in 0..batch {
        let (row, start) = match &cache {
            Some(_) if rows == 0 => return Err("looks into a cache without rows".into()),
            Some((slots, starts)) => (slots[b].clamp(0, rows as i64 - 1) as usize, starts[b]),
            None => (b, 0),
        };
        for j in 0..queries {
            let position = start.saturating_add(j as i64);
            seen.clear();
            seen.extend((0..keys).filter(|&t| {
                (!a.causal || t as i64 <= position)
                    && a.window.is_none_or(|w| t as i64 > position.saturating_sub(w))
                    && mask.is_none_or(|m| m[b * keys + t] != 0)
            }));
            // A query that sees nothing: padding where there is a cache, else what softmax gives when all scores are equal.
            let blind = seen.is_empty() && !a.cached;
            if blind {
                seen.extend(0..keys);
            }
            for h in 0..q_heads {
                let at = |t: usize, width: usize| ((row * keys + t) * kv_heads + h / group) * width;
                let query = &q[((b * queries + j) * q_heads + h) * dim..][..dim];
                weights.clear();
                weights.extend(seen.iter().map(|t| {
                    let key = &k[at(*t, dim)..][..dim];
                    let score: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    if blind { 0.0 } else { score * a.scale.get() }
                }));
                softmax_row(&mut weights);
                let first = out.len();
                out.resize(first + v_dim, 0.0);
                for (t, w) in seen.iter().zip(&weights) {
                    let value = &v[at(*t, v_dim)..][..v_dim];
                    out[first..].iter_mut().zip(value).for_each(|(o, v)| *o += w * v);
                }
            }
        }
    }
    Ok(Tensor::from_f64(q_dtype(&operands[0])?, shape, &out)?)
}

fn q_dtype(q: &Tensor) -> Result<kiln_core::DType> {
    q.dtype().ok_or_else(|| "block storage".into())
}
