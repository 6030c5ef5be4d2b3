//! Builders for attention: from products of any layout to the notations `scores` and `weigh`, and from these to the op.

use super::{add, both, permuted, reshaped, ty, value};
use crate::egraph::facts::{Graph, attr, mark, tensor};
use crate::egraph::index::{Affine, Atom, Mask};
use crate::egraph::term::{ABSENT, Attr, Head, Notation, Term};
use egg::Id;
use kiln_ir::{AttentionAttrs, DType, Dim, DotDims, Op, Real};

/// How the axes of a product with two batch axes are `[b, h, s, t]`, or `[b, hk, s, g, t]` where `g` query heads share a key head.
struct Heads {
    /// Axes of the left operand as `[b, h, s, summed]`, or `[b, hk, g, s, summed]`.
    lhs: Vec<usize>,
    /// The free axis of the right operand.
    rhs_free: usize,
    /// Whether, in the product, `s` comes before `g`.
    group_last: bool,
    dims: DotDims,
}

fn heads(graph: &Graph, ids: &[Id]) -> Option<Heads> {
    let Attr::Dot(d) = attr(graph, *ids.get(2)?)? else { return None };
    let (lhs, rhs) = (&tensor(graph, ids[0])?.ty, &tensor(graph, ids[1])?.ty);
    if d.lhs_batch.len() != 2 || d.lhs_contract.len() != 1 || !lhs.dtype().is_some_and(DType::is_float) {
        return None;
    }
    let lhs_free = DotDims::free(lhs.rank(), &d.lhs_batch, &d.lhs_contract);
    let &[rhs_free] = &DotDims::free(rhs.rank(), &d.rhs_batch, &d.rhs_contract)[..] else { return None };
    let (b, h, summed) = (d.lhs_batch[0], d.lhs_batch[1], d.lhs_contract[0]);
    let constant = |axis: usize| lhs.shape[axis].as_const().is_some();
    let (lhs, group_last) = match lhs_free[..] {
        [s] => (vec![b, h, s, summed], false),
        [s, g] if constant(g) => (vec![b, h, g, s, summed], true),
        [g, s] if constant(g) => (vec![b, h, g, s, summed], false),
        _ => return None,
    };
    Some(Heads { lhs, rhs_free, group_last, dims: d.clone() })
}

/// `[b, hk, g, ..]` as `[b, hk * g, ..]`.
fn merged(shape: &[Dim]) -> Vec<Dim> {
    let mut out = shape.to_vec();
    let g = out.remove(2);
    out[1] = out[1].clone() * g;
    out
}

/// `q [b, s, h, d]` and `k [b, t, hk, d]` from operands of any layout.
pub(super) fn scores_of(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let h = heads(graph, ids)?;
    let mut q = permuted(graph, ids[0], &h.lhs);
    let by_group = ty(graph, q)?.shape;
    if by_group.len() == 5 {
        // As [b, s, hk, g, d], so that a q made by a reshape is found again under it.
        q = permuted(graph, q, &[0, 3, 1, 2, 4]);
        let wide = ty(graph, q)?.shape;
        let shape = vec![wide[0].clone(), wide[1].clone(), wide[2].clone() * wide[3].clone(), wide[4].clone()];
        q = reshaped(graph, q, shape)?;
    } else {
        q = permuted(graph, q, &[0, 2, 1, 3]);
    }
    let d = &h.dims;
    let k = permuted(graph, ids[1], &[d.rhs_batch[0], h.rhs_free, d.rhs_batch[1], d.rhs_contract[0]]);
    let attrs = AttentionAttrs { scale: Real::new(1.0), causal: false, window: None, cached: false, mask: false };
    let none = graph.add(Term::mark(ABSENT));
    let attrs = graph.add(Term::attr(Attr::Attention(attrs)));
    let scores = graph.add(Term::new(Head::Notation(Notation::Scores), [q, k, none, none, none, attrs]));
    if by_group.len() == 4 {
        return Some(scores);
    }
    let mut shape = by_group.to_vec();
    shape[4] = ty(graph, scores)?.shape[3].clone();
    let scores = reshaped(graph, scores, shape)?;
    Some(if h.group_last { permuted(graph, scores, &[0, 1, 3, 2, 4]) } else { scores })
}

