//! What each spec means, as plain loops: the oracle that templates and lowering are tested against. Slow on purpose; values are f64 (rounded to f32 after
//! each operation of an f32 program), sums are f64.

use crate::{
    Access, AttentionSpec, BinaryOp, BlockFormat, CompareOp, DType, DotSpec, ElementOp, KernelSpec, MapSpec,
    MatMulSpec, Onto, PackSpec, Phase, Program, ReduceOp, RightSide, RowSpec, Size, Storage, UnaryOp, ValueId, Write,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scalar {
    F(f64),
    I(i64),
    B(bool),
}

impl Scalar {
    fn f(self) -> f64 {
        match self {
            Scalar::F(x) => x,
            Scalar::I(x) => x as f64,
            Scalar::B(x) => f64::from(u8::from(x)),
        }
    }
    fn i(self) -> i64 {
        match self {
            Scalar::F(x) => x as i64,
            Scalar::I(x) => x,
            Scalar::B(x) => i64::from(x),
        }
    }
    fn b(self) -> bool {
        match self {
            Scalar::F(x) => x != 0.0,
            Scalar::I(x) => x != 0,
            Scalar::B(x) => x,
        }
    }
}

/// A value as `dtype` holds it while computing.
fn fit(dtype: DType, v: Scalar) -> Scalar {
    match (dtype, v) {
        (DType::F64, v) => Scalar::F(v.f()),
        (DType::F32 | DType::F16 | DType::BF16, v) => Scalar::F(f64::from(v.f() as f32)),
        (DType::Bool, v) => Scalar::B(v.b()),
        (DType::I64, v) => Scalar::I(v.i()),
        (DType::I32, Scalar::F(x)) => Scalar::I(i64::from(x as i32)),
        (DType::I8, Scalar::F(x)) => Scalar::I(i64::from(x as i8)),
        (DType::U8, Scalar::F(x)) => Scalar::I(i64::from(x as u8)),
        (DType::I32, v) => Scalar::I(i64::from(v.i() as i32)),
        (DType::I8, v) => Scalar::I(i64::from(v.i() as i8)),
        (DType::U8, v) => Scalar::I(i64::from(v.i() as u8)),
    }
}

fn bits(dtype: DType, bits: u64) -> Scalar {
    match dtype {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Scalar::F(dtype.value(bits)),
        DType::I64 => Scalar::I(bits as i64),
        DType::I32 => Scalar::I(i64::from(bits as i32)),
        DType::I8 => Scalar::I(i64::from(bits as i8)),
        DType::U8 => Scalar::I(i64::from(bits as u8)),
        DType::Bool => Scalar::B(bits & 1 != 0),
    }
}

fn get(storage: Storage, buffer: &[u8], index: i64) -> Scalar {
    let index = usize::try_from(index).expect("an index is not negative");
    match storage {
        Storage::Dense(dtype) => {
            let mut word = [0; 8];
            word[..dtype.size()].copy_from_slice(&buffer[index * dtype.size()..][..dtype.size()]);
            match dtype {
                DType::Bool => Scalar::B(word[0] != 0),
                _ => bits(dtype, u64::from_le_bytes(word)),
            }
        }
        Storage::Block(format) => Scalar::F(f64::from(block_value(format, buffer, index))),
    }
}

fn block_value(format: BlockFormat, buffer: &[u8], index: usize) -> f32 {
    let mut values = [0.0; BlockFormat::MAX_BLOCK_LEN];
    let (block, within) = (index / format.block_len(), index % format.block_len());
    format.dequantize_block(&buffer[block * format.block_bytes()..][..format.block_bytes()], &mut values);
    values[within]
}

fn put(storage: Storage, buffer: &mut [u8], index: i64, value: Scalar) {
    let index = usize::try_from(index).expect("an index is not negative");
    let dtype = storage.dense().expect("writes are dense");
    let word = match dtype {
        DType::F64 => value.f().to_bits(),
        // It was computed in f32, also where it is stored in less.
        DType::F32 | DType::F16 | DType::BF16 => dtype.bits(f64::from(value.f() as f32)),
        DType::Bool => u64::from(value.b()),
        _ => value.i() as u64,
    };
    buffer[index * dtype.size()..][..dtype.size()].copy_from_slice(&word.to_le_bytes()[..dtype.size()]);
}

struct Run<'a> {
    buffers: &'a mut [Vec<u8>],
    args: &'a [i64],
}

