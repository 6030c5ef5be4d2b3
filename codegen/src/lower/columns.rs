//! Products with a matrix that lies as a layer's weight does, the depth of a column contiguous: for few rows, where packing would read
//! and write the matrix once more.
//!
//! Items are groups of eight columns, each read once for all rows and transposed in registers, so that an element's sum goes along its
//! depth in the same order as over panels: the bits do not depend on how many rows there are.

use super::{
    Env,
    builder::{Buf, Builder, Ix, Ty, Val, Var},
    matmul::{columns_in_parts, left, rms_factor},
    program::{Operand, Point, evaluate, load_dense, load_value, load_vector, write},
    shuffle::{LANES, transpose},
};
use crate::CodegenError;
use kiln_core::{CompareOp, DType, MatMulSpec, Size, Storage, Write};

struct Columns<'a> {
    spec: &'a MatMulSpec,
    env: &'a Env,
    lhs: DType,
    storage: Storage,
    depth: Ix,
    a_stride: Ix,
    /// Columns of one part.
    width: i64,
    /// Under a norm, the factors of the rows.
    factors: Option<Buf>,
    reads: Vec<Operand>,
    writes: Vec<(&'a Write, Operand)>,
}

/// Builds the kernel of a spec with a right-hand side as it lies.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &MatMulSpec, storage: Storage, env: &Env) -> Result<(), CodegenError> {
    columns_in_parts(spec)?;
    if let Storage::Block(format) = storage
        && !matches!(spec.k, Size::Const(k) if k % format.block_len() as i64 == 0)
    {
        return Err(CodegenError::Unsupported(format!("a product with {storage} whose columns are no whole blocks")));
    }
    if storage.dense().is_some_and(|d| !d.is_float() || d == DType::F64) {
        let expected = "expected f32, f16 or bf16, or blocks";
        return Err(CodegenError::Unsupported(format!("a product with {storage} on the right ({expected})")));
    }
    if !spec.skinny {
        let limit = MatMulSpec::SKINNY_ROWS;
        return Err(CodegenError::Unsupported(format!("more than {limit} rows over columns as they lie")));
    }
    let operand = |n: usize, access| Operand::new(env.buffers[n], access, &env.args);
    let reads: Vec<Operand> = spec.reads.iter().enumerate().map(|(n, a)| operand(2 + n, a)).collect();
    let writes = spec.writes.iter().enumerate();
    let columns = Columns {
        spec,
        env,
        lhs: left(spec.lhs)?,
        storage,
        depth: env.args.size(spec.k),
        a_stride: env.args.size(spec.a_stride),
        width: spec.n / spec.parts,
        factors: spec.rms_norm.map(|_| b.local_array(Ty::F32, MatMulSpec::SKINNY_ROWS as usize)),
        writes: writes.map(|(n, w)| (w, operand(2 + reads.len() + n, &w.access))).collect(),
        reads,
    };
    let m = env.args.size(spec.m);
    let group = LANES as i64;
    let (begin, end) = env.piece(b, Ix::C((columns.width + group - 1) / group), 1);
    b.when(b.icompare(CompareOp::Lt, begin, end), |b| columns.norm(b, m));
    let mut outcome = Ok(());
    b.range(begin, end, 1, |b, item| {
        for rows in 1..=MatMulSpec::SKINNY_ROWS {
            let here = b.icompare(CompareOp::Eq, m, Ix::C(rows));
            b.when(here, |b| {
                let result = columns.group(b, rows as usize, item);
                if outcome.is_ok() {
                    outcome = result;
                }
            });
        }
    });
    outcome
}

