//! Attention with an online softmax, a block of keys at a time.
//!
//! An item is one batch row, one key head and a block of queries; its rows are those queries times the heads that share the key head.
//! Scores and weighted sums are register tiles of the matmul's kind: scores over a transposed copy of the keys, sums over the values
//! as they lie. With a single query per row (decoding) keys are read as they lie, too. What an item does depends on nothing but
//! the item, so that results do not depend on how items are shared out.
//!
//! Keys are transposed eight by eight, and a single query's scores are made for eight keys at a time, whatever vectors the target
//! has.

use super::{
    Env,
    builder::{Buf, Builder, Ix, Ty, Val, Var},
    math::exp_nonpositive,
    matmul::Tile,
    program::{Operand, load_dense, store_dense},
    row::tree,
    shuffle::{LANES, transpose},
};
use crate::CodegenError;
use kiln_core::{AttentionSpec, CompareOp, DType, Size, Storage};

/// Rows that an item should have.
const ROWS: i64 = 48;
/// Keys in a block when there are many queries, and when there is one.
const KEYS: (i64, i64) = (32, 64);

struct Attention<'a> {
    spec: &'a AttentionSpec,
    lanes: i64,
    /// Rows of a register tile.
    tile: i64,
    /// Query heads per key head.
    group: i64,
    /// Keys in a block.
    keys: i64,
    /// `v_dim` in whole vectors.
    padded: i64,
    /// Queries in an item, rows in an item, and rows in whole tiles.
    block: i64,
    rows: i64,
    /// Whether keys are read as they lie.
    single: bool,
    q: Operand,
    k: Operand,
    v: Operand,
    out: Operand,
    /// The slots, and how many rows there are.
    slots: Option<(Buf, Ix)>,
    starts: Option<Buf>,
    mask: Option<Operand>,
    kv_len: Ix,
    queries: Ix,
    /// Scaled queries `[rows, head_dim]`.
    q_rows: Buf,
    /// Keys `[head_dim, keys]`.
    k_columns: Buf,
    /// Values `[keys, padded]`, where they cannot be read as they lie.
    v_rows: Option<Buf>,
    /// Scores, then weights: `[rows, keys]`.
    scores: Buf,
    /// Weighted sums `[rows, padded]`.
    sums: Buf,
    /// Largest score and sum of weights of each row.
    largest: Buf,
    total: Buf,
    /// The block's mask bytes.
    seen: Buf,
}

/// One item's place.
struct Item {
    batch: Ix,
    head: Ix,
    /// Key row.
    slot: Ix,
    /// First query, and how many rows there are.
    query: Ix,
    rows: Ix,
    /// i64 position of the first query.
    position: Val,
}

fn dtype(operand: &Operand) -> DType {
    operand.storage.dense().unwrap_or(DType::F32)
}

fn base(b: &Builder<'_>, operand: &Operand, coords: &[Ix]) -> Ix {
    operand.strides.iter().zip(coords).fold(operand.offset, |sum, (s, c)| b.iadd(sum, b.imul(*s, *c)))
}

fn contiguous(operand: &Operand) -> bool {
    matches!(operand.strides.last(), Some(Ix::C(1)))
}