impl Run<'_> {
    fn size(&self, s: Size) -> i64 {
        match s {
            Size::Const(c) => c,
            Size::Arg(n) => self.args[n as usize],
        }
    }

    fn index(&self, a: &Access, coords: &[i64], values: &[Scalar]) -> i64 {
        let direct: i64 = a.strides.iter().zip(coords).map(|(s, c)| self.size(*s) * c).sum();
        let indirect: i64 = a.indirect.iter().map(|(v, s)| values[v.0 as usize].i() * self.size(*s)).sum();
        self.size(a.offset) + direct + indirect
    }

    fn program(&self, p: &Program, reads: &[Access], first: usize, coords: &[i64], givens: &[Scalar]) -> Vec<Scalar> {
        let mut values: Vec<Scalar> = vec![];
        for inst in &p.insts {
            let of = |v: &ValueId| values[v.0 as usize];
            let float = inst.dtype.is_float();
            let v = match &inst.op {
                ElementOp::Load(n) => {
                    let a = &reads[*n as usize];
                    get(a.storage, &self.buffers[first + *n as usize], self.index(a, coords, &values))
                }
                ElementOp::Coord(c) => Scalar::I(coords[*c as usize]),
                ElementOp::Size(s) => Scalar::I(self.size(*s)),
                ElementOp::Const(b) => bits(inst.dtype, *b),
                ElementOp::Given(n) => givens[*n as usize],
                ElementOp::Unary(op, a) => unary(*op, of(a), float),
                ElementOp::Binary(op, a, b) => binary(*op, of(a), of(b)),
                ElementOp::Compare(op, a, b) => Scalar::B(compare(*op, of(a), of(b))),
                ElementOp::Select(c, a, b) => {
                    if of(c).b() {
                        of(a)
                    } else {
                        of(b)
                    }
                }
                ElementOp::Cast(a) => of(a),
            };
            values.push(fit(inst.dtype, v));
        }
        values
    }

    fn holds(&self, w: &Write, values: &[Scalar]) -> bool {
        w.condition.is_none_or(|c| values[c.0 as usize].b())
    }

    fn write(&mut self, w: &Write, buffer: usize, coords: &[i64], values: &[Scalar]) {
        if self.holds(w, values) {
            let at = self.index(&w.access, coords, values);
            put(w.access.storage, &mut self.buffers[buffer], at, values[w.value.0 as usize]);
        }
    }
}

fn unary(op: UnaryOp, a: Scalar, float: bool) -> Scalar {
    if op == UnaryOp::Not {
        return Scalar::B(!a.b());
    }
    if !float {
        return Scalar::I(match op {
            UnaryOp::Neg => a.i().wrapping_neg(),
            UnaryOp::Abs => a.i().wrapping_abs(),
            _ => a.i(),
        });
    }
    let x = a.f();
    Scalar::F(match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Erf => erf(x),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Not => unreachable!("handled above"),
    })
}

/// Gauss error function by its series, to about 1e-14.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let x = x.clamp(-6.0, 6.0);
    let (mut term, mut sum) = (x, x);
    for n in 0..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 3);
        sum += term;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::F(a), b) => {
            let b = b.f();
            Scalar::F(match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div => a / b,
                BinaryOp::Max => a.max(b),
                BinaryOp::Min => a.min(b),
                BinaryOp::Pow => a.powf(b),
                BinaryOp::Rem => a % b,
                BinaryOp::And | BinaryOp::Or => panic!("{op} of floats"),
            })
        }
        (Scalar::B(a), b) => Scalar::B(match op {
            BinaryOp::And => a && b.b(),
            BinaryOp::Or => a || b.b(),
            _ => panic!("{op} of bools"),
        }),
        (Scalar::I(a), b) => {
            let b = b.i();
            Scalar::I(match op {
                BinaryOp::Add => a.wrapping_add(b),
                BinaryOp::Sub => a.wrapping_sub(b),
                BinaryOp::Mul => a.wrapping_mul(b),
                BinaryOp::Div if b == 0 => 0,
                BinaryOp::Rem if b == 0 => 0,
                BinaryOp::Div => a.wrapping_div(b),
                BinaryOp::Rem => a.wrapping_rem(b),
                BinaryOp::Max => a.max(b),
                BinaryOp::Min => a.min(b),
                BinaryOp::And => a & b,
                BinaryOp::Or => a | b,
                BinaryOp::Pow => panic!("pow of integers"),
            })
        }
    }
}

