//! Which values the inputs of an entry may have, as its graph tells.
//!
//! An input whose values address something, as they are or plus a constant, has a range: indices into a table, slots and starts of
//! a cache. A value outside has no meaning that a caller can have wished for, so [`declare`] writes the range to the argument, and whoever
//! runs the entry refuses other values: the interpreter and the runtime alike. Indices that are computed in any other way have no range:
//! they are clamped, as `specs/ops.md` says.

use crate::{ArgKind, DType, Dim, Function, Module, NodeId, Op, ValueRange};
use kiln_core::BinaryOp;

/// What one op asks of the values of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Number of the argument.
    pub arg: u32,
    /// The op.
    pub node: NodeId,
    /// Which of its operands.
    pub operand: usize,
    /// The values that it takes.
    pub range: ValueRange,
}

/// Declares the ranges of all entries' inputs, beside those that are declared already.
pub fn declare(module: &mut Module) {
    let entries: Vec<_> = module.entries().map(|(id, _)| id).collect();
    for id in entries {
        let demands = demands(&module.inline(id));
        let args = &mut module.functions[id.index()].args;
        for demand in demands {
            narrow(&mut args[demand.arg as usize].range, &demand.range);
        }
    }
}

/// A range that allows what both allow.
pub fn narrow(range: &mut Option<ValueRange>, other: &ValueRange) {
    *range = Some(range.as_ref().map_or_else(|| other.clone(), |range| range.and(other)));
}

/// What the ops of a function without calls ask of its inputs, in order.
pub fn demands(f: &Function) -> Vec<Demand> {
    let mut values: Vec<Vec<Term>> = Vec::with_capacity(f.len());
    let mut out = vec![];
    for (id, node) in f.nodes() {
        let shape = |operand: usize| &f.tensor(node.operands[operand]).shape;
        // What is asked of an operand, by its number.
        let asked: Vec<(usize, ValueRange)> = match &node.op {
            Op::Take { axis } | Op::Gather { axis } | Op::ScatterAdd { axis } => {
                vec![(1, below(&shape(0)[*axis], false))]
            }
            Op::CacheUpdate => {
                let (t, s) = (&shape(0)[1], &shape(1)[1]);
                // All tokens have a place; those of padding, which come before the first place, are as many as the cache is long at most.
                let starts = ValueRange { min: Dim::from(0) - t.clone(), max: t.clone() - s.clone(), distinct: false };
                vec![(2, below(&shape(0)[0], true)), (3, starts)]
            }
            Op::Attention(a) if a.cached => vec![(3, below(&shape(1)[0], false))],
            _ => vec![],
        };
        for (operand, range) in asked {
            out.extend(values[node.operands[operand].index()].iter().map(|term| Demand {
                arg: term.arg,
                node: id,
                operand,
                range: ValueRange {
                    min: range.min.clone() - Dim::from(term.offset),
                    max: range.max.clone() - Dim::from(term.offset),
                    distinct: range.distinct,
                },
            }));
        }
        values.push(terms(f, id, &values));
    }
    out
}

/// The rows of an axis.
fn below(size: &Dim, distinct: bool) -> ValueRange {
    ValueRange { min: 0.into(), max: size.clone() - 1.into(), distinct }
}

/// Elements of an input, each plus a constant.
#[derive(Clone, Copy, PartialEq)]
struct Term {
    arg: u32,
    offset: i64,
}

/// What a node's elements are; nothing if they are not all elements of inputs, or not every element of an input is among them.
fn terms(f: &Function, id: NodeId, values: &[Vec<Term>]) -> Vec<Term> {
    let node = f.node(id);
    let dtype = |id: NodeId| f.ty(id).tensor().and_then(|t| t.dtype());
    let of = |operand: usize| values[node.operands[operand].index()].clone();
    match &node.op {
        Op::Arg(i) if f.args[*i as usize].kind == ArgKind::Input && dtype(id).is_some_and(is_integer) => {
            vec![Term { arg: *i, offset: 0 }]
        }
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => of(0),
        Op::Cast(to) if dtype(node.operands[0]).is_some_and(|from| widens(from, *to)) => of(0),
        Op::Concat { .. } => {
            let mut all: Vec<Term> = vec![];
            for term in (0..node.operands.len()).flat_map(of) {
                if !all.contains(&term) {
                    all.push(term);
                }
            }
            all
        }
        Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) if dtype(id) == Some(DType::I64) => {
            let constant = |operand: usize| constant(f, node.operands[operand]);
            let (terms, offset) = match (op, constant(0), constant(1)) {
                (BinaryOp::Add, _, Some(c)) => (of(0), Some(c)),
                (BinaryOp::Add, Some(c), _) => (of(1), Some(c)),
                (_, _, Some(c)) => (of(0), c.checked_neg()),
                _ => (vec![], None),
            };
            let moved = |t: &Term| Some(Term { offset: t.offset.checked_add(offset?)?, ..*t });
            terms.iter().map(moved).collect::<Option<_>>().unwrap_or_default()
        }
        _ => vec![],
    }
}

fn is_integer(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32 | DType::I8 | DType::U8)
}

/// Whether converting keeps every value.
fn widens(from: DType, to: DType) -> bool {
    is_integer(from) && is_integer(to) && (from == to || from.size() < to.size())
}

