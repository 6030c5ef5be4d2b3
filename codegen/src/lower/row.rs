//! Row programs: reductions and maps over one row after the other, each phase a pass over the row in L1.

use super::{
    Env,
    builder::{Builder, Ix, Ty, Val, Var},
    map::{Along, coordinates},
    program::{Operand, Point, evaluate, uniform_values, update, write},
};
use crate::CodegenError;
use kiln_core::{CompareOp, Onto, Phase, Program, ReduceOp, RowSpec, ValueId, Write};

/// Vectors that a reduction accumulates into side by side.
const ACCUMULATORS: usize = 4;

/// Builds the kernel.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &RowSpec, env: &Env) -> Result<(), CodegenError> {
    let axes = spec.rows.len() + 1;
    let accesses = spec.phases.iter().flat_map(|p| match p {
        Phase::Reduce { .. } => &[][..],
        Phase::Scalar { writes, .. } | Phase::Map { writes, .. } => writes,
        Phase::Scan { write, .. } => std::slice::from_ref(write),
    });
    if let Some(a) = spec.reads.iter().chain(accesses.map(|w| &w.access)).find(|a| a.strides.len() != axes) {
        return Err(CodegenError::Spec(format!(
            "a row program of {axes} axes has an access with {} strides",
            a.strides.len()
        )));
    }
    let rows: Vec<Ix> = spec.rows.iter().map(|s| env.args.size(*s)).collect();
    let items = rows.iter().fold(Ix::C(1), |p, e| b.imul(p, *e));
    let (begin, end) = env.piece(b, items, 1);
    let mut outcome = Ok(());
    b.range(begin, end, 1, |b, item| {
        let coords = coordinates(b, item, &rows);
        outcome = row(b, spec, env, &coords);
    });
    outcome
}

fn row(b: &Builder<'_>, spec: &RowSpec, env: &Env, coords: &[Ix]) -> Result<(), CodegenError> {
    let len = env.args.size(spec.len);
    let reads: Vec<Operand> =
        spec.reads.iter().enumerate().map(|(n, a)| Operand::new(env.buffers[n], a, &env.args)).collect();
    let mut next = reads.len();
    let mut givens: Vec<Val> = vec![];
    for phase in &spec.phases {
        let row = Row { env, reads: &reads, givens: &givens, coords };
        match phase {
            Phase::Reduce { program, value, op } => {
                let reduce = Reduction { row, program, value: *value, op: *op };
                let result = reduce.build(b, len)?;
                givens.push(result);
            }
            Phase::Scalar { program, exports, writes } => {
                let writes = operands(env, writes, &mut next);
                let at = row.at(Ix::C(0));
                let point = row.point(&at, 1);
                let values = evaluate(b, program, &point, &[], |_| true)?;
                for (spec, operand) in &writes {
                    write(b, spec, operand, &point, &values)?;
                }
                for export in exports {
                    let value = values.get(export.0 as usize).copied().flatten();
                    givens.push(value.ok_or_else(|| {
                        CodegenError::Spec(format!("a row program exports value {}, which it lacks", export.0))
                    })?);
                }
            }
            Phase::Map { program, writes } => {
                let writes = operands(env, writes, &mut next);
                let along = Along { program, reads: &reads, writes: &writes, givens: &givens };
                let mut outcome = Ok(());
                match len {
                    Ix::C(_) => outcome = along.run(b, &env.args, coords, (Ix::C(0), len), env.lanes),
                    Ix::V(_) => b.when(b.icompare(CompareOp::Ne, len, Ix::C(0)), |b| {
                        outcome = along.run(b, &env.args, coords, (Ix::C(0), len), env.lanes);
                    }),
                }
                outcome?;
            }
            Phase::Scan { program, op, onto, write } => {
                let operand = Operand::new(env.buffers[next], &write.access, &env.args);
                next += 1;
                let scan = Scan { row, program, op: *op, write, operand };
                scan.build(b, len, *onto)?;
            }
        }
    }
    Ok(())
}

/// Where a phase is: the row, and what it reads there.
#[derive(Clone, Copy)]
struct Row<'a> {
    env: &'a Env,
    reads: &'a [Operand],
    givens: &'a [Val],
    coords: &'a [Ix],
}

impl Row<'_> {
    /// The coordinates of an element.
    fn at(&self, i: Ix) -> Vec<Ix> {
        self.coords.iter().copied().chain([i]).collect()
    }

    /// The element with these coordinates, and those after it as far as there are lanes.
    fn point<'p>(&'p self, at: &'p [Ix], lanes: usize) -> Point<'p> {
        Point {
            args: &self.env.args,
            reads: self.reads,
            coords: at,
            lane_axis: self.coords.len(),
            lanes,
            givens: self.givens,
        }
    }
}

