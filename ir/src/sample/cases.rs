//! A few single-op modules for every op.

use super::Random;
use crate::{
    Arg, ArgKind, AttentionAttrs, BlockFormat, Class, ConvAttrs, DType, DotDims, FuncId, Function, Literal, Module, Op,
    Real, Storage, TensorType, text,
};
use kiln_core::{BinaryOp, CompareOp, Dim, ReduceOp, UnaryOp};

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const NUMBERS: [DType; 8] =
    [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I8, DType::U8];

/// Shapes as text, since some have symbols.
const SHAPES: [&str; 10] = ["1", "7", "129", "2, 3", "17, 64", "3, 1, 7", "2, 17, 3", "b, 7", "b, s, 17", "2, b, 3, s"];

/// Single-op modules for every op: the entry is `@f`, its arguments are inputs (the cache of a `cache_update` is a state), and its
/// result is named `y`. All float types, integers and bool where the op takes them; sizes 1, 2, 3, 7, 17, 64, 129 and symbols `b`
/// in 1..=8 and `s` in 1..=65. Every module passes the verifier.
pub fn op_cases(seed: u64) -> Vec<Module> {
    let mut cases = Cases { out: vec![], random: Random::new(seed) };
    cases.constants();
    cases.elementwise();
    cases.movement();
    cases.reductions();
    cases.gathers();
    cases.products();
    cases.convolutions();
    cases.composites();
    cases.attention();
    cases.calls();
    cases.out
}

/// The dims of a text such as `b, s + 1, 3`.
fn dims(text: &str) -> Vec<Dim> {
    text::split(text).map(|t| t.parse().expect("a size")).collect()
}

fn ty(storage: impl Into<Storage>, shape: &str) -> TensorType {
    TensorType::new(storage, dims(shape))
}

struct Cases {
    out: Vec<Module>,
    random: Random,
}

impl Cases {
    fn add(&mut self, op: Op, args: &[TensorType]) {
        let mut f = Function::new("f", true);
        let update = op.class() == Class::Write;
        let ids: Vec<_> = args
            .iter()
            .enumerate()
            .map(|(i, ty)| {
                let kind = if update && i == 0 { ArgKind::State } else { ArgKind::Input };
                f.add_arg(Arg { name: format!("x{i}").into(), ty: ty.clone(), kind, default: None, range: None })
            })
            .collect();
        // `dim_size` has no operand: its argument is there for the symbols only.
        let operands = if matches!(op, Op::DimSize(_) | Op::Iota { .. }) { &[] } else { &ids[..] };
        let y = match op {
            Op::Arg(_) => ids[0],
            op => f.add(op, operands).expect("a well-typed case"),
        };
        f.add_output("y", y, update.then_some(0));
        self.push(vec![f]);
    }

    fn push(&mut self, mut functions: Vec<Function>) {
        for f in functions.iter_mut().filter(|f| f.entry) {
            f.variants = super::by_rows_of_first_input(f);
        }
        let mut module = Module { functions, ..Module::default() };
        for (_, n) in module.functions.iter().flat_map(Function::nodes) {
            for d in n.ty.tensor().iter().flat_map(|t| t.shape.iter()) {
                d.for_each_symbol(&mut |s| {
                    module.symbols.insert(s.clone(), (1..=if &**s == "b" { 8 } else { 65 }).into());
                });
            }
        }
        self.out.push(module);
    }

    /// Each dtype with two shapes, walking through all of them.
    fn each(&mut self, op: Op, dtypes: &[DType], args: impl Fn(DType, &str) -> Vec<TensorType>) {
        let first = self.random.below(SHAPES.len());
        for (i, d) in dtypes.iter().enumerate() {
            for shape in [SHAPES[(first + 2 * i) % SHAPES.len()], SHAPES[(first + 2 * i + 5) % SHAPES.len()]] {
                self.add(op.clone(), &args(*d, shape));
            }
        }
    }