/// Builds the kernel.
///
/// # Errors
/// As [`define`](super::define).
pub fn lower(b: &Builder<'_>, spec: &AttentionSpec, env: &Env) -> Result<(), CodegenError> {
    for (name, access, axes) in [("q", &spec.q, 4), ("k", &spec.k, 4), ("v", &spec.v, 4), ("out", &spec.out, 4)]
        .into_iter()
        .chain(spec.mask.as_ref().map(|m| ("mask", m, 2)))
    {
        let float = access.storage.dense().is_some_and(|d| d.is_float() && d != DType::F64);
        if access.strides.len() != axes || !access.indirect.is_empty() || (axes == 4 && !float) {
            return Err(CodegenError::Spec(format!("attention's `{name}` is not a dense access of {axes} axes")));
        }
    }
    if spec.mask.as_ref().is_some_and(|m| m.storage != Storage::Dense(DType::Bool)) {
        return Err(CodegenError::Spec("attention's mask is not bool".into()));
    }
    let dims = [spec.q_heads, spec.kv_heads, spec.head_dim, spec.v_dim];
    if dims.iter().any(|d| *d <= 0) || spec.q_heads % spec.kv_heads != 0 {
        return Err(CodegenError::Spec(format!("attention with heads and dims {dims:?}")));
    }
    let attention = Attention::new(b, spec, env);
    let head_dim_limit = 1024;
    if spec.head_dim.max(spec.v_dim) > head_dim_limit {
        return Err(CodegenError::Unsupported(format!("attention heads longer than {head_dim_limit}")));
    }
    let blocks = b.idiv(b.iadd(attention.queries, Ix::C(attention.block - 1)), Ix::C(attention.block));
    let pairs = b.imul(env.args.size(spec.batch), Ix::C(spec.kv_heads));
    let (begin, end) = env.piece(b, b.imul(pairs, blocks), 1);
    b.range(begin, end, 1, |b, item| {
        let (pair, block) = (b.idiv(item, blocks), b.irem(item, blocks));
        let (batch, head) = (b.idiv(pair, Ix::C(spec.kv_heads)), b.irem(pair, Ix::C(spec.kv_heads)));
        attention.item(b, batch, head, block);
    });
    Ok(())
}

impl<'a> Attention<'a> {
    fn new(b: &Builder<'_>, spec: &'a AttentionSpec, env: &Env) -> Self {
        let operand = |n: usize, access| Operand::new(env.buffers[n], access, &env.args);
        let lanes = env.lanes as i64;
        let group = spec.q_heads / spec.kv_heads;
        let k = operand(1, &spec.k);
        let v = operand(2, &spec.v);
        let single = spec.queries == Size::Const(1) && contiguous(&k);
        let block = if single { 1 } else { (ROWS / group).max(1) };
        let tile = if single { group.min(6) } else { 6 };
        let rows = (block * group + tile - 1) / tile * tile;
        let keys = if single { KEYS.1 } else { KEYS.0 };
        let padded = (spec.v_dim + lanes - 1) / lanes * lanes;
        let mut next = 3;
        let mut take = |present: bool| {
            present.then(|| {
                next += 1;
                env.buffers[next - 1]
            })
        };
        let slots = spec.slots.map(|rows| (take(true).expect("present"), env.args.size(rows)));
        let starts = take(spec.starts);
        let mask = spec.mask.as_ref().map(|m| Operand::new(take(true).expect("present"), m, &env.args));
        let out = Operand::new(take(true).expect("present"), &spec.out, &env.args);
        let array = |n: i64| b.local_array(Ty::F32, n as usize);
        let direct = contiguous(&v) && spec.v_dim % lanes == 0 && dtype(&v) == DType::F32;
        Attention {
            spec,
            lanes,
            tile,
            group,
            keys,
            padded,
            block,
            rows,
            single,
            q: operand(0, &spec.q),
            k,
            v,
            out,
            slots,
            starts,
            mask,
            kv_len: env.args.size(spec.kv_len),
            queries: env.args.size(spec.queries),
            q_rows: array(rows * spec.head_dim),
            k_columns: array(if single { 1 } else { keys * spec.head_dim }),
            v_rows: (!direct).then(|| array(keys * padded)),
            scores: array(rows * keys),
            sums: array(rows * padded),
            largest: array(rows),
            total: array(rows),
            seen: b.local_array(Ty::U8, keys as usize),
        }
    }