/// The type of a value that `what` takes, and the one that it accumulates in: integers (and bools) in i64.
fn accumulates(program: &Program, value: ValueId, what: &str) -> Result<(Ty, Ty), CodegenError> {
    let declared = program.insts.get(value.0 as usize);
    let declared = declared
        .ok_or_else(|| CodegenError::Spec(format!("{what} takes value {}, which its program lacks", value.0)))?;
    let ty = Ty::of(declared.dtype);
    Ok((ty, if ty.is_float() { ty } else { Ty::I64 }))
}

fn operands<'a>(env: &Env, writes: &'a [Write], next: &mut usize) -> Vec<(&'a Write, Operand)> {
    writes
        .iter()
        .map(|w| {
            *next += 1;
            (w, Operand::new(env.buffers[*next - 1], &w.access, &env.args))
        })
        .collect()
}

/// One element of the row after the other, in order.
struct Scan<'a> {
    row: Row<'a>,
    program: &'a Program,
    op: ReduceOp,
    write: &'a Write,
    operand: Operand,
}

impl Scan<'_> {
    fn build(&self, b: &Builder<'_>, len: Ix, onto: Onto) -> Result<(), CodegenError> {
        let number = self.write.value.0 as usize;
        let (stored, ty) = accumulates(self.program, self.write.value, "a scan")?;
        let running = b.var(identity(b, self.op, ty));
        let step = |b: &Builder<'_>, i: Ix| -> Result<(), CodegenError> {
            let at = self.row.at(i);
            let point = self.row.point(&at, 1);
            let mut values = evaluate(b, self.program, &point, &[], |_| true)?;
            let value = b.cast(values[number].expect("every value was wanted"), ty);
            match onto {
                Onto::Before => {
                    b.set(running, combine(b, self.op, b.get(running), value));
                    values[number] = Some(b.cast(b.get(running), stored));
                    write(b, self.write, &self.operand, &point, &values)
                }
                Onto::Stored => update(b, self.write, &self.operand, &point, &values, &|b, old| {
                    b.cast(combine(b, self.op, b.cast(old, ty), value), stored)
                }),
            }
        };
        let mut outcome = Ok(());
        b.range(Ix::C(0), len, 1, |b, i| outcome = step(b, i));
        outcome
    }
}

/// One value per row. Sums go through [`ACCUMULATORS`] vectors, then a fixed tree: the order depends on the length alone.
struct Reduction<'a> {
    row: Row<'a>,
    program: &'a Program,
    value: ValueId,
    op: ReduceOp,
}

