//! Row programs: norms, softmax, plain reductions.

use crate::support::*;
use kiln_core::*;

const LENGTHS: [usize; 6] = [1, 2, 7, 64, 129, 1000];

#[test]
fn every_reduction() {
    let mut r = Random(21);
    let mut cases = vec![];
    for dtype in DType::ALL {
        for op in ReduceOp::ALL {
            for inner in [true, false] {
                if dtype == DType::Bool && *op == ReduceOp::ArgMax || *op == ReduceOp::Prod && dtype == DType::F16 {
                    continue;
                }
                let mut p = P::default();
                let x = p.load(0, dtype);
                let out = if *op == ReduceOp::ArgMax { DType::I64 } else { dtype };
                let mut last = P::default();
                let y = last.add(ElementOp::Given(0), out);
                let strides = if inner { [Size::Arg(1), Size::Const(1)] } else { [Size::Const(1), Size::Arg(0)] };
                let spec = KernelSpec::Row(RowSpec {
                    rows: vec![Size::Arg(0)],
                    len: Size::Arg(1),
                    reads: vec![access_sized(dtype, &strides)],
                    phases: vec![
                        Phase::Reduce { program: p.0, value: x, op: *op },
                        Phase::Scalar {
                            program: last.0,
                            exports: vec![],
                            writes: vec![store(access(out, &[1, 0]), y)],
                        },
                    ],
                });
                for (rows, len) in [(1usize, 1usize), (3, 7), (5, 64), (3, 129), (1, 1000), (2, 0)] {
                    let tolerance = match dtype {
                        DType::F64 => 1e-12,
                        DType::F32 => 2e-5,
                        _ => 1e-2,
                    };
                    cases.push(Case {
                        name: format!("{op} {dtype} {rows}x{len} {inner}"),
                        spec: spec.clone(),
                        buffers: vec![r.elements(dtype.into(), rows * len), zeros(out, rows)],
                        args: vec![rows as i64, len as i64],
                        tolerance,
                    });
                }
            }
        }
    }
    check(cases);
}

#[test]
fn rms_norm_and_softmax() {
    let mut r = Random(22);
    let mut cases = vec![];
    for constant in [true, false] {
        for len in LENGTHS {
            let size = if constant { Size::Const(len as i64) } else { Size::Arg(1) };
            let x = access_sized(DType::F32, &[size, Size::Const(1)]);
            // Mean of squares, reciprocal root, scale by the weight.
            let mut square = P::default();
            let v = square.load(0, DType::F32);
            let v = square.add(ElementOp::Binary(BinaryOp::Mul, v, v), DType::F32);
            let mut root = P::default();
            let sum = root.add(ElementOp::Given(0), DType::F32);
            let n = root.add(ElementOp::Size(size), DType::I64);
            let n = root.add(ElementOp::Cast(n), DType::F32);
            let mean = root.add(ElementOp::Binary(BinaryOp::Div, sum, n), DType::F32);
            let eps = root.f32(1e-5);
            let mean = root.add(ElementOp::Binary(BinaryOp::Add, mean, eps), DType::F32);
            let rms = root.add(ElementOp::Unary(UnaryOp::Rsqrt, mean), DType::F32);
            let mut out = P::default();
            let a = out.load(0, DType::F32);
            let w = out.load(1, DType::F32);
            let s = out.add(ElementOp::Given(1), DType::F32);
            let y = out.add(ElementOp::Binary(BinaryOp::Mul, a, s), DType::F32);
            let y = out.add(ElementOp::Binary(BinaryOp::Mul, y, w), DType::F32);
            let norm = KernelSpec::Row(RowSpec {
                rows: vec![Size::Arg(0)],
                len: size,
                reads: vec![x.clone(), access(DType::F32, &[0, 1])],
                phases: vec![
                    Phase::Reduce { program: square.0, value: v, op: ReduceOp::Sum },
                    Phase::Scalar { program: root.0, exports: vec![rms], writes: vec![] },
                    Phase::Map { program: out.0, writes: vec![store(x.clone(), y)] },
                ],
            });
            let mut load = P::default();
            let v = load.load(0, DType::F32);
            let mut exp = P::default();
            let a = exp.load(0, DType::F32);
            let m = exp.add(ElementOp::Given(0), DType::F32);
            let d = exp.add(ElementOp::Binary(BinaryOp::Sub, a, m), DType::F32);
            let e = exp.add(ElementOp::Unary(UnaryOp::Exp, d), DType::F32);
            let mut divide = P(exp.0.clone());
            let total = divide.add(ElementOp::Given(1), DType::F32);
            let q = divide.add(ElementOp::Binary(BinaryOp::Div, e, total), DType::F32);
            let softmax = KernelSpec::Row(RowSpec {
                rows: vec![Size::Arg(0)],
                len: size,
                reads: vec![x.clone()],
                phases: vec![
                    Phase::Reduce { program: load.0, value: v, op: ReduceOp::Max },
                    Phase::Reduce { program: exp.0, value: e, op: ReduceOp::Sum },
                    Phase::Map { program: divide.0, writes: vec![store(x.clone(), q)] },
                ],
            });
            for rows in [1usize, 3, 7] {
                let data = r.f32s(rows * len, 4.0);
                let args = vec![rows as i64, len as i64];
                cases.push(Case {
                    name: format!("norm {rows}x{len}"),
                    spec: norm.clone(),
                    buffers: vec![data.clone(), r.f32s(len, 1.0), zeros(DType::F32, rows * len)],
                    args: args.clone(),
                    tolerance: 1e-6,
                });
                cases.push(Case {
                    name: format!("softmax {rows}x{len}"),
                    spec: softmax.clone(),
                    buffers: vec![data, zeros(DType::F32, rows * len)],
                    args,
                    tolerance: 1e-6,
                });
            }
        }
    }
    check(cases);
}