    fn constants(&mut self) {
        self.add(Op::Arg(0), &[ty(DType::F32, "b, 7")]);
        for d in DType::ALL {
            let values: Vec<f64> = (0..21).map(|_| self.random.between(-9, 9).abs() as f64 / 2.0).collect();
            self.add(Op::Constant(Literal::from_f64(d, vec![3, 7], &values).expect("21 values")), &[]);
            self.add(Op::Constant(Literal::scalar(d, 1.0)), &[]);
        }
        for (shape, axis) in [("7", 0), ("3, 17", 0), ("3, 17", 1), ("b, s", 1), ("2, s, 3", 1)] {
            let args = if shape.contains(['b', 's']) { vec![ty(DType::F32, shape)] } else { vec![] };
            self.add(Op::Iota { shape: dims(shape), axis }, &args);
        }
        for size in ["s", "b*s + 1", "7", "floordiv(s + 7, 8)", "max(b, s)"] {
            self.add(Op::DimSize(dims(size).remove(0)), &[ty(DType::F32, "b, s")]);
        }
    }

    fn elementwise(&mut self) {
        for u in UnaryOp::ALL {
            let dtypes = match u {
                UnaryOp::Not => &[DType::Bool][..],
                UnaryOp::Neg | UnaryOp::Abs => &NUMBERS,
                _ => &FLOATS,
            };
            self.each(Op::Unary(*u), dtypes, |d, shape| vec![ty(d, shape)]);
        }
        for b in BinaryOp::ALL {
            let dtypes = match b {
                BinaryOp::And | BinaryOp::Or => &[DType::Bool][..],
                BinaryOp::Pow => &FLOATS,
                _ => &NUMBERS,
            };
            self.each(Op::Binary(*b), dtypes, |d, shape| vec![ty(d, shape); 2]);
        }
        for c in CompareOp::ALL {
            let dtypes = [DType::F32, DType::BF16, DType::I64, DType::U8, DType::Bool];
            self.each(Op::Compare(*c), &dtypes, |d, shape| vec![ty(d, shape); 2]);
        }
        self.each(Op::Select, &DType::ALL, |d, shape| vec![ty(DType::Bool, shape), ty(d, shape), ty(d, shape)]);
        for to in DType::ALL {
            for from in DType::ALL {
                let shape = *self.random.pick(&SHAPES);
                self.add(Op::Cast(to), &[ty(from, shape)]);
            }
        }
        for op in [Op::Sigmoid, Op::Silu, Op::Gelu { tanh: false }, Op::Gelu { tanh: true }] {
            self.each(op, &FLOATS, |d, shape| vec![ty(d, shape)]);
        }
    }

    fn movement(&mut self) {
        let some = [DType::F32, DType::BF16, DType::I64, DType::Bool];
        for d in some {
            for (from, to) in
                [("2, 3", "6"), ("7", "1, 7, 1"), ("b, 2, s", "b*s, 2"), ("1", ""), ("b, s, 64", "b, s, 4, 16")]
            {
                self.add(Op::Reshape(dims(to)), &[ty(d, from)]);
            }
            for (shape, perm) in [
                ("2, 3", &[1, 0][..]),
                ("7", &[0]),
                ("b, s, 3, 16", &[0, 2, 1, 3]),
                ("17, 2, 64", &[2, 0, 1]),
                ("3, 129, 7", &[0, 2, 1]),
            ] {
                self.add(Op::Transpose(perm.to_vec()), &[ty(d, shape)]);
            }
            for (from, to) in
                [("", "7"), ("1, 3", "17, 3"), ("3", "2, 3"), ("b, 1, 64", "b, s, 64"), ("2, 1, 1", "3, 2, 7, 1")]
            {
                let mut args = vec![ty(d, from)];
                if to.contains('s') {
                    // The symbol of the result comes from an argument that is not used.
                    args.push(ty(d, "s"));
                }
                self.add_first(Op::Broadcast(dims(to)), &args);
            }
            for (shape, axis, start, len) in [
                ("7", 0, "2", "3"),
                ("17, 64", 1, "32", "32"),
                ("b, s, 7", 1, "s - 1", "1"),
                ("3, 129", 0, "1", "2"),
                ("2, s + 1", 1, "1", "s"),
            ] {
                let (start, len) = (dims(start).remove(0), dims(len).remove(0));
                self.add(Op::Slice { axis, start, len }, &[ty(d, shape)]);
            }
            for (axis, shapes) in [
                (0, &["7"][..]),
                (1, &["2, 3", "2, 17", "2, 1"]),
                (0, &["3, 64", "1, 64"]),
                (1, &["b, s, 3", "b, 2, 3"]),
                (3, &["b, 1, 2, 17", "b, 1, 2, 17"]),
            ] {
                let args: Vec<TensorType> = shapes.iter().map(|s| ty(d, s)).collect();
                self.add(Op::Concat { axis }, &args);
            }
            for (shape, axis, low, high, value) in
                [("7", 0, 1, 2, 0.0), ("3, 17", 1, 0, 47, 1.0), ("b, s", 0, 3, 0, 0.0), ("2, 3, 1", 2, 0, 0, 1.0)]
            {
                let (low, high) = (Dim::from(low), Dim::from(high));
                self.add(Op::Pad { axis, low, high, value: Real::new(value) }, &[ty(d, shape)]);
            }
        }
    }