impl Reduction<'_> {
    fn build(&self, b: &Builder<'_>, len: Ix) -> Result<Val, CodegenError> {
        let (_, ty) = accumulates(self.program, self.value, "a reduction")?;
        let Row { env, reads, coords, .. } = self.row;
        let axis = coords.len();
        let uniform = uniform_values(self.program, reads, axis, true);
        let gathers = |o: &Operand| !matches!(o.strides[axis], Ix::C(0 | 1));
        let lanes = if reads.iter().any(gathers) { 1 } else { env.lanes };
        if self.op == ReduceOp::ArgMax {
            return self.argmax(b, len, ty, lanes, &uniform);
        }
        let identity = identity(b, self.op, ty);
        let accumulators: Vec<Var> = (0..ACCUMULATORS).map(|_| b.var(b.splat(identity, lanes))).collect();
        let tail = b.var(identity);
        let mut outcome = Ok(());
        let body = |b: &Builder<'_>| -> Result<(), CodegenError> {
            let known = self.values(b, Ix::C(0), 1, &[], |i| uniform[i])?;
            let add = |b: &Builder<'_>, to: Var, i: Ix, lanes: usize| -> Result<(), CodegenError> {
                let value = self.at(b, i, lanes, &known, ty)?;
                b.set(to, combine(b, self.op, b.get(to), value));
                Ok(())
            };
            let step = (ACCUMULATORS * lanes) as i64;
            let many = b.round_down(len, step);
            let whole = b.round_down(len, lanes as i64);
            let mut outcome = Ok(());
            b.range(Ix::C(0), many, step, |b, i| {
                outcome = accumulators
                    .iter()
                    .enumerate()
                    .try_for_each(|(k, to)| add(b, *to, b.iadd(i, Ix::C((k * lanes) as i64)), lanes));
            });
            outcome?;
            let mut outcome = Ok(());
            b.range(many, whole, lanes as i64, |b, i| outcome = add(b, accumulators[0], i, lanes));
            outcome?;
            let mut outcome = Ok(());
            b.range(whole, len, 1, |b, i| outcome = add(b, tail, i, 1));
            outcome
        };
        match len {
            Ix::C(0) => {}
            Ix::C(_) => outcome = body(b),
            Ix::V(_) => b.when(b.icompare(CompareOp::Ne, len, Ix::C(0)), |b| outcome = body(b)),
        }
        outcome?;
        let pair = |x: Val, y: Val| combine(b, self.op, x, y);
        let sums: Vec<Val> = accumulators.iter().map(|v| b.get(*v)).collect();
        let sum = tree(&sums, &pair);
        let parts: Vec<Val> = (0..lanes).map(|l| b.lane(sum, l)).collect();
        Ok(pair(tree(&parts, &pair), b.get(tail)))
    }

    fn values(
        &self,
        b: &Builder<'_>,
        i: Ix,
        lanes: usize,
        known: &[Option<Val>],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<Val>>, CodegenError> {
        let at = self.row.at(i);
        evaluate(b, self.program, &self.row.point(&at, lanes), known, wanted)
    }

    fn at(&self, b: &Builder<'_>, i: Ix, lanes: usize, known: &[Option<Val>], ty: Ty) -> Result<Val, CodegenError> {
        let values = self.values(b, i, lanes, known, |_| true)?;
        let value = values[self.value.0 as usize].expect("every value was wanted");
        Ok(b.splat(b.cast(value, ty), lanes))
    }

    /// The index of the first largest value: per lane the first, then the smallest index among the largest.
    fn argmax(&self, b: &Builder<'_>, len: Ix, ty: Ty, lanes: usize, uniform: &[bool]) -> Result<Val, CodegenError> {
        let lowest = identity(b, ReduceOp::Max, ty);
        let (best, index) = (b.var(b.splat(lowest, lanes)), b.var(b.splat(b.int(Ty::I64, 0), lanes)));
        let (last, last_index) = (b.var(lowest), b.var(b.int(Ty::I64, 0)));
        let mut outcome = Ok(());
        let body = |b: &Builder<'_>| -> Result<(), CodegenError> {
            let known = self.values(b, Ix::C(0), 1, &[], |i| uniform[i])?;
            let visit = |b: &Builder<'_>, best: Var, index: Var, i: Ix, lanes: usize| -> Result<(), CodegenError> {
                let value = self.at(b, i, lanes, &known, ty)?;
                let here = b.ix_i64(i);
                let here = if lanes == 1 { here } else { b.add(here, b.iota(Ty::I64, lanes)) };
                let better = b.gt(value, b.get(best));
                b.set(index, b.select(better, here, b.get(index)));
                b.set(best, b.select(better, value, b.get(best)));
                Ok(())
            };
            let whole = b.round_down(len, lanes as i64);
            let mut outcome = Ok(());
            b.range(Ix::C(0), whole, lanes as i64, |b, i| outcome = visit(b, best, index, i, lanes));
            outcome?;
            let mut outcome = Ok(());
            b.range(whole, len, 1, |b, i| outcome = visit(b, last, last_index, i, 1));
            outcome
        };
        b.when(b.icompare(CompareOp::Ne, len, Ix::C(0)), |b| outcome = body(b));
        outcome?;
        let (values, indices) = (b.get(best), b.get(index));
        let mut found = (b.lane(values, 0), b.lane(indices, 0));
        let rest =
            (1..lanes).map(|l| (b.lane(values, l), b.lane(indices, l))).chain([(b.get(last), b.get(last_index))]);
        for (value, index) in rest {
            let earlier = b.and(b.eq(value, found.0), b.lt(index, found.1));
            // A lane that saw nothing above the lowest value still points at 0.
            let better = b.or(b.gt(value, found.0), earlier);
            found = (b.select(better, value, found.0), b.select(better, index, found.1));
        }
        Ok(found.1)
    }
}

/// Combines values pairwise, in a fixed order.
pub fn tree(values: &[Val], pair: &dyn Fn(Val, Val) -> Val) -> Val {
    match values {
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            pair(tree(left, pair), tree(right, pair))
        }
    }
}

fn identity(b: &Builder<'_>, op: ReduceOp, ty: Ty) -> Val {
    match op {
        ReduceOp::Sum | ReduceOp::ArgMax => b.number(ty, 0.0),
        ReduceOp::Prod => b.number(ty, 1.0),
        ReduceOp::Max if ty.is_float() => b.float(ty, f64::NEG_INFINITY),
        ReduceOp::Min if ty.is_float() => b.float(ty, f64::INFINITY),
        ReduceOp::Max => b.int(ty, i64::MIN),
        ReduceOp::Min => b.int(ty, i64::MAX),
    }
}

fn combine(b: &Builder<'_>, op: ReduceOp, x: Val, y: Val) -> Val {
    match op {
        ReduceOp::Sum | ReduceOp::ArgMax => b.add(x, y),
        ReduceOp::Prod => b.mul(x, y),
        ReduceOp::Max => b.max(x, y),
        ReduceOp::Min => b.min(x, y),
    }
}
