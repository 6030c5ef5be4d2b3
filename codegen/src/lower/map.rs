//! Elementwise kernels: rows of the index space, vectorised along the innermost axis.

use super::{
    Env,
    builder::{Builder, Ix, Val},
    program::{Args, Operand, Point, evaluate, uniform_values, write},
};
use crate::CodegenError;
use kiln_core::{Access, ElementOp, MapSpec, Program, Size, Write};

/// A map whose neighbouring axes were merged where every operand walks them as one.
struct Collapsed {
    /// Each extent as a product.
    extents: Vec<Vec<Size>>,
    reads: Vec<Access>,
    program: Program,
    writes: Vec<Write>,
}

/// Whether one step along `outer` is `extent` steps along `inner`.
fn walks_as_one(outer: Size, inner: Size, extent: &[Size]) -> bool {
    match (outer, inner, extent) {
        (Size::Const(0), Size::Const(0), _) => true,
        (Size::Const(o), Size::Const(i), _) => {
            let product = extent.iter().try_fold(1i64, |p, s| match s {
                Size::Const(c) => p.checked_mul(*c),
                Size::Arg(_) => None,
            });
            product.and_then(|p| p.checked_mul(i)) == Some(o)
        }
        (Size::Arg(o), Size::Const(1), [Size::Arg(e)]) => o == *e,
        _ => false,
    }
}

fn collapse(spec: &MapSpec) -> Collapsed {
    let mut c = Collapsed {
        extents: spec.extents.iter().map(|e| vec![*e]).collect(),
        reads: spec.reads.clone(),
        program: spec.program.clone(),
        writes: spec.writes.clone(),
    };
    let mut axis = c.extents.len();
    while axis >= 2 {
        axis -= 1;
        let (outer, inner) = (axis - 1, axis);
        let uses = |p: &Program, a: usize| p.insts.iter().any(|i| i.op == ElementOp::Coord(a as u32));
        let single = c.extents[outer] == [Size::Const(1)];
        let one = |a: &Access| single || walks_as_one(a.strides[outer], a.strides[inner], &c.extents[inner]);
        let coords_free = !uses(&c.program, outer) && (single || !uses(&c.program, inner));
        if !coords_free || !c.reads.iter().chain(c.writes.iter().map(|w| &w.access)).all(one) {
            continue;
        }
        let moved = c.extents.remove(outer);
        if !single {
            c.extents[outer].extend(moved);
        }
        for access in c.reads.iter_mut().chain(c.writes.iter_mut().map(|w| &mut w.access)) {
            access.strides.remove(outer);
        }
        for inst in &mut c.program.insts {
            if let ElementOp::Coord(a) = &mut inst.op
                && *a as usize > outer
            {
                *a -= 1;
            }
        }
    }
    c
}

/// A program with its operands, to be run along an axis.
pub struct Along<'a> {
    /// The program.
    pub program: &'a Program,
    /// What it reads.
    pub reads: &'a [Operand],
    /// What it writes, with the operands.
    pub writes: &'a [(&'a Write, Operand)],
    /// What the template gives.
    pub givens: &'a [Val],
}

