//! Builders for products with a matrix: what moves into the matrix, and chains of products.

use super::{add, permuted, reshaped, spread, ty};
use crate::egraph::facts::{Graph, attr, tensor};
use crate::egraph::term::Attr;
use egg::Id;
use kiln_ir::{BinaryOp, Dim, DotDims, Op};

/// The axis of `w` that pairs with the last axis of `x`, where that is the only summed one.
fn paired_axis(graph: &Graph, x: Id, d: Id) -> Option<usize> {
    let Attr::Dot(d) = attr(graph, d)? else { return None };
    let last = tensor(graph, x)?.ty.rank().checked_sub(1)?;
    (d.lhs_batch.is_empty() && d.lhs_contract == [last]).then(|| d.rhs_contract[0])
}

/// A tensor whose axes but the last have size 1, as a vector.
fn vector(graph: &mut Graph, v: Id) -> Option<Id> {
    let shape = ty(graph, v)?.shape;
    let (last, rest) = shape.split_last()?;
    if rest.iter().all(|d| d.is(1)) { reshaped(graph, v, vec![last.clone()]) } else { None }
}

pub(super) fn along(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let axis = paired_axis(graph, ids[1], ids[3])?;
    let w = ty(graph, ids[2])?;
    let g = vector(graph, ids[0])?;
    let mut shape = ty(graph, g)?.shape.to_vec();
    // The broadcast of a vector of size 1 is no vector along the axis.
    if shape[0] != w.shape[axis] {
        return None;
    }
    shape.resize(w.rank() - axis, Dim::constant(1));
    let g = reshaped(graph, g, shape)?;
    spread(graph, g, &w.shape)
}

pub(super) fn project(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let axis = paired_axis(graph, ids[1], ids[3])?;
    let b = vector(graph, ids[0])?;
    if ty(graph, b)?.shape[0] != ty(graph, ids[2])?.shape[axis] {
        return None;
    }
    let dims = DotDims { lhs_batch: vec![], rhs_batch: vec![], lhs_contract: vec![0], rhs_contract: vec![axis] };
    let sum = add(graph, &Op::DotGeneral(dims.clone()), &[b, ids[2]]);
    let Attr::Dot(d) = attr(graph, ids[3])?.clone() else { return None };
    let product = add(graph, &Op::DotGeneral(d), &[ids[1], ids[2]]);
    let shape = ty(graph, product)?.shape;
    spread(graph, sum, &shape)
}

/// The summed axis of the matrix in a product of that left operand's last axis.
fn matrix_axis(graph: &Graph, x: Id, matrix: Id, d: Id) -> Option<usize> {
    if tensor(graph, matrix)?.ty.rank() == 2 { paired_axis(graph, x, d) } else { None }
}

/// `x W` over the last axis of x and that axis of W.
fn by_matrix(graph: &mut Graph, x: Id, matrix: Id, summed: usize) -> Option<Id> {
    let dims = DotDims { rhs_contract: vec![summed], ..DotDims::linear(ty(graph, x)?.rank()) };
    Some(add(graph, &Op::DotGeneral(dims), &[x, matrix]))
}

/// `(x A) B = x (A B)`; the product of the matrices is laid out as B is.
pub(super) fn chained(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[x, a, d, b, e] = ids else { return None };
    let first = matrix_axis(graph, x, a, d)?;
    // The inner product has as many axes as x, and its last are A's free ones.
    let second = matrix_axis(graph, x, b, e)?;
    let (lhs, rhs, lhs_axis, rhs_axis) =
        if second == 0 { (a, b, 1 - first, second) } else { (b, a, second, 1 - first) };
    let dims =
        DotDims { lhs_batch: vec![], rhs_batch: vec![], lhs_contract: vec![lhs_axis], rhs_contract: vec![rhs_axis] };
    let product = add(graph, &Op::DotGeneral(dims), &[lhs, rhs]);
    by_matrix(graph, x, product, second)
}

/// `x (A B) = (x A) B`, or `(x B) A` where x is summed with B's free axis.
pub(super) fn unchained(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[x, a, b, e, d] = ids else { return None };
    let inner = match attr(graph, e)? {
        Attr::Dot(e) if e.lhs_batch.is_empty() && e.lhs_contract.len() == 1 => e.clone(),
        _ => return None,
    };
    if [a, b].iter().any(|m| tensor(graph, *m).is_none_or(|m| m.ty.rank() != 2)) {
        return None;
    }
    let (of_a, of_b) = (inner.lhs_contract[0], inner.rhs_contract[0]);
    let (first, second) = match paired_axis(graph, x, d)? {
        0 => ((a, 1 - of_a), (b, of_b)),
        _ => ((b, 1 - of_b), (a, of_a)),
    };
    let y = by_matrix(graph, x, first.0, first.1)?;
    by_matrix(graph, y, second.0, second.1)
}

