//! Products with a matrix on the right, packed in panels or as it lies. A tile of rows by one panel lives in registers while the depth is walked once, in
//! order, with fused multiply-adds: the bits of an element do not depend on the tile that computed it.
//!
//! Many rows: items are pairs of a block of rows (whose `a` stays in L2) and a panel. Few rows: items are panels, each streamed
//! once. The epilogue runs over a tile that was put down in a small array on the stack.

use super::{
    Env,
    builder::{Buf, Builder, Ix, Ty, Val, Var},
    pack::packable,
    program::{Operand, Point, evaluate, load_dense, uniform_values, write},
    row::tree,
};
use crate::CodegenError;
use kiln_core::{CompareOp, DType, MatMulSpec, Size, Storage, Write};

/// Rows in a block where the depth is known only when the kernel runs.
const ROW_BLOCK_DEFAULT: i64 = 48;
/// Bytes of `a` that a block of rows may take.
const ROW_BLOCK_BYTES: i64 = 192 * 1024;
/// Most rows in a block.
const ROW_BLOCK_ROWS: i64 = 96;

/// Rows of a register tile over `vectors` vectors of columns.
fn tile_rows(registers: usize, vectors: usize) -> usize {
    ((registers - 1 - vectors) / vectors).clamp(1, 8)
}

/// `acc[row][vector] = Σ_k a[row, k] * b[k, vector]`, left in registers.
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Vectors of columns.
    pub vectors: usize,
    /// Lanes of a vector.
    pub lanes: usize,
    /// How `a` is stored.
    pub lhs: DType,
    /// How `b` is stored.
    pub rhs: DType,
}

impl Tile {
    /// Runs the loop over `depth` from the given start values. `a_at(row, k)` is the element index in `a`; row k of `b` begins at
    /// `b_base + k * b_stride`.
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        b: &Builder<'_>,
        a: Buf,
        rows: &[Ix],
        rhs: Buf,
        rhs_base: Ix,
        rhs_stride: Ix,
        depth: Ix,
        start: &[Val],
    ) -> Vec<Val> {
        let accumulators: Vec<Var> = start.iter().map(|v| b.var(*v)).collect();
        b.range(Ix::C(0), depth, 1, |b, k| {
            let at = b.iadd(rhs_base, b.imul(k, rhs_stride));
            let columns: Vec<Val> = (0..self.vectors)
                .map(|v| load_dense(b, rhs, self.rhs, b.iadd(at, Ix::C((v * self.lanes) as i64)), self.lanes))
                .collect();
            for (row, base) in rows.iter().enumerate() {
                let factor = b.splat(load_dense(b, a, self.lhs, b.iadd(*base, k), 1), self.lanes);
                for (v, column) in columns.iter().enumerate() {
                    let to = accumulators[row * self.vectors + v];
                    b.set(to, b.fma(factor, *column, b.get(to)));
                }
            }
        });
        accumulators.iter().map(|v| b.get(*v)).collect()
    }
}

/// The type of a left side that is read as it lies.
///
/// # Errors
/// If no template serves it.
pub fn left(storage: Storage) -> Result<DType, CodegenError> {
    let floats = [DType::F32, DType::F16, DType::BF16];
    storage.dense().filter(|d| floats.contains(d)).ok_or_else(|| {
        CodegenError::Unsupported(format!("a product with {storage} on the left (expected f32, f16 or bf16)"))
    })
}

/// What a row of `depth` elements from `base` on is multiplied by under an RMS norm with this epsilon.
pub fn rms_factor(b: &Builder<'_>, a: Buf, dtype: DType, base: Ix, depth: Ix, lanes: usize, eps: u32) -> Val {
    let (sums, tail) = (b.var(b.splat(b.f32(0.0), lanes)), b.var(b.f32(0.0)));
    let add = |b: &Builder<'_>, to: Var, at: Ix, lanes: usize| {
        let x = load_dense(b, a, dtype, b.iadd(base, at), lanes);
        b.set(to, b.fma(x, x, b.get(to)));
    };
    let whole = b.round_down(depth, lanes as i64);
    b.range(Ix::C(0), whole, lanes as i64, |b, at| add(b, sums, at, lanes));
    b.range(whole, depth, 1, |b, at| add(b, tail, at, 1));
    let parts: Vec<Val> = (0..lanes).map(|l| b.lane(b.get(sums), l)).collect();
    let sum = b.add(tree(&parts, &|x, y| b.add(x, y)), b.get(tail));
    let per_element = match depth {
        Ix::C(k) => b.f32(1.0 / k.max(1) as f32),
        Ix::V(_) => b.div(b.f32(1.0), b.cast(b.ix_i64(depth), Ty::F32)),
    };
    let root = b.sqrt(b.add(b.mul(sum, per_element), b.f32(f32::from_bits(eps))));
    b.div(b.f32(1.0), root)
}