    fn item(&self, b: &Builder<'_>, batch: Ix, head: Ix, block: Ix) {
        let lookup = |buf: Option<Buf>| buf.map(|buf| b.load(buf, batch, 1));
        let slot = self.slots.map_or(batch, |(slots, rows)| {
            // Whatever a slot says, its row is one of those there are.
            let last = b.sub(b.ix_i64(rows), b.int(Ty::I64, 1));
            b.ix(b.max(b.min(b.load(slots, batch, 1), last), b.int(Ty::I64, 0)))
        });
        let start = lookup(self.starts).unwrap_or_else(|| b.int(Ty::I64, 0));
        let query = b.imul(block, Ix::C(self.block));
        let queries = b.imin(b.isub(self.queries, query), Ix::C(self.block));
        let rows = b.imul(queries, Ix::C(self.group));
        let position = b.add(start, b.ix_i64(query));
        let item = Item { batch, head, slot, query, rows, position };
        self.prepare(b, &item);

        // Keys that any of the queries sees.
        let mut end = b.ix_i64(self.kv_len);
        if self.spec.causal {
            let past = b.add(position, b.ix_i64(queries));
            end = b.min(end, b.max(past, b.int(Ty::I64, 0)));
        }
        let end = b.ix(end);
        let mut begin = Ix::C(0);
        if let Some(window) = self.spec.window {
            let first = b.sub(position, b.int(Ty::I64, window - 1));
            begin = b.round_down(b.ix(b.max(first, b.int(Ty::I64, 0))), self.keys);
        }
        b.range(begin, end, self.keys, |b, first| {
            let count = b.imin(b.isub(end, first), Ix::C(self.keys));
            if self.single {
                self.scores_single(b, &item, first, end);
            } else {
                self.transpose_keys(b, &item, first, count);
                self.scores(b, &item);
            }
            self.mask_bytes(b, &item, first, count);
            b.range(Ix::C(0), item.rows, 1, |b, row| self.softmax(b, &item, row, first, end));
            self.weigh(b, &item, first, count);
        });
        b.range(Ix::C(0), item.rows, 1, |b, row| self.finish(b, &item, row));
    }

