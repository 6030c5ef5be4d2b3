//! Movement of data: what it undoes, what it passes, and what it becomes part of. All laws are exact.

use super::{conditions::*, law::rw};
use crate::egraph::{Attr, Graph, Rule, Structural, add_op, attr, conclude, tensor};
use crate::rules::law::class::exact;
use egg::Id;
use kiln_ir::{Dim, Op};

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    let mut rules = vec![
        // What changes nothing.
        rw!("transpose-identity", exact; "(transpose ?x ?p)"                => "?x" if identity("?p")),
        rw!("reshape-identity",   exact; "(reshape ?x ?s)"                  => "?x" if has_shape(&["?x", "?s"])),
        rw!("broadcast-identity", exact; "(broadcast ?x ?s)"                => "?x" if has_shape(&["?x", "?s"])),
        rw!("slice-whole",        exact; "(slice ?x ?a ?s ?l)"              => "?x" if whole(&["?x", "?a", "?s", "?l"])),
        rw!("concat-one",         exact; "(concat ?x ?a)"                   => "?x"),
        // Two of a kind are one.
        rw!("transpose-twice",    exact; "(transpose (transpose ?x ?p) ?q)" => "(transpose ?x (then ?p ?q))"),
        rw!("reshape-twice",      exact; "(reshape (reshape ?x ?s) ?t)"     => "(reshape ?x ?t)"),
        rw!("broadcast-twice",    exact; "(broadcast (broadcast ?x ?s) ?t)" => "(broadcast ?x ?t)"),
        rw!("slice-twice",        exact; "(slice (slice ?x ?a ?s ?l) ?a ?t ?m)" => "(slice ?x ?a (plus ?s ?t) ?m)"),
        // A reduced axis that is dropped was one of size 1.
        rw!("sum-keeps",          exact; "(reduce_sum ?x ?a false)"         => "(drop_axis (reduce_sum ?x ?a true) ?a)"),
        rw!("max-keeps",          exact; "(reduce_max ?x ?a false)"         => "(drop_axis (reduce_max ?x ?a true) ?a)"),
        // The axes of a product say what a transpose of its operands would.
        rw!("dot-transpose-lhs",  exact; "(dot_general (transpose ?x ?p) ?y ?d)" => "(dot_general ?x ?y (dot_of_lhs ?p ?d))"),
        rw!("dot-transpose-rhs",  exact; "(dot_general ?x (transpose ?y ?p) ?d)" => "(dot_general ?x ?y (dot_of_rhs ?p ?d))"),
        // A choice against one value, and a softmax, pass a view.
        rw!("select-transpose",   exact; "(select ?m (transpose ?x ?p) ?c)" => "(transpose (select (transpose ?m (back ?p)) ?x (like ?c ?x)) ?p)" if uniform("?c")),
        rw!("select-reshape",     exact; "(select ?m (reshape ?x ?s) ?c)"   => "(reshape (select (reshape ?m (shape_of ?x)) ?x (like ?c ?x)) ?s)" if uniform("?c")),
        rw!("softmax-transpose",  exact; "(softmax (transpose ?x ?p) ?a)"   => "(transpose (softmax ?x (axis_before ?a ?p)) ?p)"),
        rw!("softmax-reshape",    exact; "(softmax (reshape ?x ?s) ?a)"     => "(reshape (softmax ?x (axis_under ?x ?s ?a)) ?s)"),
        // Repeating each index n times, as grouped heads do.
        rw!("repeat",             exact; "(reshape (broadcast ?x ?s) ?t)"   => "(repeated ?x ?s ?t)"),
        rw!("repeat-transpose",   exact; "(transpose (repeat ?x ?a ?n) ?p)" => "(repeat (transpose ?x ?p) (axis_after ?a ?p) ?n)"),
    ];
    // f(view(x)) = view(f(x)), for f of one operand, and of one operand and a constant.
    for f in ["neg", "exp", "log", "sqrt", "rsqrt", "cos", "sin", "tanh", "sigmoid", "silu"] {
        for (view, with) in [("reshape", "?s"), ("transpose", "?s"), ("broadcast", "?s")] {
            let (lhs, rhs) = (format!("({f} ({view} ?x {with}))"), format!("({view} ({f} ?x) {with})"));
            rules.push(rw!(format!("{f}-{view}"), exact; lhs => rhs));
        }
    }
    for f in ["add", "mul", "sub"] {
        for view in ["reshape", "transpose", "broadcast"] {
            let (lhs, rhs) = (format!("({f} ({view} ?x ?s) ?c)"), format!("({view} ({f} ?x (like ?c ?x)) ?s)"));
            rules.push(rw!(format!("{f}-constant-{view}"), exact; lhs => rhs if uniform("?c") if varied("?x")));
        }
    }
    rules.push(Rule::structural("slice-of-concat", exact, SliceOfConcat));
    rules.push(Rule::structural("concat-of-slices", exact, ConcatOfSlices));
    rules
}

