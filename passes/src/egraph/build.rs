//! Builders: the functions that the right side of a law may name, `(then ?p ?q)`. Each builds a term from the classes
//! it is given, or gives none, and then the law says nothing.

use super::facts::{Graph, attr, tensor};
use super::term::{Attr, Head, Notation, Term};
use egg::Id;
use kiln_ir::{BinaryOp, DotDims, Op, ReduceOp};

mod attention;
mod parts;
mod projection;
mod rotary;

pub use parts::{add, constant, permuted, reshaped, spread, ty};
pub use projection::splits_last;

use parts::{both, filled, value};

type Builder = fn(&mut Graph, &[Id]) -> Option<Id>;

#[rustfmt::skip]
const BUILDERS: &[(&str, Builder)] = &[
    // attributes
    ("shape_of",      shape_of),               // (shape_of x): x's sizes
    ("real",          real),                   // (real c): the value of a tensor of one value
    ("then",          then),                   // (then p q): the permutation p, then q
    ("plus",          plus),                   // (plus a b): the sum of two sizes
    ("dot_of_lhs",    dot_of_lhs),             // (dot_of_lhs p d): d with the left axes as they were before permutation p
    ("dot_of_rhs",    dot_of_rhs),             // (dot_of_rhs p d): likewise for the right axes
    ("axis_before",   axis_before),            // (axis_before a p): the axis that permutation p puts at a
    ("axis_under",    axis_under),             // (axis_under x s a): the axis of x that is axis a after a reshape to s
    ("back",          back),                   // (back p): the inverse permutation
    ("axis_after",    axis_after),             // (axis_after a p): where permutation p puts axis a
    ("scaled",        attention::scaled),      // (scaled a c): attention attributes with c times the scale
    // tensors
    ("ones",          ones),                   // (ones x): a constant of x's type
    ("zeros",         zeros),
    ("last_ones",     last_ones),              // (last_ones x): a vector as long as x's last axis
    ("like",          like),                   // (like c x): the value of c, or the number c, in x's type
    ("drop_axis",     drop_axis),              // (drop_axis x a): x without its axis a of size 1
    ("along",         projection::along),                  // (along g x w d): g, along x's last axis, as a factor of w in dot_general(x, w) {d}
    ("project",       projection::project),                // (project b x w d): what b, along x's last axis, adds to dot_general(x, w) {d}
    ("chained",       projection::chained),    // (chained x a d b e): dot(dot(x, a) {d}, b) {e} as x by the product of a and b
    ("unchained",     projection::unchained),  // (unchained x a b e d): dot(x, dot(a, b) {e}) {d} as x by one after the other
    ("laid",          projection::laid),       // (laid v e d): the matrix v of a product {e} as that of a product {d}
    ("permuted_columns", projection::permuted_columns), // (permuted_columns y s p): transpose(reshape(y, s), p), y's columns in their new order
    ("centred",       centred),                // (centred x a n): x less its mean along axis a, n being one over its size
    ("repeated",      repeated),               // (repeated x s t): reshape(broadcast(x, s), t) as a repetition
    ("scores_of",     attention::scores_of),   // (scores_of q k d): dot_general(q, k) {d} as scores
    ("hide",          attention::hide),        // (hide q k slots starts mask a m): those scores where m holds
    ("hide_bias",     attention::hide_bias),   // likewise where the bias m is 0
    ("weigh_of",      attention::weigh_of),    // (weigh_of p v d): dot_general(p, v) {d} as weighted sums
    ("attend",        attention::attend),      // (attend q k v slots starts mask a): the op
    ("attend_seen",   attention::attend_seen), // (attend_seen q k v slots starts mask a any): likewise, zero where not any
    ("attention_of",  attention::attention_of), // (attention_of q k v scale [causal] [cached slots starts] [mask m]): the op
    ("rotate",        rotary::rotate),         // (rotate x cos sin): rope, from tables of x's shape whose halves are equal
    ("rotate_halves", rotary::rotate_halves),  // (rotate_halves x cos sin): rope, from tables of half of x
    ("rotate_pairs",  rotary::rotate_pairs),   // (rotate_pairs a b cos sin s): pairs (a, b) rotated by rope on halves; s is a's sizes and one of 1
    ("rotate_each",   rotary::rotate_each),    // (rotate_each x a b cos sin): likewise of x's own pairs, from tables of x's shape
];

/// The builder's name, if there is one.
pub fn name(text: &str) -> Option<&'static str> {
    BUILDERS.iter().find(|(n, _)| *n == text).map(|(n, _)| *n)
}

/// Calls the builder of that name.
pub fn call(name: &str, graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let (_, f) = BUILDERS.iter().find(|(n, _)| *n == name)?;
    f(graph, ids)
}

fn constant_like(graph: &mut Graph, like: Id, value: f64) -> Option<Id> {
    let ty = ty(graph, like)?;
    let shape: Option<Vec<usize>> = ty.shape.iter().map(|d| usize::try_from(d.as_const()?).ok()).collect();
    constant(graph, ty.dtype()?, &shape?, value)
}

fn last_ones(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let ty = ty(graph, *ids.first()?)?;
    let last = usize::try_from(ty.shape.last()?.as_const()?).ok()?;
    constant(graph, ty.dtype()?, &[last], 1.0)
}

fn shape_of(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let shape = ty(graph, *ids.first()?)?.shape.to_vec();
    Some(graph.add(Term::attr(Attr::Shape(shape))))
}

