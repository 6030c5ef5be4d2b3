//! Builders for rope: tables of sines and cosines found under the broadcasts that spread them over heads.

use super::{add, permuted, reshaped, spread, ty};
use crate::egraph::facts::{Graph, tensor};
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

/// The operands that a class is a broadcast of, with the layout under which they are the same for all heads.
fn spread_over_heads(graph: &Graph, id: Id) -> Vec<(Id, Layout)> {
    let mut found = vec![];
    for term in graph[id].nodes.iter().filter(|n| n.is("broadcast")) {
        let from = graph.find(term.children[0]);
        let Some(t) = tensor(graph, from) else { continue };
        for layout in [Layout::HeadsThird, Layout::HeadsSecond] {
            // The axis of the operand that lies under the heads.
            let axis = (layout.heads() + t.ty.rank()).checked_sub(4);
            let sequence = (3 - layout.heads() + t.ty.rank()).checked_sub(4);
            let repeats = axis.is_none_or(|a| t.ty.shape[a].is(1));
            if repeats && sequence.is_some() {
                found.push((from, layout));
            }
        }
    }
    found
}

/// The first half of a class that is the concatenation of one tensor with itself along its last axis, under reshapes that
/// add axes of size 1.
fn half(graph: &Graph, id: Id) -> Option<Id> {
    let own = graph[id].nodes.iter().find(|n| n.is("concat") && n.operands().len() == 2);
    if let Some(term) = own {
        let (a, b) = (graph.find(term.children[0]), graph.find(term.children[1]));
        let last = tensor(graph, id)?.ty.rank() - 1;
        let along_last = super::attr(graph, term.children[2]) == Some(&super::Attr::Axis(last));
        return (a == b && along_last).then_some(a);
    }
    let last = tensor(graph, id)?.ty.shape.last()?.clone();
    graph[id].nodes.iter().filter(|n| n.is("reshape")).find_map(|n| {
        let inner = graph.find(n.children[0]);
        let keeps_last = tensor(graph, inner)?.ty.shape.last() == Some(&last);
        let direct = graph[inner].nodes.iter().any(|n| n.is("concat"));
        if keeps_last && direct { half(graph, inner) } else { None }
    })
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

fn from_tables(graph: &mut Graph, ids: &[Id], half: impl Fn(&Graph, Id) -> Option<Id>) -> Option<Id> {
    if ty(graph, ids[0])?.rank() != 4 {
        return None;
    }
    let (cos, sin) = (spread_over_heads(graph, ids[1]), spread_over_heads(graph, ids[2]));
    for (c, layout) in cos {
        for (s, _) in sin.iter().filter(|(_, l)| *l == layout) {
            let (Some(c), Some(s)) = (half(graph, c), half(graph, *s)) else { continue };
            if let Some(y) = rope(graph, ids[0], c, s, layout) {
                return Some(y);
            }
        }
    }
    None
}

pub(super) fn rotate(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    from_tables(graph, ids, half)
}

pub(super) fn rotate_halves(graph: &mut Graph, ids: &[Id]) -> Option<Id> {
    from_tables(graph, ids, |_, id| Some(id))
}