fn compare(op: CompareOp, a: Scalar, b: Scalar) -> bool {
    let order = match (a, b) {
        (Scalar::F(a), b) => a.partial_cmp(&b.f()),
        (a, b) => Some(a.i().cmp(&b.i())),
    };
    match order {
        None => op == CompareOp::Ne,
        Some(o) => match op {
            CompareOp::Eq => o.is_eq(),
            CompareOp::Ne => o.is_ne(),
            CompareOp::Lt => o.is_lt(),
            CompareOp::Le => o.is_le(),
            CompareOp::Gt => o.is_gt(),
            CompareOp::Ge => o.is_ge(),
        },
    }
}

/// Each point of an index space, in order.
fn points(extents: &[i64]) -> impl Iterator<Item = Vec<i64>> + use<> {
    let extents = extents.to_vec();
    let total: i64 = extents.iter().product();
    (0..total).map(move |mut i| {
        let mut point = vec![0; extents.len()];
        for (p, e) in point.iter_mut().zip(&extents).rev() {
            *p = i % e;
            i /= e;
        }
        point
    })
}

/// Runs `spec` over whole buffers: the operands in order, as bytes.
pub fn eval_spec(spec: &KernelSpec, buffers: &mut [Vec<u8>], args: &[i64]) {
    let mut run = Run { buffers, args };
    match spec {
        KernelSpec::Map(s) => map(&mut run, s),
        KernelSpec::Row(s) => row(&mut run, s),
        KernelSpec::MatMul(s) => matmul(&mut run, s),
        KernelSpec::Pack(s) => pack(&mut run, s),
        KernelSpec::Dot(s) => dot(&mut run, s),
        KernelSpec::Attention(s) => attention(&mut run, s),
    }
}

fn map(run: &mut Run<'_>, s: &MapSpec) {
    let extents: Vec<i64> = s.extents.iter().map(|e| run.size(*e)).collect();
    for point in points(&extents) {
        let values = run.program(&s.program, &s.reads, 0, &point, &[]);
        for (n, w) in s.writes.iter().enumerate() {
            run.write(w, s.reads.len() + n, &point, &values);
        }
    }
}

fn row(run: &mut Run<'_>, s: &RowSpec) {
    let rows: Vec<i64> = s.rows.iter().map(|e| run.size(*e)).collect();
    let len = run.size(s.len);
    for point in points(&rows) {
        let at = |i: i64| point.iter().copied().chain([i]).collect::<Vec<_>>();
        let mut givens: Vec<Scalar> = vec![];
        let mut buffer = s.reads.len();
        for phase in &s.phases {
            match phase {
                Phase::Reduce { program, value, op } => {
                    let dtype = program.insts[value.0 as usize].dtype;
                    let all: Vec<Scalar> = (0..len)
                        .map(|i| run.program(program, &s.reads, 0, &at(i), &givens)[value.0 as usize])
                        .collect();
                    givens.push(reduce(*op, &all, dtype.is_float()));
                }
                Phase::Scalar { program, exports, writes } => {
                    let values = run.program(program, &s.reads, 0, &at(0), &givens);
                    for w in writes {
                        run.write(w, buffer, &at(0), &values);
                        buffer += 1;
                    }
                    givens.extend(exports.iter().map(|e| values[e.0 as usize]));
                }
                Phase::Map { program, writes } => {
                    for i in 0..len {
                        let values = run.program(program, &s.reads, 0, &at(i), &givens);
                        for (n, w) in writes.iter().enumerate() {
                            run.write(w, buffer + n, &at(i), &values);
                        }
                    }
                    buffer += writes.len();
                }
                Phase::Scan { program, op, onto, write } => {
                    let (dtype, n) = (program.insts[write.value.0 as usize].dtype, write.value.0 as usize);
                    let mut before = None;
                    for i in 0..len {
                        let mut values = run.program(program, &s.reads, 0, &at(i), &givens);
                        let other = match onto {
                            Onto::Before => before,
                            Onto::Stored => run.holds(write, &values).then(|| {
                                let index = run.index(&write.access, &at(i), &values);
                                get(write.access.storage, &run.buffers[buffer], index)
                            }),
                        };
                        let all: Vec<Scalar> = other.into_iter().chain([values[n]]).collect();
                        values[n] = fit(dtype, reduce(*op, &all, dtype.is_float()));
                        before = Some(values[n]);
                        run.write(write, buffer, &at(i), &values);
                    }
                    buffer += 1;
                }
            }
        }
    }
}

