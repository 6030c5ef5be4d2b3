//! Builders for rope: tables of sines and cosines found under the broadcasts that spread them over heads.

use super::{add, permuted, reshaped, spread, ty};
use crate::egraph::facts::{Graph, attr, tensor};
use crate::egraph::term::{Attr, Head, Notation};
use egg::Id;
use kiln_ir::{Dim, Op};

/// Where the heads are among the axes of `x`.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// `[b, s, h, d]`, as `rope` has it.
    HeadsThird,
    /// `[b, h, s, d]`
    HeadsSecond,
}

impl Layout {
    fn heads(self) -> usize {
        match self {
            Layout::HeadsThird => 2,
            Layout::HeadsSecond => 1,
        }
    }
}

/// The operands that a class is a broadcast of, with the layout under which they are the same for all heads. An axis of size 1 may
/// follow the four.
fn spread_over_heads(graph: &Graph, id: Id) -> Vec<(Id, Layout)> {
    let mut found = vec![];
    for term in graph[id].nodes.iter().filter(|n| n.is("broadcast")) {
        let from = graph.find(term.children[0]);
        let (Some(t), Some(whole)) = (tensor(graph, from), tensor(graph, id)) else { continue };
        let axes = whole.ty.rank();
        if axes > 4 && !(axes == 5 && whole.ty.shape[4].is(1)) {
            continue;
        }
        for layout in [Layout::HeadsThird, Layout::HeadsSecond] {
            // The axis of the operand that lies under the heads.
            let axis = (layout.heads() + t.ty.rank()).checked_sub(axes);
            let sequence = (3 - layout.heads() + t.ty.rank()).checked_sub(axes);
            let repeats = axis.is_none_or(|a| t.ty.shape[a].is(1));
            if repeats && sequence.is_some() {
                found.push((from, layout));
            }
        }
    }
    found
}

/// What `find` sees in a class, or under reshapes that add axes of size 1 before its last axis.
fn under_reshapes(graph: &Graph, id: Id, find: &dyn Fn(&Graph, Id) -> Option<Id>) -> Option<Id> {
    if let Some(found) = find(graph, id) {
        return Some(found);
    }
    let last = tensor(graph, id)?.ty.shape.last()?.clone();
    graph[id].nodes.iter().filter(|n| n.is("reshape")).find_map(|n| {
        let inner = graph.find(n.children[0]);
        let keeps_last = tensor(graph, inner)?.ty.shape.last() == Some(&last);
        if keeps_last { find(graph, inner) } else { None }
    })
}

/// The half of a class that is the concatenation of one tensor with itself along its last axis.
fn half(graph: &Graph, id: Id) -> Option<Id> {
    let last = tensor(graph, id)?.ty.rank().checked_sub(1)?;
    graph[id].nodes.iter().filter(|n| n.is("concat") && n.operands().len() == 2).find_map(|n| {
        let (a, b) = (graph.find(n.children[0]), graph.find(n.children[1]));
        (a == b && attr(graph, n.children[2]) == Some(&Attr::Axis(last))).then_some(a)
    })
}

/// What a class repeats, each element of the last axis twice.
fn each_twice(graph: &Graph, id: Id) -> Option<Id> {
    let last = tensor(graph, id)?.ty.rank().checked_sub(1)?;
    let (axis, two) = (Attr::Axis(last), Attr::Dim(2.into()));
    let repeats = graph[id].nodes.iter().filter(|n| n.head == Head::Notation(Notation::Repeat));
    let mut repeats =
        repeats.filter(|n| attr(graph, n.children[1]) == Some(&axis) && attr(graph, n.children[2]) == Some(&two));
    repeats.next().map(|n| graph.find(n.children[0]))
}

/// The table `[b, s, d/2]`.
fn table(graph: &mut Graph, half: Id, want: &[Dim]) -> Option<Id> {
    let from = ty(graph, half)?;
    let [b, s, d] = want else { return None };
    let all = want.iter().cloned().product::<Dim>();
    let row = s.clone() * d.clone();
    if from.elements() == all && from.shape.first() == Some(b) {
        return reshaped(graph, half, want.to_vec());
    }
    // The same for all rows of the batch.
    if from.elements() == row {
        let one = reshaped(graph, half, vec![1.into(), s.clone(), d.clone()])?;
        return spread(graph, one, want);
    }
    None
}

fn rope(graph: &mut Graph, x: Id, cos: Id, sin: Id, layout: Layout) -> Option<Id> {
    let shape = ty(graph, x)?.shape;
    let s = shape[3 - layout.heads()].clone();
    let want = [shape[0].clone(), s, shape[3].exact_div(&2.into())?];
    let (cos, sin) = (table(graph, cos, &want)?, table(graph, sin, &want)?);
    match layout {
        Layout::HeadsThird => Some(add(graph, &Op::Rope, &[x, cos, sin])),
        Layout::HeadsSecond => {
            let x = permuted(graph, x, &[0, 2, 1, 3]);
            let y = add(graph, &Op::Rope, &[x, cos, sin]);
            Some(permuted(graph, y, &[0, 2, 1, 3]))
        }
    }
}