/// What the parts of the builder share.
struct Kernel<'a> {
    spec: &'a MatMulSpec,
    env: &'a Env,
    lanes: usize,
    /// Vectors in a panel.
    vectors: usize,
    /// Rows in a register tile.
    tile: usize,
    /// Columns of one part in a panel.
    columns: i64,
    /// Columns of one part.
    width: i64,
    panels: i64,
    /// Columns in a panel, all parts together.
    panel: i64,
    /// How the operands are stored.
    lhs: DType,
    rhs: DType,
    depth: Ix,
    a_stride: Ix,
    reads: Vec<Operand>,
    writes: Vec<(&'a Write, Operand)>,
    /// A tile's accumulators.
    scratch: Buf,
    /// Under a norm, the factors of a block's rows.
    factors: Option<Buf>,
    /// Rows in a block.
    block: i64,
    /// Whether the epilogue is short enough to be repeated for each accumulator.
    direct: bool,
}

/// Whether a product's columns fall into its parts.
///
/// # Errors
/// If they don't.
pub fn columns_in_parts(spec: &MatMulSpec) -> Result<(), CodegenError> {
    match matches!(spec.parts, 1 | 2) && spec.n % spec.parts == 0 && spec.n > 0 {
        true => Ok(()),
        false => Err(CodegenError::Spec(format!("a matmul of {} columns in {} parts", spec.n, spec.parts))),
    }
}

/// Builds the kernel of a spec whose right-hand side lies in panels of so many columns, of that type.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &MatMulSpec, (panel, rhs): (i64, DType), env: &Env) -> Result<(), CodegenError> {
    columns_in_parts(spec)?;
    let unit = env.lanes as i64 * spec.parts;
    let limit = (env.lanes * env.registers / 4) as i64;
    if panel <= 0 || panel % unit != 0 || panel > limit {
        return Err(CodegenError::Unsupported(format!(
            "panels of {panel} columns with {} parts (expected a multiple of {unit}, at most {limit})",
            spec.parts
        )));
    }
    packable(rhs)?;
    let lhs = left(spec.lhs)?;
    let vectors = (panel / env.lanes as i64) as usize;
    let (columns, width) = (panel / spec.parts, spec.n / spec.parts);
    let panels = (width + columns - 1) / columns;
    let tile = tile_rows(env.registers, vectors);
    let operand = |n: usize, a| Operand::new(env.buffers[n], a, &env.args);
    let reads: Vec<Operand> = spec.reads.iter().enumerate().map(|(n, a)| operand(2 + n, a)).collect();
    let writes: Vec<_> =
        spec.writes.iter().enumerate().map(|(n, w)| (w, operand(2 + reads.len() + n, &w.access))).collect();
    let tile_rows = tile as i64;
    let block = match spec.skinny {
        true => MatMulSpec::SKINNY_ROWS,
        false => {
            let rows = match spec.k {
                Size::Const(k) => (ROW_BLOCK_BYTES / (4 * k.max(1))).min(ROW_BLOCK_ROWS),
                Size::Arg(_) => ROW_BLOCK_DEFAULT,
            };
            rows.max(tile_rows) / tile_rows * tile_rows
        }
    };
    let kernel = Kernel {
        spec,
        env,
        lanes: env.lanes,
        vectors,
        tile,
        columns,
        width,
        panels,
        panel,
        lhs,
        rhs,
        depth: env.args.size(spec.k),
        a_stride: env.args.size(spec.a_stride),
        reads,
        writes,
        scratch: b.local_array(Ty::F32, tile * vectors * env.lanes),
        factors: spec.rms_norm.map(|_| b.local_array(Ty::F32, block as usize)),
        block,
        direct: spec.program.insts.len() <= 1,
    };
    let m = env.args.size(spec.m);
    let mut outcome = Ok(());
    if spec.skinny {
        let (begin, end) = env.piece(b, Ix::C(panels), 1);
        b.when(b.icompare(CompareOp::Lt, begin, end), |b| kernel.norm(b, Ix::C(0), m));
        b.range(begin, end, 1, |b, panel| outcome = kernel.few_rows(b, panel, m));
        return outcome;
    }
    let blocks = b.idiv(b.iadd(m, Ix::C(block - 1)), Ix::C(block));
    let (begin, end) = env.piece(b, b.imul(blocks, Ix::C(panels)), 1);
    b.range(begin, end, 1, |b, item| {
        let (block_number, panel) = (b.idiv(item, Ix::C(panels)), b.irem(item, Ix::C(panels)));
        let first = b.imul(block_number, Ix::C(block));
        let last = b.imin(m, b.iadd(first, Ix::C(block)));
        if spec.rms_norm.is_some() {
            // The first panel of a block, and the first of this piece.
            let fresh = b.or(b.icompare(CompareOp::Eq, panel, Ix::C(0)), b.icompare(CompareOp::Eq, item, begin));
            b.when(fresh, |b| kernel.norm(b, first, last));
        }
        outcome = kernel.rows(b, panel, first, last);
    });
    outcome
}

