//! Batched products of strided operands: row by row of the result, vectorised along its columns where those are contiguous in
//! `b`, else along the depth where that is contiguous in both, else one value at a time.

use super::{
    Env,
    builder::{Builder, Ix, Ty, Val, Var},
    map::coordinates,
    program::{Operand, load_dense, load_value, store_dense},
};
use crate::CodegenError;
use kiln_core::{DType, DotSpec, Storage};

/// Vectors of columns that accumulate side by side.
const COLUMN_VECTORS: usize = 4;

struct Dot {
    a: Operand,
    b: Operand,
    out: Operand,
    n: Ix,
    k: Ix,
    lanes: usize,
    axes: usize,
}

/// Builds the kernel.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &DotSpec, env: &Env) -> Result<(), CodegenError> {
    let axes = spec.batch.len();
    for (name, access) in [("a", &spec.a), ("b", &spec.b), ("out", &spec.out)] {
        if access.strides.len() != axes + 2 || !access.indirect.is_empty() || access.storage.dense().is_none() {
            return Err(CodegenError::Spec(format!("the dot's `{name}` is not a dense access of {} axes", axes + 2)));
        }
    }
    let operand = |n: usize, access| Operand::new(env.buffers[n], access, &env.args);
    let dot = Dot {
        a: operand(0, &spec.a),
        b: operand(1, &spec.b),
        out: operand(2, &spec.out),
        n: env.args.size(spec.n),
        k: env.args.size(spec.k),
        lanes: env.lanes,
        axes,
    };
    let mut extents: Vec<Ix> = spec.batch.iter().map(|s| env.args.size(*s)).collect();
    extents.push(env.args.size(spec.m));
    let items = extents.iter().fold(Ix::C(1), |p, e| b.imul(p, *e));
    let (begin, end) = env.piece(b, items, 1);
    b.range(begin, end, 1, |b, item| dot.row(b, &coordinates(b, item, &extents)));
    Ok(())
}

/// Offset of the given leading coordinates.
fn base(b: &Builder<'_>, operand: &Operand, coords: &[Ix]) -> Ix {
    operand.strides.iter().zip(coords).fold(operand.offset, |sum, (s, c)| b.iadd(sum, b.imul(*s, *c)))
}

impl Dot {
    fn dtype(operand: &Operand) -> DType {
        operand.storage.dense().unwrap_or(DType::F32)
    }

    fn row(&self, b: &Builder<'_>, coords: &[Ix]) {
        let (batch, _) = coords.split_at(self.axes);
        let (a, rhs, out) = (base(b, &self.a, coords), base(b, &self.b, batch), base(b, &self.out, coords));
        let (a_k, b_k) = (self.a.strides[self.axes + 1], self.b.strides[self.axes]);
        let (b_j, out_j) = (self.b.strides[self.axes + 1], self.out.strides[self.axes + 1]);
        let one = |i: Ix| matches!(i, Ix::C(1));
        if one(b_j) && one(out_j) && self.lanes > 1 {
            let columns = |b: &Builder<'_>, from: Ix, to: Ix, vectors: usize, lanes: usize| {
                b.range(from, to, (vectors * lanes) as i64, |b, j| {
                    let sums: Vec<Var> =
                        (0..vectors).map(|_| b.var(b.splat(b.number(self.ty(), 0.0), lanes))).collect();
                    b.range(Ix::C(0), self.k, 1, |b, k| {
                        let factor = self.value(b, &self.a, b.iadd(a, b.imul(a_k, k)));
                        let at = b.iadd(b.iadd(rhs, b.imul(b_k, k)), j);
                        for (v, sum) in sums.iter().enumerate() {
                            let at = b.iadd(at, Ix::C((v * lanes) as i64));
                            let column = b.cast(load_dense(b, self.b.buf, Self::dtype(&self.b), at, lanes), self.ty());
                            b.set(*sum, b.fma(factor, column, b.get(*sum)));
                        }
                    });
                    for (v, sum) in sums.iter().enumerate() {
                        let at = b.iadd(b.iadd(out, j), Ix::C((v * lanes) as i64));
                        store_dense(b, self.out.buf, Self::dtype(&self.out), at, b.get(*sum));
                    }
                });
            };
            let wide = b.round_down(self.n, (COLUMN_VECTORS * self.lanes) as i64);
            let whole = b.round_down(self.n, self.lanes as i64);
            columns(b, Ix::C(0), wide, COLUMN_VECTORS, self.lanes);
            columns(b, wide, whole, 1, self.lanes);
            columns(b, whole, self.n, 1, 1);
            return;
        }
        let along = one(a_k) && one(b_k) && self.lanes > 1;
        b.range(Ix::C(0), self.n, 1, |b, j| {
            let rhs = b.iadd(rhs, b.imul(b_j, j));
            let sum = b.var(b.number(self.ty(), 0.0));
            let mut from = Ix::C(0);
            if along {
                from = b.round_down(self.k, self.lanes as i64);
                let partial = b.var(b.splat(b.number(self.ty(), 0.0), self.lanes));
                b.range(Ix::C(0), from, self.lanes as i64, |b, k| {
                    let load = |o: &Operand, at: Ix| {
                        b.cast(load_dense(b, o.buf, Self::dtype(o), b.iadd(at, k), self.lanes), self.ty())
                    };
                    b.set(partial, b.fma(load(&self.a, a), load(&self.b, rhs), b.get(partial)));
                });
                let partial = b.get(partial);
                let lanes: Vec<Val> = (0..self.lanes).map(|l| b.lane(partial, l)).collect();
                b.set(sum, super::row::tree(&lanes, &|x, y| b.add(x, y)));
            }
            b.range(from, self.k, 1, |b, k| {
                let x = self.value(b, &self.a, b.iadd(a, b.imul(a_k, k)));
                let y = self.value(b, &self.b, b.iadd(rhs, b.imul(b_k, k)));
                b.set(sum, b.fma(x, y, b.get(sum)));
            });
            let at = b.iadd(out, b.imul(out_j, j));
            store_dense(b, self.out.buf, Self::dtype(&self.out), at, b.get(sum));
        });
    }

    /// The type that sums are computed in.
    fn ty(&self) -> Ty {
        match self.out.storage {
            Storage::Dense(d) => Ty::of(d),
            Storage::Block(_) => Ty::F32,
        }
    }

    fn value(&self, b: &Builder<'_>, operand: &Operand, at: Ix) -> Val {
        b.cast(load_value(b, operand.buf, operand.storage, at), self.ty())
    }
}