/// `p [b, h, s, t]` and `v [b, t, hk, d]` from operands of any layout; the product is `[b, h, s, d]`, or by groups.
pub(super) fn weigh_of(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let h = heads(graph, ids)?;
    let mut p = permuted(graph, ids[0], &h.lhs);
    let by_group = ty(graph, p)?.shape;
    if by_group.len() == 5 {
        p = reshaped(graph, p, merged(&by_group))?;
    }
    let d = &h.dims;
    let v = permuted(graph, ids[1], &[d.rhs_batch[0], d.rhs_contract[0], d.rhs_batch[1], h.rhs_free]);
    let sums = graph.add(Term::new(Head::Notation(Notation::Weigh), [p, v]));
    if by_group.len() == 4 {
        return Some(permuted(graph, sums, &[0, 2, 1, 3]));
    }
    let (b, s, dv) = (by_group[0].clone(), by_group[3].clone(), ty(graph, sums)?.shape[3].clone());
    let sums = reshaped(graph, sums, vec![b, s, by_group[1].clone(), by_group[2].clone(), dv])?;
    // [b, s, hk, g, d] as [b, hk, s, g, d] or [b, hk, g, s, d]
    Some(permuted(graph, sums, if h.group_last { &[0, 2, 1, 3, 4] } else { &[0, 2, 3, 1, 4] }))
}

pub(super) fn scaled(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let Attr::Attention(a) = attr(graph, ids[0])? else { return None };
    let scale = Real::new(a.scale.get() * value(graph, ids[1])?.get());
    let a = AttentionAttrs { scale, ..a.clone() };
    Some(graph.add(Term::attr(Attr::Attention(a))))
}

/// Scores `(q k slots starts mask attributes)` where, besides, `m` holds.
pub(super) fn hide(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let mask = tensor(graph, ids[6])?.mask.clone()?;
    hidden(graph, ids, &mask)
}

pub(super) fn hide_bias(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let mask = tensor(graph, ids[6])?.bias.clone()?;
    hidden(graph, ids, &mask)
}

/// What one inequality over `[b, h, s, t]` says in attention's words.
enum Meaning {
    /// t <= s, counted from the row's start if it has one.
    Causal,
    /// t > s - window.
    Window(i64),
}

fn meaning(a: &Affine) -> Option<(Meaning, Option<Id>)> {
    let (m, sign) = match a.coefficients[..] {
        [0, 0, -1, 1] if a.constant.is(0) => (Meaning::Causal, -1),
        [0, 0, 1, -1] => (Meaning::Window(1 - a.constant.as_const()?), 1),
        _ => return None,
    };
    match a.rows {
        Some(r) if r.axis != 0 || r.sign != sign => None,
        rows => Some((m, rows.map(|r| r.class))),
    }
}

fn hidden(graph: &mut Graph, ids: &[Id], mask: &Mask) -> Option<Id> {
    let &[q, k, slots, mut starts, mut given, attrs, _] = ids else { return None };
    let Attr::Attention(mut a) = attr(graph, attrs)?.clone() else { return None };
    let absent = |graph: &Graph, id| mark(graph, id) == Some(ABSENT);
    for atom in &mask.0 {
        match atom {
            Atom::Given { class, axes: [0, 3] } => {
                given = if absent(graph, given) { *class } else { both(graph, given, *class) };
            }
            Atom::Given { .. } => return None,
            Atom::AtMostZero(inequality) => {
                let (meaning, rows) = meaning(inequality)?;
                // All inequalities count from one start.
                let fresh = !a.causal && a.window.is_none();
                match (rows, absent(graph, starts)) {
                    (Some(r), true) if fresh => starts = r,
                    (Some(r), false) if graph.find(starts) == graph.find(r) => {}
                    (None, true) => {}
                    _ => return None,
                }
                match meaning {
                    Meaning::Causal => a.causal = true,
                    Meaning::Window(w) => a.window = Some(a.window.map_or(w, |v| v.min(w))),
                }
            }
        }
    }
    let a = graph.add(Term::attr(Attr::Attention(a)));
    Some(graph.add(Term::new(Head::Notation(Notation::Scores), [q, k, slots, starts, given, a])))
}