impl Along<'_> {
    /// Whether vectors pay: something is stored contiguously.
    fn lanes(&self, axis: usize, lanes: usize) -> usize {
        let contiguous = |o: &Operand| matches!(o.strides.get(axis), Some(Ix::C(1)));
        if self.writes.iter().any(|(_, o)| contiguous(o)) { lanes } else { 1 }
    }

    /// Runs it at each point `begin..end` of the last axis; `coords` are the outer coordinates.
    pub fn run(
        &self,
        b: &Builder<'_>,
        args: &Args,
        coords: &[Ix],
        (begin, end): (Ix, Ix),
        lanes: usize,
    ) -> Result<(), CodegenError> {
        let axis = coords.len();
        let lanes = self.lanes(axis, lanes);
        let uniform = uniform_values(self.program, self.reads, axis, true);
        let at = |i: Ix| coords.iter().copied().chain([i]).collect::<Vec<_>>();
        let start = at(begin);
        let point = Point { args, reads: self.reads, coords: &start, lane_axis: axis, lanes: 1, givens: self.givens };
        let known = evaluate(b, self.program, &point, &[], |i| uniform[i])?;

        let step = |b: &Builder<'_>, i: Ix, lanes: usize| -> Result<(), CodegenError> {
            let coords = at(i);
            let point = Point { args, reads: self.reads, coords: &coords, lane_axis: axis, lanes, givens: self.givens };
            let values = evaluate(b, self.program, &point, &known, |_| true)?;
            for (spec, operand) in self.writes {
                write(b, spec, operand, &point, &values)?;
            }
            Ok(())
        };
        let mut outcome = Ok(());
        let whole = b.iadd(begin, b.round_down(b.isub(end, begin), lanes as i64));
        if lanes > 1 {
            b.range(begin, whole, lanes as i64, |b, i| outcome = step(b, i, lanes));
            outcome?;
            outcome = Ok(());
        }
        let tail = if lanes > 1 { whole } else { begin };
        b.range(tail, end, 1, |b, i| outcome = step(b, i, 1));
        outcome
    }
}

/// The coordinates of item number `item` of a space with those extents.
pub fn coordinates(b: &Builder<'_>, item: Ix, extents: &[Ix]) -> Vec<Ix> {
    let mut rest = item;
    let mut coords = vec![Ix::C(0); extents.len()];
    for axis in (1..extents.len()).rev() {
        coords[axis] = b.irem(rest, extents[axis]);
        rest = b.idiv(rest, extents[axis]);
    }
    if !extents.is_empty() {
        coords[0] = rest;
    }
    coords
}

/// Builds the kernel.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &MapSpec, env: &Env) -> Result<(), CodegenError> {
    if spec.extents.is_empty() {
        return Err(CodegenError::Spec("a map has no axis".into()));
    }
    let axes = spec.extents.len();
    if let Some(a) = spec.reads.iter().chain(spec.writes.iter().map(|w| &w.access)).find(|a| a.strides.len() != axes) {
        return Err(CodegenError::Spec(format!("a map of {axes} axes has an access with {} strides", a.strides.len())));
    }
    let c = collapse(spec);
    let product = |b: &Builder<'_>, sizes: &[Size]| sizes.iter().fold(Ix::C(1), |p, s| b.imul(p, env.args.size(*s)));
    let extents: Vec<Ix> = c.extents.iter().map(|e| product(b, e)).collect();
    let (inner, outer) = extents.split_last().expect("at least one axis");
    let operand = |n: usize, a: &Access| Operand::new(env.buffers[n], a, &env.args);
    let reads: Vec<Operand> = c.reads.iter().enumerate().map(|(n, a)| operand(n, a)).collect();
    let writes: Vec<(&Write, Operand)> =
        c.writes.iter().enumerate().map(|(n, w)| (w, operand(reads.len() + n, &w.access))).collect();
    let along = Along { program: &c.program, reads: &reads, writes: &writes, givens: &[] };

    let mut outcome = Ok(());
    if outer.is_empty() {
        let (begin, end) = env.piece(b, *inner, 64);
        let some = b.icompare(kiln_core::CompareOp::Lt, begin, end);
        b.when(some, |b| outcome = along.run(b, &env.args, &[], (begin, end), env.lanes));
        return outcome;
    }
    let items = outer.iter().fold(Ix::C(1), |p, e| b.imul(p, *e));
    let items = match inner {
        Ix::C(0) => Ix::C(0),
        Ix::C(_) => items,
        Ix::V(_) => {
            let none = b.icompare(kiln_core::CompareOp::Eq, *inner, Ix::C(0));
            b.ix(b.select(none, b.ix_value(Ix::C(0)), b.ix_value(items)))
        }
    };
    let (begin, end) = env.piece(b, items, 1);
    b.range(begin, end, 1, |b, item| {
        let coords = coordinates(b, item, outer);
        outcome = along.run(b, &env.args, &coords, (Ix::C(0), *inner), env.lanes);
    });
    outcome
}