pub(super) fn laid(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let [Attr::Dot(e), Attr::Dot(d)] = [attr(graph, ids[1])?, attr(graph, ids[2])?] else { return None };
    if e.lhs_batch.len() + d.lhs_batch.len() > 0 || e.lhs_contract != d.lhs_contract || e.lhs_contract.len() != 1 {
        return None;
    }
    let same = e.rhs_contract == d.rhs_contract;
    let matrix = tensor(graph, ids[0])?.ty.rank() == 2;
    matrix.then(|| permuted(graph, ids[0], if same { &[0, 1] } else { &[1, 0] }))
}

/// Whether sizes split the last axis of a shape, and the permutation moves nothing but its parts.
pub fn splits_last(shape: &[Dim], to: &[Dim], perm: &[usize]) -> bool {
    let Some((last, rows)) = shape.split_last() else { return false };
    let n = rows.len();
    to.len() > n
        && to[..n] == *rows
        && to[n..].iter().cloned().product::<Dim>() == *last
        && perm.len() == to.len()
        && perm[..n].iter().copied().eq(0..n)
}

/// How many sums with vectors over a product are passed.
const SUMS: usize = 2;

pub(super) fn permuted_columns(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[y, s, p] = ids else { return None };
    let (Attr::Shape(to), Attr::Perm(perm)) = (attr(graph, s)?.clone(), attr(graph, p)?.clone()) else { return None };
    let rows = ty(graph, y)?.rank() - 1;
    if !splits_last(&ty(graph, y)?.shape, &to, &perm) {
        return None;
    }
    let order = Order { parts: to[rows..].to_vec(), perm: perm[rows..].iter().map(|a| a - rows).collect() };
    let y = order.product(graph, y, SUMS)?;
    let shape = perm.iter().map(|a| to[*a].clone()).collect();
    reshaped(graph, y, shape)
}

/// An order of columns: an axis split into parts, and the parts permuted.
struct Order {
    parts: Vec<Dim>,
    perm: Vec<usize>,
}

impl Order {
    /// A static tensor with that axis, one of its two at most, in the order.
    fn apply(&self, graph: &mut Graph, x: Id, axis: usize) -> Option<Id> {
        let shape = ty(graph, x)?.shape;
        let mut split = shape[..axis].to_vec();
        split.extend(self.parts.iter().cloned());
        split.extend(shape[axis + 1..].iter().cloned());
        let mut perm: Vec<usize> = (0..split.len()).collect();
        for (i, p) in self.perm.iter().enumerate() {
            perm[axis + i] = axis + p;
        }
        let x = reshaped(graph, x, split)?;
        let x = permuted(graph, x, &perm);
        reshaped(graph, x, shape.to_vec())
    }

    /// A product with a static matrix, or such a product and static vectors, with its columns in the order.
    fn product(&self, graph: &mut Graph, y: Id, sums: usize) -> Option<Id> {
        let y = graph.find(y);
        let fixed = |id: Id, rank: usize| tensor(graph, id).is_some_and(|t| t.fixed && t.ty.rank() == rank);
        let product = graph[y].nodes.iter().find_map(|n| {
            let [x, w, d] = n.children[..] else { return None };
            if !n.is("dot_general") || !fixed(w, 2) || fixed(x, 2) {
                return None;
            }
            Some((x, w, matrix_axis(graph, x, w, d)?))
        });
        if let Some((x, w, summed)) = product {
            let w = self.apply(graph, w, 1 - summed)?;
            return by_matrix(graph, x, w, summed);
        }
        let (z, vector) = graph[y].nodes.iter().filter(|n| sums > 0 && n.is("add")).find_map(|n| {
            let spread = graph[graph.find(n.children[1])].nodes.iter().find(|n| n.is("broadcast"))?;
            fixed(spread.children[0], 1).then_some((n.children[0], spread.children[0]))
        })?;
        let z = self.product(graph, z, sums - 1)?;
        let vector = self.apply(graph, vector, 0)?;
        let shape = ty(graph, z)?.shape;
        let vector = spread(graph, vector, &shape)?;
        Some(add(graph, &Op::Binary(BinaryOp::Add), &[z, vector]))
    }
}