fn reduce(op: ReduceOp, all: &[Scalar], float: bool) -> Scalar {
    if op == ReduceOp::ArgMax {
        // NaN counts as -inf.
        let key = |v: Scalar| if v.f().is_nan() { Scalar::F(f64::NEG_INFINITY) } else { v };
        let mut best = 0;
        for (i, v) in all.iter().enumerate() {
            if compare(CompareOp::Gt, key(*v), key(all[best])) {
                best = i;
            }
        }
        return Scalar::I(best as i64);
    }
    if float {
        let f = all.iter().map(|v| v.f());
        return Scalar::F(match op {
            ReduceOp::Sum => f.sum(),
            ReduceOp::Prod => f.product(),
            ReduceOp::Max => f.fold(f64::NEG_INFINITY, f64::max),
            _ => f.fold(f64::INFINITY, f64::min),
        });
    }
    let i = all.iter().map(|v| v.i());
    Scalar::I(match op {
        ReduceOp::Sum => i.fold(0, i64::wrapping_add),
        ReduceOp::Prod => i.fold(1, i64::wrapping_mul),
        ReduceOp::Max => i.fold(i64::MIN, i64::max),
        _ => i.fold(i64::MAX, i64::min),
    })
}

/// Panel, and lane within it, of a packed column.
fn packed_at(column: i64, n: i64, panel: i64, parts: i64) -> (i64, i64) {
    let (columns, half) = (panel / parts, n / parts);
    let (part, j) = (column / half, column % half);
    (j / columns, part * columns + j % columns)
}

fn matmul(run: &mut Run<'_>, s: &MatMulSpec) {
    let (half, depth) = (s.n / s.parts, run.size(s.k));
    // Element `k` of column `j`.
    let at = |j: i64, k: i64| match s.rhs {
        RightSide::Columns(_) => j * depth + k,
        RightSide::Panels { panel: width, .. } => {
            let (panel, lane) = packed_at(j, s.n, width, s.parts);
            (panel * depth + k) * width + lane
        }
    };
    for i in 0..run.size(s.m) {
        let a = |k: i64, run: &Run<'_>| get(s.lhs, &run.buffers[0], i * run.size(s.a_stride) + k).f();
        let norm = s.rms_norm.map_or(1.0, |eps| {
            let squares: f64 = (0..depth).map(|k| a(k, run) * a(k, run)).sum();
            1.0 / (squares / depth as f64 + f64::from(f32::from_bits(eps))).sqrt()
        });
        for j in 0..half {
            let givens: Vec<Scalar> = (0..s.parts)
                .map(|part| {
                    let b = |k: i64, run: &Run<'_>| get(s.rhs.storage(), &run.buffers[1], at(part * half + j, k)).f();
                    let sum = (0..depth).map(|k| a(k, run) * b(k, run));
                    Scalar::F(norm * sum.sum::<f64>())
                })
                .collect();
            let values = run.program(&s.program, &s.reads, 2, &[i, j], &givens);
            for (n, w) in s.writes.iter().enumerate() {
                run.write(w, 2 + s.reads.len() + n, &[i, j], &values);
            }
        }
    }
}