impl Kernel<'_> {
    /// The factors of rows `first..last`, under a norm.
    fn norm(&self, b: &Builder<'_>, first: Ix, last: Ix) {
        let (Some(factors), Some(eps)) = (self.factors, self.spec.rms_norm) else { return };
        b.range(first, last, 1, |b, row| {
            let base = b.imul(row, self.a_stride);
            let factor = rms_factor(b, self.env.buffers[0], self.lhs, base, self.depth, self.lanes, eps);
            b.store(factors, b.isub(row, first), factor);
        });
    }

    /// Rows `first..last` of a panel.
    fn rows(&self, b: &Builder<'_>, panel: Ix, first: Ix, last: Ix) -> Result<(), CodegenError> {
        let tile = self.tile as i64;
        let full = b.iadd(first, b.round_down(b.isub(last, first), tile));
        let mut outcome = Ok(());
        b.range(first, full, tile, |b, row| outcome = self.tile(b, panel, row, self.tile));
        outcome?;
        let rest = b.isub(last, full);
        for rows in 1..self.tile {
            let mut outcome = Ok(());
            let here = b.icompare(CompareOp::Eq, rest, Ix::C(rows as i64));
            b.when(here, |b| outcome = self.tile(b, panel, full, rows));
            outcome?;
        }
        Ok(())
    }

    /// All of at most [`MatMulSpec::SKINNY_ROWS`] rows of a panel, in tiles of about the same height.
    fn few_rows(&self, b: &Builder<'_>, panel: Ix, m: Ix) -> Result<(), CodegenError> {
        for rows in 1..=MatMulSpec::SKINNY_ROWS as usize {
            let tiles = rows.div_ceil(self.tile);
            let mut outcome = Ok(());
            b.when(b.icompare(CompareOp::Eq, m, Ix::C(rows as i64)), |b| {
                let mut first = 0;
                outcome = (0..tiles).try_for_each(|n| {
                    let height = (rows - first).div_ceil(tiles - n);
                    first += height;
                    self.tile(b, panel, Ix::C((first - height) as i64), height)
                });
            });
            outcome?;
        }
        Ok(())
    }

    fn tile(&self, b: &Builder<'_>, panel: Ix, row: Ix, rows: usize) -> Result<(), CodegenError> {
        let base = b.imul(row, self.a_stride);
        let bases: Vec<Ix> = (0..rows).map(|r| b.iadd(base, b.imul(self.a_stride, Ix::C(r as i64)))).collect();
        let rhs_base = b.imul(panel, b.imul(self.depth, Ix::C(self.panel)));
        let zero = b.splat(b.f32(0.0), self.lanes);
        let tile = Tile { rows, vectors: self.vectors, lanes: self.lanes, lhs: self.lhs, rhs: self.rhs };
        let (a, rhs) = (self.env.buffers[0], self.env.buffers[1]);
        let start = vec![zero; rows * self.vectors];
        let mut sums = tile.run(b, a, &bases, rhs, rhs_base, Ix::C(self.panel), self.depth, &start);
        if let Some(factors) = self.factors {
            for (r, sums) in sums.chunks_mut(self.vectors).enumerate() {
                let at = b.iadd(b.irem(row, Ix::C(self.block)), Ix::C(r as i64));
                let factor = b.splat(b.load(factors, at, 1), self.lanes);
                sums.iter_mut().for_each(|sum| *sum = b.mul(*sum, factor));
            }
        }

        let ragged = self.width % self.columns;
        if ragged == 0 {
            return self.epilogue(b, panel, row, rows, &sums, self.columns);
        }
        let mut outcomes = (Ok(()), Ok(()));
        let last = b.icompare(CompareOp::Eq, panel, Ix::C(self.panels - 1));
        b.when_else(
            last,
            |b| outcomes.0 = self.epilogue(b, panel, row, rows, &sums, ragged),
            |b| outcomes.1 = self.epilogue(b, panel, row, rows, &sums, self.columns),
        );
        outcomes.0.and(outcomes.1)
    }

    /// Runs the program over the first `columns` columns (of each part) of a tile.
    fn epilogue(
        &self,
        b: &Builder<'_>,
        panel: Ix,
        row: Ix,
        rows: usize,
        sums: &[Val],
        columns: i64,
    ) -> Result<(), CodegenError> {
        let lanes = self.lanes as i64;
        let first = b.imul(panel, Ix::C(self.columns));
        if self.direct && columns % lanes == 0 {
            for r in 0..rows {
                let at = b.iadd(row, Ix::C(r as i64));
                for v in 0..(columns / lanes) as usize {
                    let givens: Vec<Val> = self.halves(v).map(|v| sums[r * self.vectors + v]).collect();
                    let column = b.iadd(first, Ix::C(v as i64 * lanes));
                    self.point(b, at, column, self.lanes, &givens, &[])?;
                }
            }
            return Ok(());
        }
        for (i, sum) in sums.iter().enumerate() {
            b.store(self.scratch, Ix::C(i as i64 * lanes), *sum);
        }
        let mut outcome = Ok(());
        b.range(Ix::C(0), Ix::C(rows as i64), 1, |b, r| {
            outcome = self.scratch_row(b, b.iadd(row, r), b.imul(r, Ix::C(self.panel)), first, columns);
        });
        outcome
    }

    /// The vectors that hold the parts of column vector `v`.
    fn halves(&self, v: usize) -> impl Iterator<Item = usize> + use<> {
        let half = self.vectors / self.spec.parts as usize;
        (0..self.spec.parts as usize).map(move |part| part * half + v)
    }

    fn scratch_row(&self, b: &Builder<'_>, row: Ix, base: Ix, first: Ix, columns: i64) -> Result<(), CodegenError> {
        let lanes = self.lanes as i64;
        let uniform = uniform_values(&self.spec.program, &self.reads, 1, false);
        let coords = [row, first];
        let point =
            Point { args: &self.env.args, reads: &self.reads, coords: &coords, lane_axis: 1, lanes: 1, givens: &[] };
        let known = evaluate(b, &self.spec.program, &point, &[], |i| uniform[i])?;
        for v in 0..(columns / lanes) as usize {
            let load = |v: usize| b.load(self.scratch, b.iadd(base, Ix::C(v as i64 * lanes)), self.lanes);
            let givens: Vec<Val> = self.halves(v).map(load).collect();
            self.point(b, row, b.iadd(first, Ix::C(v as i64 * lanes)), self.lanes, &givens, &known)?;
        }
        let mut outcome = Ok(());
        b.range(Ix::C(columns / lanes * lanes), Ix::C(columns), 1, |b, j| {
            let givens: Vec<Val> = (0..self.spec.parts)
                .map(|part| b.load(self.scratch, b.iadd(base, b.iadd(j, Ix::C(part * self.columns))), 1))
                .collect();
            outcome = self.point(b, row, b.iadd(first, j), 1, &givens, &known);
        });
        outcome
    }

    fn point(
        &self,
        b: &Builder<'_>,
        row: Ix,
        column: Ix,
        lanes: usize,
        givens: &[Val],
        known: &[Option<Val>],
    ) -> Result<(), CodegenError> {
        let coords = [row, column];
        let point = Point { args: &self.env.args, reads: &self.reads, coords: &coords, lane_axis: 1, lanes, givens };
        let values = evaluate(b, &self.spec.program, &point, known, |_| true)?;
        for (spec, operand) in &self.writes {
            write(b, spec, operand, &point, &values)?;
        }
        Ok(())
    }
}