/// The tables of all heads that `find` sees in those of each head, and the layout of the heads.
fn tables(graph: &Graph, cos: Id, sin: Id, find: &dyn Fn(&Graph, Id) -> Option<Id>) -> Option<(Id, Id, Layout)> {
    let (cos, sin) = (spread_over_heads(graph, cos), spread_over_heads(graph, sin));
    cos.into_iter().find_map(|(c, layout)| {
        let c = under_reshapes(graph, c, find)?;
        let mut sines = sin.iter().filter(|(_, l)| *l == layout);
        let s = sines.find_map(|(s, _)| under_reshapes(graph, *s, find))?;
        Some((c, s, layout))
    })
}

fn from_tables(graph: &mut Graph, ids: &[Id], find: &dyn Fn(&Graph, Id) -> Option<Id>) -> Option<Id> {
    if ty(graph, ids[0])?.rank() != 4 {
        return None;
    }
    let (c, s, layout) = tables(graph, ids[1], ids[2], find)?;
    rope(graph, ids[0], c, s, layout)
}

pub(super) fn rotate(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    from_tables(graph, ids, &half)
}

pub(super) fn rotate_halves(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    from_tables(graph, ids, &|_, id| Some(id))
}

/// Of pairs `(x_2i, x_2i+1)`, those elements whose class this is, one of each pair: the tensor x, of four axes, and 0 or 1.
fn of_pairs(graph: &Graph, id: Id) -> Option<(Id, i64)> {
    let slices = |id: Id| {
        graph[id].nodes.iter().filter(|n| n.is("slice")).find_map(|n| {
            let (pairs, part) = (graph.find(n.children[0]), attr(graph, n.children[2])?);
            let Attr::Dim(start) = part else { return None };
            let shape = &tensor(graph, pairs)?.ty.shape;
            let last = attr(graph, n.children[1]) == Some(&Attr::Axis(4)) && shape.len() == 5 && shape[4].is(2);
            let start = start.as_const().filter(|_| last)?;
            let wide = [&shape[..3], &[shape[3].clone() * 2.into()]].concat();
            let mut reshapes = graph[pairs].nodes.iter().filter(|n| n.is("reshape")).map(|n| graph.find(n.children[0]));
            let x = reshapes.find(|x| tensor(graph, *x).is_some_and(|t| *t.ty.shape == *wide))?;
            Some((x, start))
        })
    };
    let id = graph.find(id);
    let inner = graph[id].nodes.iter().filter(|n| n.is("reshape")).map(|n| graph.find(n.children[0]));
    std::iter::once(id).chain(inner).find_map(slices)
}

/// Rope of the halves that a permutation of x makes of its pairs, and the pairs again: `[.., d/2, 2]`.
fn by_halves(graph: &mut Graph, x: Id, cos: Id, sin: Id, layout: Layout) -> Option<Id> {
    let shape = ty(graph, x)?.shape.to_vec();
    let half = shape[3].exact_div(&2.into())?;
    let pairs = [&shape[..3], &[half.clone(), 2.into()]].concat();
    let halves = [&shape[..3], &[2.into(), half]].concat();
    let x = reshaped(graph, x, pairs)?;
    let x = permuted(graph, x, &[0, 1, 2, 4, 3]);
    let x = reshaped(graph, x, shape)?;
    let y = rope(graph, x, cos, sin, layout)?;
    let y = reshaped(graph, y, halves)?;
    Some(permuted(graph, y, &[0, 1, 2, 4, 3]))
}

/// `(rotate_pairs a b cos sin s)`: the first elements a and second elements b of pairs, rotated, as pairs `[.., d/2, 2]`; s is a's
/// sizes and an axis of size 1, which they may have already.
pub(super) fn rotate_pairs(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[a, b, cos, sin, sizes] = ids else { return None };
    let ((x, 0), (y, 1)) = (of_pairs(graph, a)?, of_pairs(graph, b)?) else { return None };
    let Attr::Shape(sizes) = attr(graph, sizes)? else { return None };
    if x != y || sizes.len() != 5 || !sizes[4].is(1) || sizes[..4] != ty(graph, a)?.shape[..4] {
        return None;
    }
    let (cos, sin, layout) = tables(graph, cos, sin, &|_, id| Some(id))?;
    by_halves(graph, x, cos, sin, layout)
}

/// `(rotate_each x a b cos sin)`: x cos + (-b, a) sin, where a and b are the first and second elements of x's pairs, from tables as long
/// as x.
pub(super) fn rotate_each(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    let &[x, a, b, cos, sin] = ids else { return None };
    let ((of_a, 0), (of_b, 1)) = (of_pairs(graph, a)?, of_pairs(graph, b)?) else { return None };
    if of_a != of_b || of_a != graph.find(x) {
        return None;
    }
    let (cos, sin, layout) = tables(graph, cos, sin, &each_twice)?;
    let pairs = by_halves(graph, of_a, cos, sin, layout)?;
    let shape = ty(graph, x)?.shape.to_vec();
    reshaped(graph, pairs, shape)
}