/// `slice(concat(.., x, ..))` is `x`, or a slice of it, where the slice lies within one part.
struct SliceOfConcat;

fn slice_attrs(graph: &Graph, children: &[Id]) -> Option<(Id, usize, Dim, Dim)> {
    match (children, attr(graph, *children.get(1)?)?, attr(graph, *children.get(2)?)?, attr(graph, *children.get(3)?)?)
    {
        ([x, ..], Attr::Axis(a), Attr::Dim(s), Attr::Dim(l)) => Some((graph.find(*x), *a, s.clone(), l.clone())),
        _ => None,
    }
}

/// The slices that a class is.
fn slices(graph: &Graph, class: Id) -> Vec<(Id, usize, Dim, Dim)> {
    graph[class].nodes.iter().filter(|n| n.is("slice")).filter_map(|n| slice_attrs(graph, &n.children)).collect()
}

/// The part of a concatenation that holds `len` indices from `start`: the operand, and where in it they start.
fn part(graph: &Graph, parts: &[Id], axis: usize, start: &Dim, len: &Dim) -> Option<(Id, Dim)> {
    let (mut at, start, len) = (0, start.as_const()?, len.as_const()?);
    for p in parts {
        let size = tensor(graph, *p)?.ty.shape.get(axis)?.as_const()?;
        if start >= at && start + len <= at + size {
            return Some((*p, Dim::constant(start - at)));
        }
        at += size;
    }
    None
}

impl Structural for SliceOfConcat {
    fn finds(&self, graph: &Graph, class: Id) -> bool {
        graph[class].nodes.iter().any(|n| n.is("slice"))
    }

    fn apply(&self, graph: &mut Graph, class: Id, rule: &str) -> Vec<Id> {
        let mut changed = vec![];
        for (x, axis, start, len) in slices(graph, class) {
            let concats: Vec<Vec<Id>> = graph[x]
                .nodes
                .iter()
                .filter(|n| {
                    n.is("concat") && n.children.last().and_then(|a| attr(graph, *a)) == Some(&Attr::Axis(axis))
                })
                .map(|n| n.operands().to_vec())
                .collect();
            for parts in concats {
                if let Some((p, start)) = part(graph, &parts, axis, &start, &len) {
                    let whole = start.is(0) && tensor(graph, p).is_some_and(|t| t.ty.shape[axis] == len);
                    let to = if whole { p } else { add_op(graph, &Op::Slice { axis, start, len: len.clone() }, &[p]) };
                    changed.extend(conclude(graph, class, to, rule));
                }
            }
        }
        changed
    }
}

/// `concat(slice(x, 0..m), slice(x, m..n))` is `slice(x, 0..n)`.
struct ConcatOfSlices;

impl Structural for ConcatOfSlices {
    fn finds(&self, graph: &Graph, class: Id) -> bool {
        graph[class].nodes.iter().any(|n| n.is("concat") && n.children.len() > 2)
    }

    fn apply(&self, graph: &mut Graph, class: Id, rule: &str) -> Vec<Id> {
        let concats: Vec<(Vec<Id>, usize)> = graph[class]
            .nodes
            .iter()
            .filter(|n| n.is("concat") && n.children.len() > 2)
            .filter_map(|n| match attr(graph, *n.children.last()?)? {
                Attr::Axis(a) => Some((n.operands().to_vec(), *a)),
                _ => None,
            })
            .collect();
        let mut changed = vec![];
        for (parts, axis) in concats {
            let first = slices(graph, parts[0]).into_iter().filter(|(_, a, _, _)| *a == axis);
            for (x, _, start, len) in first.collect::<Vec<_>>() {
                let mut end = start.clone() + len;
                let adjacent = parts[1..].iter().all(|p| {
                    let next = slices(graph, *p).into_iter().find(|(y, a, s, _)| *y == x && *a == axis && *s == end);
                    next.map(|(_, _, _, l)| end = end.clone() + l).is_some()
                });
                if adjacent {
                    let all = add_op(graph, &Op::Slice { axis, start: start.clone(), len: end - start }, &[x]);
                    changed.extend(conclude(graph, class, all, rule));
                }
            }
        }
        changed
    }
}