fn pack(run: &mut Run<'_>, s: &PackSpec) {
    let f32s = Storage::Dense(DType::F32);
    let (out, depth) = (run.buffers.len() - 1, run.size(s.k));
    for r in 0..s.n {
        let (panel, lane) = packed_at(s.column_offset + r, s.n_total, s.panel, s.parts);
        for k in 0..depth {
            let at = if s.transposed { k * s.n + r } else { r * depth + k };
            let mut v = get(s.storage, &run.buffers[0], at).f() as f32;
            if s.column_scale {
                v *= get(f32s, &run.buffers[1], k).f() as f32;
            }
            if s.row_scale {
                v *= get(f32s, &run.buffers[1 + usize::from(s.column_scale)], r).f() as f32;
            }
            put(s.packed.into(), &mut run.buffers[out], (panel * depth + k) * s.panel + lane, Scalar::F(f64::from(v)));
        }
    }
    // Padding is filled with the last column of its part.
    let (columns, half) = (s.panel / s.parts, s.n_total / s.parts);
    for part in 0..s.parts {
        let last = (part + 1) * half - 1;
        if (s.column_offset..s.column_offset + s.n).contains(&last) {
            let (panel, lane) = packed_at(last, s.n_total, s.panel, s.parts);
            for pad in lane + 1..(part + 1) * columns {
                for k in 0..depth {
                    put(s.packed.into(), &mut run.buffers[out], (panel * depth + k) * s.panel + pad, Scalar::F(0.0));
                }
            }
        }
    }
}

fn dot(run: &mut Run<'_>, s: &DotSpec) {
    let batch: Vec<i64> = s.batch.iter().map(|e| run.size(*e)).collect();
    for point in points(&batch) {
        for i in 0..run.size(s.m) {
            for j in 0..run.size(s.n) {
                let at = |x: i64, y: i64| point.iter().copied().chain([x, y]).collect::<Vec<_>>();
                let sum: f64 = (0..run.size(s.k))
                    .map(|k| {
                        let a = get(s.a.storage, &run.buffers[0], run.index(&s.a, &at(i, k), &[])).f();
                        a * get(s.b.storage, &run.buffers[1], run.index(&s.b, &at(k, j), &[])).f()
                    })
                    .sum();
                let to = run.index(&s.out, &at(i, j), &[]);
                put(s.out.storage, &mut run.buffers[2], to, Scalar::F(sum));
            }
        }
    }
}

fn attention(run: &mut Run<'_>, s: &AttentionSpec) {
    let i64s = Storage::Dense(DType::I64);
    let slots = 3;
    let starts = slots + usize::from(s.slots.is_some());
    let mask = starts + usize::from(s.starts);
    let out = mask + usize::from(s.mask.is_some());
    let group = s.q_heads / s.kv_heads;
    let scale = f64::from(f32::from_bits(s.scale));
    for b in 0..run.size(s.batch) {
        let slot = match s.slots {
            Some(rows) => get(i64s, &run.buffers[slots], b).i().clamp(0, run.size(rows) - 1),
            None => b,
        };
        let start = if s.starts { get(i64s, &run.buffers[starts], b).i() } else { 0 };
        for j in 0..run.size(s.queries) {
            let p = start + j;
            for h in 0..s.q_heads {
                let sees = |t: i64| {
                    (!s.causal || t <= p)
                        && s.window.is_none_or(|w| t > p - w)
                        && s.mask
                            .as_ref()
                            .is_none_or(|m| get(m.storage, &run.buffers[mask], run.index(m, &[b, t], &[])).b())
                };
                let mut keys: Vec<i64> = (0..run.size(s.kv_len)).filter(|t| sees(*t)).collect();
                let unseen = keys.is_empty() && !s.starts;
                if unseen {
                    keys = (0..run.size(s.kv_len)).collect();
                }
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|t| {
                        let dot: f64 = (0..s.head_dim)
                            .map(|d| {
                                get(s.q.storage, &run.buffers[0], run.index(&s.q, &[b, j, h, d], &[])).f()
                                    * get(s.k.storage, &run.buffers[1], run.index(&s.k, &[slot, *t, h / group, d], &[]))
                                        .f()
                            })
                            .sum();
                        if unseen { 0.0 } else { dot * scale }
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|x| (x - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..s.v_dim {
                    let sum: f64 = keys
                        .iter()
                        .zip(&weights)
                        .map(|(t, w)| {
                            w * get(s.v.storage, &run.buffers[2], run.index(&s.v, &[slot, *t, h / group, d], &[])).f()
                        })
                        .sum();
                    let value = if keys.is_empty() { 0.0 } else { sum / total };
                    let to = run.index(&s.out, &[b, j, h, d], &[]);
                    put(s.out.storage, &mut run.buffers[out], to, Scalar::F(value));
                }
            }
        }
    }
}