fn real(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let value = value(graph, *ids.first()?)?;
    Some(graph.add(Term::attr(Attr::Real(value))))
}

fn then(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Perm(p), Attr::Perm(q)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let both: Option<Vec<usize>> = q.iter().map(|i| p.get(*i).copied()).collect();
    let both = both?;
    Some(graph.add(Term::attr(Attr::Perm(both))))
}

fn plus(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Dim(a), Attr::Dim(b)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let sum = a.clone() + b.clone();
    Some(graph.add(Term::attr(Attr::Dim(sum))))
}

fn axis_after(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Axis(a), Attr::Perm(p)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let axis = p.iter().position(|i| i == a)?;
    Some(graph.add(Term::attr(Attr::Axis(axis))))
}

fn axis_before(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Axis(a), Attr::Perm(p)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let axis = *p.get(*a)?;
    Some(graph.add(Term::attr(Attr::Axis(axis))))
}

fn axis_under(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Shape(s), Attr::Axis(a)] = [attr(graph, ids[1])?, attr(graph, ids[2])?] else { return None };
    let map = super::index::reshape(&tensor(graph, ids[0])?.ty.shape, s)?;
    let axis = map.iter().position(|to| *to == Some(*a))?;
    Some(graph.add(Term::attr(Attr::Axis(axis))))
}

fn back(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let Attr::Perm(p) = attr(graph, ids[0])? else { return None };
    let inverse: Option<Vec<usize>> = (0..p.len()).map(|i| p.iter().position(|j| *j == i)).collect();
    let inverse = inverse?;
    Some(graph.add(Term::attr(Attr::Perm(inverse))))
}

/// Axes before the permutation; the free ones must keep their order, which the result's axes follow.
fn unpermuted(perm: &[usize], batch: &[usize], contract: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    let before = |axes: &[usize]| axes.iter().map(|a| perm.get(*a).copied()).collect::<Option<Vec<_>>>();
    let free = before(&DotDims::free(perm.len(), batch, contract))?;
    free.is_sorted().then_some((before(batch)?, before(contract)?))
}

fn dot_of_lhs(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Perm(p), Attr::Dot(d)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let (lhs_batch, lhs_contract) = unpermuted(p, &d.lhs_batch, &d.lhs_contract)?;
    let dims = DotDims { lhs_batch, lhs_contract, ..d.clone() };
    Some(graph.add(Term::attr(Attr::Dot(dims))))
}

fn dot_of_rhs(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Perm(p), Attr::Dot(d)] = [attr(graph, ids[0])?, attr(graph, ids[1])?] else { return None };
    let (rhs_batch, rhs_contract) = unpermuted(p, &d.rhs_batch, &d.rhs_contract)?;
    let dims = DotDims { rhs_batch, rhs_contract, ..d.clone() };
    Some(graph.add(Term::attr(Attr::Dot(dims))))
}

fn ones(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    constant_like(graph, *ids.first()?, 1.0)
}

fn zeros(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    constant_like(graph, *ids.first()?, 0.0)
}

fn like(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let value = match attr(graph, ids[0]) {
        Some(Attr::Real(r)) => *r,
        _ => tensor(graph, ids[0])?.splat?,
    };
    let ty = ty(graph, ids[1])?;
    filled(graph, value.get(), &ty)
}

fn drop_axis(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let Attr::Axis(a) = attr(graph, ids[1])? else { return None };
    let mut shape = ty(graph, ids[0])?.shape.to_vec();
    if *a >= shape.len() || !shape.remove(*a).is(1) {
        return None;
    }
    reshaped(graph, ids[0], shape)
}

fn centred(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[x, axis, factor] = ids else { return None };
    let Attr::Axis(axis) = *attr(graph, axis)? else { return None };
    let sum = add(graph, &Op::Reduce { op: ReduceOp::Sum, axis, keep: true }, &[x]);
    let mean = add(graph, &Op::Binary(BinaryOp::Mul), &[sum, factor]);
    let shape = ty(graph, x)?.shape;
    let mean = spread(graph, mean, &shape)?;
    Some(add(graph, &Op::Binary(BinaryOp::Sub), &[x, mean]))
}

/// `reshape(broadcast(x [.., m, 1, ..], [.., m, n, ..]), [.., m·n, ..])`
fn repeated(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let x = ty(graph, ids[0])?;
    let [Attr::Shape(wide), Attr::Shape(to)] = [attr(graph, ids[1])?, attr(graph, ids[2])?] else { return None };
    if x.rank() != wide.len() || to.len() + 1 != wide.len() {
        return None;
    }
    let differing: Vec<usize> = (0..wide.len()).filter(|i| wide[*i] != x.shape[*i]).collect();
    let [axis] = differing[..] else { return None };
    let before = axis.checked_sub(1)?;
    let mut merged = wide.clone();
    let n = merged.remove(axis);
    merged[before] = merged[before].clone() * n.clone();
    if merged != *to {
        return None;
    }
    let mut narrow = x.shape.to_vec();
    narrow.remove(axis);
    let narrow = reshaped(graph, ids[0], narrow)?;
    let axis = graph.add(Term::attr(Attr::Axis(before)));
    let n = graph.add(Term::attr(Attr::Dim(n)));
    Some(graph.add(Term::new(Head::Notation(Notation::Repeat), [narrow, axis, n])))
}