    /// As `add`, with the op on the first argument only.
    fn add_first(&mut self, op: Op, args: &[TensorType]) {
        let mut f = Function::new("f", true);
        for (i, ty) in args.iter().enumerate() {
            let name = format!("x{i}").into();
            f.add_arg(Arg { name, ty: ty.clone(), kind: ArgKind::Input, default: None, range: None });
        }
        let y = f.add(op, &[crate::NodeId(0)]).expect("a well-typed case");
        f.add_output("y", y, None);
        self.push(vec![f]);
    }

    fn reductions(&mut self) {
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::ArgMax] {
            for (i, d) in NUMBERS.into_iter().enumerate() {
                for (j, (shape, axis)) in
                    [("7", 0), ("17, 129", 1), ("3, 64", 0), ("2, 3, 7", 1), ("b, s", 1), ("b, s, 17", 2), ("s, 1", 1)]
                        .into_iter()
                        .enumerate()
                {
                    if (i + j) % 3 == 0 || d == DType::F32 {
                        self.add(Op::Reduce { op, axis, keep: (i + j) % 2 == 0 }, &[ty(d, shape)]);
                    }
                }
            }
        }
    }

    fn gathers(&mut self) {
        for d in [DType::F32, DType::F16, DType::I32, DType::Bool] {
            for (shape, axis, indices) in
                [("7", 0, "3"), ("17, 64", 0, "b, s"), ("3, 7, 2", 1, "5"), ("b, 17", 1, ""), ("129, 3, 2", 0, "2, 2")]
            {
                self.add(Op::Take { axis }, &[ty(d, shape), ty(DType::I64, indices)]);
            }
        }
        for (i, d) in NUMBERS.into_iter().enumerate() {
            for (x, axis, updates) in
                [("7", 0, "3"), ("17, 64", 1, "17, 9"), ("b, s, 17", 0, "2, s, 17"), ("3, 7, 2", 1, "3, 20, 2")]
            {
                self.add(Op::ScatterAdd { axis }, &[ty(d, x), ty(DType::I64, updates), ty(d, updates)]);
            }
            for (j, (x, axis)) in
                [("7", 0), ("17, 29", 1), ("b, s, 3", 1), ("3, 64", 0), ("2, 1", 1)].into_iter().enumerate()
            {
                let op = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min][(i + j) % 4];
                self.add(Op::Cumulative { op, axis, reverse: (i + j) % 3 == 0 }, &[ty(d, x)]);
            }
            for (x, axis, indices) in
                [("7", 0, "3"), ("17, 64", 1, "17, 9"), ("b, s, 17", 2, "b, s, 1"), ("3, 7, 2", 1, "3, 8, 2")]
            {
                self.add(Op::Gather { axis }, &[ty(d, x), ty(DType::I64, indices)]);
            }
            for (j, (x, axis, k)) in [
                ("7", 0, 7),
                ("17, 129", 1, 1),
                ("b, s, 17", 2, 3),
                ("3, 64, 2", 1, 21),
                ("2, 17", 0, 2),
                ("b, s", 1, 0),
            ]
            .into_iter()
            .enumerate()
            {
                if (i + j) % 3 == 0 || d == DType::F32 {
                    self.add(Op::TopK { axis, k }, &[ty(d, x)]);
                }
            }
        }
        for b in BlockFormat::ALL {
            let rows =
                |outer: &str, blocks: usize| ty(Storage::Block(b), &format!("{outer}, {}", blocks * b.block_len()));
            self.add(Op::Take { axis: 0 }, &[rows("17", 2), ty(DType::I64, "b, s")]);
            self.add(Op::Take { axis: 0 }, &[rows("3, 2", 1), ty(DType::I64, "7")]);
            self.add(Op::Slice { axis: 0, start: 2.into(), len: 3.into() }, &[rows("7", 3)]);
            for d in FLOATS {
                self.add(Op::Dequantize(d), &[rows("3", 2)]);
            }
            self.add(Op::Dequantize(DType::F32), &[rows("b, 2", 1)]);
            let product = DotDims { lhs_contract: vec![1], rhs_contract: vec![1], ..DotDims::default() };
            self.add(Op::DotGeneral(product), &[ty(DType::F32, &format!("s, {}", b.block_len())), rows("5", 1)]);
        }
        for d in DType::ALL {
            for shape in ["7", "2, 3, 17", ""] {
                self.add(Op::Write, &[ty(d, shape), ty(d, shape)]);
            }
        }
        for d in [DType::F32, DType::BF16] {
            for (cache, new) in [("3, 17, 7", "2, 3, 7"), ("8, 64, 3, 16", "b, s, 3, 16"), ("1, 7", "1, 1")] {
                let rows = new.split(',').next().unwrap_or("1");
                let args = [ty(d, cache), ty(d, new), ty(DType::I64, rows), ty(DType::I64, rows)];
                self.add(Op::CacheUpdate, &args);
            }
        }
    }

    fn products(&mut self) {
        type Axes<'a> = &'a [usize];
        let cases: [(&str, &str, Axes<'_>, Axes<'_>, Axes<'_>, Axes<'_>); 13] = [
            ("1, 1", "1, 1", &[], &[], &[1], &[1]),
            ("3, 7", "17, 7", &[], &[], &[1], &[1]),
            ("17, 64", "129, 64", &[], &[], &[1], &[1]),
            ("b, s, 64", "17, 64", &[], &[], &[2], &[1]),
            ("s, 17", "17, 7", &[], &[], &[1], &[0]),
            ("b, s, 7", "b, 7, 3", &[0], &[0], &[2], &[1]),
            ("b, s, 3, 2, 16", "b, 17, 3, 16", &[0, 2], &[0, 2], &[4], &[3]),
            ("2, 3, 7, 2, 17", "2, 17, 3, 5", &[0, 1], &[0, 2], &[4], &[1]),
            ("7", "7", &[], &[], &[0], &[0]),
            ("3", "7", &[], &[], &[], &[]),
            ("2, 3, 7", "7, 3, 2", &[], &[], &[1, 2], &[1, 0]),
            ("3, 129", "3, 129", &[], &[], &[0], &[0]),
            ("3, 2, 7", "2, 3, 7", &[1, 0], &[0, 1], &[2], &[2]),
        ];
        for (i, (lhs, rhs, lhs_batch, rhs_batch, lhs_contract, rhs_contract)) in cases.into_iter().enumerate() {
            let op = Op::DotGeneral(DotDims {
                lhs_batch: lhs_batch.into(),
                rhs_batch: rhs_batch.into(),
                lhs_contract: lhs_contract.into(),
                rhs_contract: rhs_contract.into(),
            });
            for d in [DType::F32, NUMBERS[1 + i % 7], NUMBERS[1 + (i + 3) % 7]] {
                self.add(op.clone(), &[ty(d, lhs), ty(d, rhs)]);
            }
        }
    }

    fn convolutions(&mut self) {
        // x, weight, strides, dilations, padding before and after, groups
        type Row<'a> = (&'a str, &'a str, &'a [usize], &'a [usize], &'a [usize], &'a [usize], usize);
        let cases: [Row<'_>; 8] = [
            ("1, 1, 7", "1, 1, 3", &[1], &[1], &[0], &[0], 1),
            ("2, 3, 17", "4, 3, 3", &[2], &[1], &[1], &[1], 1),
            ("b, 4, s + 8", "6, 2, 3", &[1], &[3], &[2], &[0], 2),
            ("2, 3, 16, 16", "7, 3, 4, 4", &[4, 4], &[1, 1], &[0, 0], &[0, 0], 1),
            ("b, 2, 7, 9", "4, 2, 3, 2", &[2, 1], &[1, 2], &[1, 0], &[1, 3], 1),
            ("1, 6, 5, 5", "6, 1, 3, 3", &[1, 1], &[1, 1], &[1, 1], &[1, 1], 6),
            ("1, 2, 4, 5, 6", "3, 2, 2, 3, 1", &[1, 2, 1], &[1, 1, 1], &[0, 1, 0], &[1, 0, 0], 1),
            ("2, 3, 5", "4, 3, 1", &[1], &[1], &[0], &[0], 1),
        ];
        for (i, (x, weight, strides, dilations, low, high, groups)) in cases.into_iter().enumerate() {
            let attrs = ConvAttrs {
                strides: strides.into(),
                dilations: dilations.into(),
                low: low.into(),
                high: high.into(),
                groups,
            };
            for d in [DType::F32, FLOATS[1 + i % 3]] {
                self.add(Op::Conv(attrs.clone()), &[ty(d, x), ty(d, weight)]);
            }
        }
    }

    fn composites(&mut self) {
        let eps = Real::new(1e-5);
        for d in FLOATS {
            for shape in ["7", "3, 129", "b, s, 64", "17, 1", "2, 3"] {
                let x = ty(d, shape);
                let weight = TensorType::new(d, [x.shape[x.rank() - 1].clone()]);
                self.add(Op::RmsNorm { eps }, &[x.clone(), weight.clone()]);
                self.add(Op::LayerNorm { eps }, &[x, weight.clone(), weight]);
            }
            for (shape, axis) in [("7", 0), ("17, 129", 1), ("3, 64, 2", 1), ("b, s", 1), ("b, 2, s", 2), ("2, 1", 1)] {
                self.add(Op::Softmax { axis }, &[ty(d, shape)]);
                self.add(Op::LogSumExp { axis }, &[ty(d, shape)]);
            }
            for (lead, heads, size) in [("1, 1", 1, 2), ("2, 7", 3, 16), ("b, s", 2, 64), ("b, 1", 9, 6)] {
                let angles = ty(d, &format!("{lead}, {}", size / 2));
                self.add(Op::Rope, &[ty(d, &format!("{lead}, {heads}, {size}")), angles.clone(), angles]);
            }
        }
    }

    fn attention(&mut self) {
        // Batch, queries, query heads, key heads, key length, head size, value size.
        let plain = [("1", "1", 1, 1, "1", 2, 2), ("2", "7", 4, 2, "7", 16, 16), ("b", "s", 3, 1, "s", 17, 7)];
        let cached = [("2", "1", 4, 2, "17", 16, 16), ("3", "7", 2, 2, "17", 8, 8), ("b", "s", 9, 3, "129", 64, 64)];
        for (i, flags) in (0..8).enumerate() {
            for (cache, shapes) in [(false, plain), (true, cached)] {
                for (j, (b, s, heads, kv_heads, t, dim, v_dim)) in shapes.into_iter().enumerate() {
                    let d = if (i + j) % 4 == 3 { FLOATS[1 + i % 3] } else { DType::F32 };
                    let mask = flags & 4 != 0;
                    let attrs = AttentionAttrs {
                        scale: Real::new(1.0 / f64::from(dim).sqrt()),
                        causal: flags & 1 != 0,
                        window: (flags & 2 != 0).then_some(3),
                        cached: cache,
                        mask,
                    };
                    let rows = if cache { "8" } else { b };
                    let mut args = vec![
                        ty(d, &format!("{b}, {s}, {heads}, {dim}")),
                        ty(d, &format!("{rows}, {t}, {kv_heads}, {dim}")),
                        ty(d, &format!("{rows}, {t}, {kv_heads}, {v_dim}")),
                    ];
                    args.extend(std::iter::repeat_n(ty(DType::I64, b), if cache { 2 } else { 0 }));
                    args.extend(mask.then(|| ty(DType::Bool, &format!("{b}, {t}"))));
                    self.add(Op::Attention(attrs), &args);
                }
            }
        }
    }

    /// `call` and `get`.
    fn calls(&mut self) {
        for shape in ["7", "b, s"] {
            let t = ty(DType::F32, shape);
            let mut inner = Function::new("swap", false);
            let mut outer = Function::new("f", true);
            let arg =
                |name: &str| Arg { name: name.into(), ty: t.clone(), kind: ArgKind::Input, default: None, range: None };
            let (a, b) = (inner.add_arg(arg("a")), inner.add_arg(arg("b")));
            inner.add_output("b", b, None);
            inner.add_output("a", a, None);
            let args = [outer.add_arg(arg("x0")), outer.add_arg(arg("x1"))];
            let call = outer.add_call(FuncId(0), &inner, &args).expect("a well-typed call");
            let y = outer.add(Op::Get(1), &[call]).expect("a result");
            outer.add_output("y", y, None);
            self.push(vec![inner, outer]);
        }
    }
}