impl Columns<'_> {
    fn norm(&self, b: &Builder<'_>, m: Ix) {
        let (Some(factors), Some(eps)) = (self.factors, self.spec.rms_norm) else { return };
        b.range(Ix::C(0), m, 1, |b, row| {
            let base = b.imul(row, self.a_stride);
            let factor = rms_factor(b, self.env.buffers[0], self.lhs, base, self.depth, self.env.lanes, eps);
            b.store(factors, row, factor);
        });
    }

    /// All rows of the group of columns with that number; those of the last one that there are.
    fn group(&self, b: &Builder<'_>, rows: usize, group: Ix) -> Result<(), CodegenError> {
        let (lanes, whole) = (LANES as i64, self.width / LANES as i64);
        let first = b.imul(group, Ix::C(lanes));
        if whole * lanes == self.width {
            return self.columns(b, rows, first, LANES);
        }
        let (mut full, mut ragged) = (Ok(()), Ok(()));
        b.when_else(
            b.icompare(CompareOp::Lt, group, Ix::C(whole)),
            |b| full = self.columns(b, rows, first, LANES),
            |b| {
                b.range(Ix::C(whole * lanes), Ix::C(self.width), 1, |b, column| {
                    ragged = self.columns(b, rows, column, 1);
                });
            },
        );
        full.and(ragged)
    }

    /// All rows of so many columns, one or eight, from `first` on.
    fn columns(&self, b: &Builder<'_>, rows: usize, first: Ix, columns: usize) -> Result<(), CodegenError> {
        let parts: Vec<Vec<Val>> = (0..self.spec.parts)
            .map(|part| {
                let first = b.iadd(first, Ix::C(part * self.width));
                let starts = |i: usize| b.imul(b.iadd(first, Ix::C(i as i64)), self.depth);
                self.sums(b, rows, &(0..columns).map(starts).collect::<Vec<_>>())
            })
            .collect();
        for row in 0..rows {
            let givens: Vec<Val> = parts
                .iter()
                .map(|sums| match self.factors {
                    Some(factors) => b.mul(sums[row], b.splat(b.load(factors, Ix::C(row as i64), 1), columns)),
                    None => sums[row],
                })
                .collect();
            let coords = [Ix::C(row as i64), first];
            let point = Point {
                args: &self.env.args,
                reads: &self.reads,
                coords: &coords,
                lane_axis: 1,
                lanes: columns,
                givens: &givens,
            };
            let values = evaluate(b, &self.spec.program, &point, &[], |_| true)?;
            for (spec, operand) in &self.writes {
                write(b, spec, operand, &point, &values)?;
            }
        }
        Ok(())
    }

    /// For each row, the sums over the depth of the columns that start there.
    fn sums(&self, b: &Builder<'_>, rows: usize, starts: &[Ix]) -> Vec<Val> {
        let (a, rhs, lanes) = (self.env.buffers[0], self.env.buffers[1], starts.len());
        let zero = b.splat(b.f32(0.0), lanes);
        let sums: Vec<Var> = (0..rows).map(|_| b.var(zero)).collect();
        let add = |b: &Builder<'_>, k: Ix, column: Val| {
            for (row, sum) in sums.iter().enumerate() {
                let at = b.iadd(b.imul(self.a_stride, Ix::C(row as i64)), k);
                let factor = b.splat(load_dense(b, a, self.lhs, at, 1), lanes);
                b.set(*sum, b.fma(factor, column, b.get(*sum)));
            }
        };
        let mut from = Ix::C(0);
        if let Ok(starts) = <&[Ix; LANES]>::try_from(starts) {
            from = b.round_down(self.depth, LANES as i64);
            b.range(Ix::C(0), from, LANES as i64, |b, k| {
                let rows = starts.map(|s| load_vector(b, rhs, self.storage, b.iadd(s, k), LANES));
                for (i, column) in transpose(b, rows).into_iter().enumerate() {
                    add(b, b.iadd(k, Ix::C(i as i64)), column);
                }
            });
        }
        b.range(from, self.depth, 1, |b, k| {
            let column: Vec<Val> = starts.iter().map(|s| load_value(b, rhs, self.storage, b.iadd(*s, k))).collect();
            add(b, k, b.vector(&column));
        });
        sums.iter().map(|sum| b.get(*sum)).collect()
    }
}