    /// Runs `vector` over whole vectors of `0..len` and `scalar` over the rest.
    fn along(&self, b: &Builder<'_>, len: i64, body: impl Fn(&Builder<'_>, Ix, usize)) {
        let whole = len / self.lanes * self.lanes;
        b.range(Ix::C(0), Ix::C(whole), self.lanes, |b, d| body(b, d, self.lanes as usize));
        b.range(Ix::C(whole), Ix::C(len), 1, |b, d| body(b, d, 1));
    }

    fn fill(&self, b: &Builder<'_>, buf: Buf, from: Ix, to: Ix, value: f32) {
        b.range(from, to, 1, |b, i| b.store(buf, i, b.f32(value)));
    }

    /// Scaled queries, zero rows up to whole tiles, and empty sums.
    fn prepare(&self, b: &Builder<'_>, item: &Item) {
        let dim = self.spec.head_dim;
        let scale = b.f32(f32::from_bits(self.spec.scale));
        b.range(Ix::C(0), item.rows, 1, |b, row| {
            let from = base(b, &self.q, &self.row_coords(b, item, row));
            let to = b.imul(row, Ix::C(dim));
            let one = |b: &Builder<'_>, d: Ix, lanes: usize| {
                let at = b.iadd(from, b.imul(self.q.strides[3], d));
                let value = load_dense(b, self.q.buf, dtype(&self.q), at, lanes);
                b.store(self.q_rows, b.iadd(to, d), b.mul(value, scale));
            };
            if contiguous(&self.q) {
                self.along(b, dim, one);
            } else {
                b.range(Ix::C(0), Ix::C(dim), 1, |b, d| one(b, d, 1));
            }
        });
        self.fill(b, self.q_rows, b.imul(item.rows, Ix::C(dim)), Ix::C(self.rows * dim), 0.0);
        self.fill(b, self.largest, Ix::C(0), Ix::C(self.rows), f32::NEG_INFINITY);
        self.fill(b, self.total, Ix::C(0), Ix::C(self.rows), 0.0);
        let zero = b.splat(b.f32(0.0), self.lanes as usize);
        b.range(Ix::C(0), Ix::C(self.rows * self.padded), self.lanes, |b, i| b.store(self.sums, i, zero));
    }

    /// `[batch, query, head]` of a row.
    fn row_coords(&self, b: &Builder<'_>, item: &Item, row: Ix) -> [Ix; 3] {
        let query = b.iadd(item.query, b.idiv(row, Ix::C(self.group)));
        let head = b.iadd(b.imul(item.head, Ix::C(self.group)), b.irem(row, Ix::C(self.group)));
        [item.batch, query, head]
    }

    /// Element of the first dim of a key or value.
    fn key_at(&self, b: &Builder<'_>, operand: &Operand, item: &Item, key: Ix) -> Ix {
        base(b, operand, &[item.slot, key, item.head])
    }

    fn transpose_keys(&self, b: &Builder<'_>, item: &Item, first: Ix, count: Ix) {
        let (dim, keys, stride) = (self.spec.head_dim, self.keys, self.k.strides[3]);
        let scalar = |b: &Builder<'_>, from: i64| {
            b.range(Ix::C(0), count, 1, |b, t| {
                let at = self.key_at(b, &self.k, item, b.iadd(first, t));
                b.range(Ix::C(from), Ix::C(dim), 1, |b, d| {
                    let value = load_dense(b, self.k.buf, dtype(&self.k), b.iadd(at, b.imul(stride, d)), 1);
                    b.store(self.k_columns, b.iadd(b.imul(d, Ix::C(keys)), t), value);
                });
            });
        };
        let partial = |b: &Builder<'_>| {
            let zero = b.splat(b.f32(0.0), self.lanes as usize);
            b.range(Ix::C(0), Ix::C(dim * keys), self.lanes, |b, i| b.store(self.k_columns, i, zero));
            scalar(b, 0);
        };
        if !contiguous(&self.k) {
            return partial(b);
        }
        let whole = |b: &Builder<'_>| {
            b.range(Ix::C(0), Ix::C(keys), 8, |b, t| {
                let starts: [Ix; LANES] =
                    std::array::from_fn(|i| self.key_at(b, &self.k, item, b.iadd(b.iadd(first, t), Ix::C(i as i64))));
                b.range(Ix::C(0), Ix::C(dim / 8 * 8), 8, |b, d| {
                    let rows = starts.map(|s| load_dense(b, self.k.buf, dtype(&self.k), b.iadd(s, d), 8));
                    for (i, column) in transpose(b, rows).into_iter().enumerate() {
                        let at = b.imul(b.iadd(d, Ix::C(i as i64)), Ix::C(keys));
                        b.store(self.k_columns, b.iadd(at, t), column);
                    }
                });
            });
            if dim % 8 != 0 {
                scalar(b, dim / 8 * 8);
            }
        };
        b.when_else(b.icompare(CompareOp::Eq, count, Ix::C(keys)), whole, partial);
    }

    /// `scores = queries · keys` in register tiles.
    fn scores(&self, b: &Builder<'_>, item: &Item) {
        let (dim, keys) = (self.spec.head_dim, self.keys);
        let tile =
            Tile { rows: self.tile as usize, vectors: 2, lanes: self.lanes as usize, lhs: DType::F32, rhs: DType::F32 };
        let zero = b.splat(b.f32(0.0), tile.lanes);
        b.range(Ix::C(0), item.rows, self.tile, |b, row| {
            let rows: Vec<Ix> = (0..self.tile).map(|i| b.imul(b.iadd(row, Ix::C(i)), Ix::C(dim))).collect();
            b.range(Ix::C(0), Ix::C(keys), 2 * self.lanes, |b, t| {
                let start = vec![zero; tile.rows * 2];
                let sums = tile.run(b, self.q_rows, &rows, self.k_columns, t, Ix::C(keys), Ix::C(dim), &start);
                self.put_tile(b, self.scores, row, t, keys, &sums, 2);
            });
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn put_tile(&self, b: &Builder<'_>, to: Buf, row: Ix, column: Ix, stride: i64, values: &[Val], vectors: usize) {
        for (n, value) in values.iter().enumerate() {
            let (r, v) = ((n / vectors) as i64, (n % vectors) as i64);
            let at = b.iadd(b.imul(b.iadd(row, Ix::C(r)), Ix::C(stride)), b.iadd(column, Ix::C(v * self.lanes)));
            b.store(to, at, *value);
        }
    }

    /// Scores of few rows, eight keys at a time, with the keys as they lie.
    fn scores_single(&self, b: &Builder<'_>, item: &Item, first: Ix, end: Ix) {
        let dim = self.spec.head_dim;
        let lanes = LANES;
        let last = b.isub(end, Ix::C(1));
        b.range(Ix::C(0), Ix::C(self.keys), LANES as i64, |b, t| {
            // Keys past the end are masked later; here they are read as the last one.
            let starts: [Ix; LANES] = std::array::from_fn(|i| {
                let key = b.imin(b.iadd(b.iadd(first, t), Ix::C(i as i64)), last);
                self.key_at(b, &self.k, item, key)
            });
            let load = |b: &Builder<'_>, at: Ix, lanes| load_dense(b, self.k.buf, dtype(&self.k), at, lanes);
            b.range(Ix::C(0), item.rows, 1, |b, row| {
                let q = b.imul(row, Ix::C(dim));
                let zero = b.splat(b.f32(0.0), lanes);
                let sums: [Var; LANES] = std::array::from_fn(|_| b.var(zero));
                b.range(Ix::C(0), Ix::C(dim / 8 * 8), 8, |b, d| {
                    let query = b.load(self.q_rows, b.iadd(q, d), lanes);
                    for (sum, start) in sums.iter().zip(starts) {
                        b.set(*sum, b.fma(query, load(b, b.iadd(start, d), lanes), b.get(*sum)));
                    }
                });
                let columns = transpose(b, sums.map(|s| b.get(s)));
                let score = b.var(tree(&columns, &|x, y| b.add(x, y)));
                b.range(Ix::C(dim / 8 * 8), Ix::C(dim), 1, |b, d| {
                    let keys = b.vector(&starts.map(|s| load(b, b.iadd(s, d), 1)));
                    let query = b.load(self.q_rows, b.iadd(q, d), 1);
                    b.set(score, b.fma(query, keys, b.get(score)));
                });
                b.store(self.scores, b.iadd(b.imul(row, Ix::C(self.keys)), t), b.get(score));
            });
        });
    }

    fn mask_bytes(&self, b: &Builder<'_>, item: &Item, first: Ix, count: Ix) {
        let Some(mask) = &self.mask else { return };
        let start = base(b, mask, &[item.batch, first]);
        b.range(Ix::C(0), count, 1, |b, t| {
            let byte = b.load(mask.buf, b.iadd(start, b.imul(mask.strides[1], t)), 1);
            b.store(self.seen, t, byte);
        });
        b.range(count, Ix::C(self.keys), 1, |b, t| b.store(self.seen, t, b.int(Ty::U8, 0)));
    }

    /// One row's step of the online softmax: scores become weights, sums so far are rescaled.
    fn softmax(&self, b: &Builder<'_>, item: &Item, row: Ix, first: Ix, end: Ix) {
        let lanes = self.lanes as usize;
        let at = b.imul(row, Ix::C(self.keys));
        let position = b.add(item.position, b.ix_i64(b.idiv(row, Ix::C(self.group))));
        let position = b.cast(position, Ty::I32);
        let end = b.cast(b.ix_i64(end), Ty::I32);
        let start = b.cast(b.ix_i64(first), Ty::I32);
        let hidden = b.f32(f32::NEG_INFINITY);
        let vectors: Vec<i64> = (0..self.keys / self.lanes).map(|v| v * self.lanes).collect();
        let scores: Vec<Val> = vectors
            .iter()
            .map(|v| {
                let key = b.add(b.add(start, b.int(Ty::I32, *v)), b.iota(Ty::I32, lanes));
                let mut sees = b.lt(key, end);
                if self.spec.causal {
                    sees = b.and(sees, b.compare(CompareOp::Le, key, position));
                }
                if let Some(window) = self.spec.window {
                    let window = b.int(Ty::I32, window.min(i64::from(i32::MAX / 2)));
                    sees = b.and(sees, b.gt(key, b.sub(position, window)));
                }
                if self.mask.is_some() {
                    let bytes = b.load(self.seen, Ix::C(*v), lanes);
                    sees = b.and(sees, b.compare(CompareOp::Ne, bytes, b.int(Ty::U8, 0)));
                }
                b.select(sees, b.load(self.scores, b.iadd(at, Ix::C(*v)), lanes), hidden)
            })
            .collect();
        let larger = |x: Val, y: Val| b.max_number(x, y);
        let horizontal = |v: Val, pair: &dyn Fn(Val, Val) -> Val| {
            let parts: Vec<Val> = (0..lanes).map(|l| b.lane(v, l)).collect();
            tree(&parts, pair)
        };
        let before = b.load(self.largest, row, 1);
        let now = larger(horizontal(tree(&scores, &larger), &larger), before);
        // While a row has seen nothing, its weights are e^-inf = 0 whatever is subtracted.
        let shift = b.select(b.eq(now, hidden), b.f32(0.0), now);
        let weights: Vec<Val> = scores.iter().map(|s| exp_nonpositive(b, b.sub(*s, shift))).collect();
        for (v, weight) in vectors.iter().zip(&weights) {
            b.store(self.scores, b.iadd(at, Ix::C(*v)), *weight);
        }
        let plus = |x: Val, y: Val| b.add(x, y);
        let sum = horizontal(tree(&weights, &plus), &plus);
        let rescale = exp_nonpositive(b, b.sub(before, shift));
        b.store(self.total, row, b.fma(b.load(self.total, row, 1), rescale, sum));
        b.store(self.largest, row, now);
        b.when(b.compare(CompareOp::Ne, rescale, b.f32(1.0)), |b| {
            let at = b.imul(row, Ix::C(self.padded));
            b.range(Ix::C(0), Ix::C(self.padded), self.lanes, |b, d| {
                let at = b.iadd(at, d);
                b.store(self.sums, at, b.mul(b.load(self.sums, at, lanes), rescale));
            });
        });
    }

    /// `sums += weights · values` in register tiles.
    fn weigh(&self, b: &Builder<'_>, item: &Item, first: Ix, count: Ix) {
        let (values, at, stride) = match self.v_rows {
            None => (self.v.buf, self.key_at(b, &self.v, item, first), self.v.strides[1]),
            Some(copy) => {
                self.copy_values(b, item, first, count, copy);
                (copy, Ix::C(0), Ix::C(self.padded))
            }
        };
        b.range(Ix::C(0), item.rows, self.tile, |b, row| {
            let rows: Vec<Ix> = (0..self.tile).map(|i| b.imul(b.iadd(row, Ix::C(i)), Ix::C(self.keys))).collect();
            let columns = |b: &Builder<'_>, d: Ix, vectors: usize| {
                let tile = Tile {
                    rows: self.tile as usize,
                    vectors,
                    lanes: self.lanes as usize,
                    lhs: DType::F32,
                    rhs: DType::F32,
                };
                let start: Vec<Val> = (0..tile.rows * vectors)
                    .map(|n| {
                        let (r, v) = ((n / vectors) as i64, (n % vectors) as i64);
                        let line = b.imul(b.iadd(row, Ix::C(r)), Ix::C(self.padded));
                        b.load(self.sums, b.iadd(line, b.iadd(d, Ix::C(v * self.lanes))), tile.lanes)
                    })
                    .collect();
                let sums = tile.run(b, self.scores, &rows, values, b.iadd(at, d), stride, count, &start);
                self.put_tile(b, self.sums, row, d, self.padded, &sums, vectors);
            };
            let pairs = self.padded / (2 * self.lanes) * (2 * self.lanes);
            b.range(Ix::C(0), Ix::C(pairs), 2 * self.lanes, |b, d| columns(b, d, 2));
            if pairs < self.padded {
                columns(b, Ix::C(pairs), 1);
            }
        });
    }

    fn copy_values(&self, b: &Builder<'_>, item: &Item, first: Ix, count: Ix, copy: Buf) {
        b.range(Ix::C(0), count, 1, |b, t| {
            let from = self.key_at(b, &self.v, item, b.iadd(first, t));
            let to = b.imul(t, Ix::C(self.padded));
            let one = |b: &Builder<'_>, d: Ix, lanes: usize| {
                let at = b.iadd(from, b.imul(self.v.strides[3], d));
                b.store(copy, b.iadd(to, d), load_dense(b, self.v.buf, dtype(&self.v), at, lanes));
            };
            if contiguous(&self.v) {
                self.along(b, self.spec.v_dim, one);
            } else {
                b.range(Ix::C(0), Ix::C(self.spec.v_dim), 1, |b, d| one(b, d, 1));
            }
            self.fill(b, copy, b.iadd(to, Ix::C(self.spec.v_dim)), b.iadd(to, Ix::C(self.padded)), 0.0);
        });
    }

    /// Divides a row's sums by its weights' sum and stores them.
    fn finish(&self, b: &Builder<'_>, item: &Item, row: Ix) {
        let total = b.load(self.total, row, 1);
        let none = b.eq(total, b.f32(0.0));
        let from = b.imul(row, Ix::C(self.padded));
        // A query that sees no key is padding where there are starts; elsewhere it takes all values equally.
        let unseen = if self.spec.starts {
            b.f32(0.0)
        } else {
            b.when(none, |b| self.add_values(b, item, from));
            b.div(b.f32(1.0), b.cast(b.ix_i64(self.kv_len), Ty::F32))
        };
        let factor = b.select(none, unseen, b.div(b.f32(1.0), total));
        let to = base(b, &self.out, &self.row_coords(b, item, row));
        let one = |b: &Builder<'_>, d: Ix, lanes: usize| {
            let value = b.mul(b.load(self.sums, b.iadd(from, d), lanes), factor);
            store_dense(b, self.out.buf, dtype(&self.out), b.iadd(to, b.imul(self.out.strides[3], d)), value);
        };
        if contiguous(&self.out) {
            self.along(b, self.spec.v_dim, one);
        } else {
            b.range(Ix::C(0), Ix::C(self.spec.v_dim), 1, |b, d| one(b, d, 1));
        }
    }

    /// Adds every value to the sums that begin at `from`.
    fn add_values(&self, b: &Builder<'_>, item: &Item, from: Ix) {
        b.range(Ix::C(0), self.kv_len, 1, |b, t| {
            let at = self.key_at(b, &self.v, item, t);
            b.range(Ix::C(0), Ix::C(self.spec.v_dim), 1, |b, d| {
                let value = load_dense(b, self.v.buf, dtype(&self.v), b.iadd(at, b.imul(self.v.strides[3], d)), 1);
                let sum = b.iadd(from, d);
                b.store(self.sums, sum, b.add(b.load(self.sums, sum, 1), value));
            });
        });
    }
}