/// The integer that a tensor holds everywhere, if the graph says it.
pub fn constant(f: &Function, id: NodeId) -> Option<i64> {
    let node = f.node(id);
    match &node.op {
        // Offsets are small; what a float does not hold exactly is none.
        Op::Constant(l) if is_integer(l.dtype()) => l.splat().filter(|v| v.abs() < 2f64.powi(53)).map(|v| v as i64),
        Op::Reshape(_) | Op::Broadcast(_) => constant(f, node.operands[0]),
        Op::Cast(to) if f.tensor(node.operands[0]).dtype().is_some_and(|from| widens(from, *to)) => {
            constant(f, node.operands[0])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::declare;
    use crate::text::parse;

    /// The ranges of the inputs of `@f` with this head and body.
    fn ranges(text: &str) -> Vec<String> {
        let symbols = "sym b in 1..=4\nsym s in 1..=8\nsym t in 1..=64\nsym rows in 1..=4\n";
        let mut module = parse(&format!("{symbols}{text}")).expect("parses");
        crate::verify(&module).expect("verifies");
        declare(&mut module);
        crate::verify(&module).expect("verifies");
        assert_eq!(parse(&module.to_string()).expect("parses"), module);
        let (_, f) = module.find("f").expect("there");
        f.args.iter().filter_map(|a| Some(format!("{} {}", a.name, a.range.as_ref()?))).collect()
    }

    #[test]
    fn indices_have_the_range_of_the_axis_through_views_casts_and_offsets() {
        let one = |body: &str| {
            ranges(&format!(
                "entry @f(%0: i32[b, s] input \"ids\", %1: f32[100, 2] param \"w\", %2: f32[10, s] input \"x\") {{\n{body}\n}}"
            ))
        };
        let cast = "%3: i64[b, s] = cast %0 {to = i64}\n%4: i64[] = constant {data = [2]}\n%5: i64[b, s] = broadcast %4 {shape = [b, s]}\n";
        assert_eq!(
            one(&format!("{cast} %6: f32[b, s, 2] = take %1, %3 {{axis = 0}}\nreturn \"y\" %6")),
            ["ids [0, 99]"]
        );
        let offset = |op: &str, a: u32, b: u32| {
            one(&format!(
                "{cast} %6: i64[b, s] = {op} %{a}, %{b}\n%7: i64[s, b] = transpose %6 {{perm = [1, 0]}}\n\
                 %8: i64[b*s] = reshape %7 {{shape = [b*s]}}\n%9: f32[b*s, 2] = take %1, %8 {{axis = 0}}\nreturn \"y\" %9"
            ))
        };
        assert_eq!(offset("add", 3, 5), ["ids [-2, 97]"]);
        assert_eq!(offset("add", 5, 3), ["ids [-2, 97]"]);
        assert_eq!(offset("sub", 3, 5), ["ids [2, 101]"]);
        // What is computed otherwise is clamped.
        assert_eq!(offset("sub", 5, 3), [""; 0]);
        assert_eq!(offset("max", 3, 5), [""; 0]);
        assert_eq!(offset("add", 3, 3), [""; 0]);
        let narrow = "%3: i8[b, s] = cast %0 {to = i8}\n%4: i64[b, s] = cast %3 {to = i64}\n";
        assert_eq!(one(&format!("{narrow} %6: f32[b, s, 2] = take %1, %4 {{axis = 0}}\nreturn \"y\" %6")), [""; 0]);
    }

    #[test]
    fn several_uses_narrow_the_range() {
        let text = r#"
        func @rows(%0: f32[7, 2] param "w", %1: i64[b, s] input "x") {
          %2: f32[b, s, 2] = take %0, %1 {axis = 0}
          return "y" %2
        }
        entry @f(%0: i64[b, s] input "ids" in [1, 50], %1: i64[b, s] input "other", %2: f32[7, 2] param "w", %3: f32[t, 2] input "table") {
          %4: (f32[b, s, 2]) = call @rows %2, %0
          %5: f32[b, s, 2] = get %4 {index = 0}
          %6: i64[2*b, s] = concat %0, %1 {axis = 0}
          %7: f32[2*b, s, 2] = take %3, %6 {axis = 0}
          return "y" %5, "z" %7
        }"#;
        assert_eq!(ranges(text), ["ids [1, min(t - 1, 6)]", "other [0, t - 1]"]);
    }

    #[test]
    fn slots_are_different_rows_and_starts_leave_room() {
        let text = r#"
        entry @f(%0: f32[rows, t, 2] state "c", %1: f32[b, s, 2] input "new", %2: i64[b] input "slots", %3: i64[b] input "starts") {
          %4: f32[rows, t, 2] = cache_update %0, %1, %2, %3
          %5: f32[b, t, 2] = take %4, %2 {axis = 0}
          return "y" %5, "c" %4 updates 0
        }"#;
        assert_eq!(ranges(text), ["slots [0, rows - 1] distinct", "starts [-t, t - s]"]);
        let text = r#"
        entry @f(%0: f32[rows, t, 2, 4] state "c", %1: f32[b, s, 2, 4] input "q", %2: i64[b] input "slots", %3: i64[b] input "starts") {
          %4: f32[b, s, 2, 4] = attention %1, %0, %0, %2, %3 {scale = 1.0, causal = true, cached = true, mask = false}
          return "y" %4, "c" %0 updates 0
        }"#;
        assert_eq!(ranges(text), ["slots [0, rows - 1]"]);
    }
}