/// `attention`, from `(q k v slots starts mask attributes)`.
pub(super) fn attend(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[q, k, v, slots, mut starts, mask, attrs] = ids else { return None };
    let Attr::Attention(a) = attr(graph, attrs)?.clone() else { return None };
    let present = |graph: &Graph, id| mark(graph, id) != Some(ABSENT);
    // Where nothing is counted from the starts, any do.
    if present(graph, slots) && !present(graph, starts) && !a.causal && a.window.is_none() {
        starts = slots;
    }
    let batch: Dim = ty(graph, q)?.shape.first()?.clone();
    // Keys and values of different heads: one of them is still repeated, and comes without that too.
    let (keys, values) = (ty(graph, k)?.shape, ty(graph, v)?.shape);
    if keys[..3] != values[..3] || (!present(graph, slots) && keys[0] != batch) {
        return None;
    }
    let mut operands = vec![q, k, v];
    let cached = present(graph, starts);
    match (present(graph, slots), cached) {
        (_, false) if present(graph, slots) => return None,
        (false, true) => {
            let rows = add(graph, &Op::Iota { shape: vec![batch], axis: 0 }, &[]);
            operands.extend([rows, starts]);
        }
        (true, true) => operands.extend([slots, starts]),
        _ => {}
    }
    let mask_given = present(graph, mask);
    if mask_given {
        operands.push(mask);
    }
    Some(add(graph, &Op::Attention(AttentionAttrs { cached, mask: mask_given, ..a }), &operands))
}

/// As [`attend`] with one more operand `any [b, s, h, d]`: true where a query sees a key, by this very mask.
pub(super) fn attend_seen(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[q, k, _, slots, starts, mask, attrs, any] = ids else { return None };
    let Attr::Attention(a) = attr(graph, attrs)?.clone() else { return None };
    // [b, s, h, d, t] as [b, h, s, t]
    let seen = tensor(graph, any)?.seen.as_ref()?.moved(&vec![Some(0), Some(2), None, None, Some(3)], 4)?;
    let none = graph.add(Term::mark(ABSENT));
    let plain = AttentionAttrs { causal: false, window: None, ..a };
    let plain = graph.add(Term::attr(Attr::Attention(plain)));
    let by_any = hidden(graph, &[q, k, slots, none, none, plain, any], &seen)?;
    let scores = graph.add(Term::new(Head::Notation(Notation::Scores), [q, k, slots, starts, mask, attrs]));
    if graph.find(by_any) == graph.find(scores) { attend(graph, &ids[..7]) } else { None }
}

/// The op, its attributes spelled out: words that are present are true.
pub(super) fn attention_of(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let (&[q, k, v, scale], words) = ids.split_first_chunk::<4>()?;
    let Attr::Real(scale) = *attr(graph, scale)? else { return None };
    let mut a = AttentionAttrs { scale, causal: false, window: None, cached: false, mask: false };
    let mut operands = vec![q, k, v];
    for id in words {
        match mark(graph, *id) {
            Some("causal") => a.causal = true,
            Some("cached") => a.cached = true,
            Some("mask") => a.mask = true,
            Some(_) => return None,
            None => operands.push(*id),
        }
    }
    Some(add(graph, &Op::Attention(a), &operands))
}
