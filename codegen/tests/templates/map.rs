//! Elementwise kernels.

use crate::support::*;
use kiln_core::*;

fn one_axis(dtype: DType, reads: usize, program: P, value: ValueId, out: DType) -> KernelSpec {
    KernelSpec::Map(MapSpec {
        extents: vec![Size::Arg(0)],
        reads: vec![access(dtype, &[1]); reads],
        program: program.0,
        writes: vec![store(access(out, &[1]), value)],
    })
}

#[test]
fn unary_functions_of_every_length() {
    let mut r = Random(7);
    let mut cases = vec![];
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for op in UnaryOp::ALL.iter().filter(|o| **o != UnaryOp::Not) {
            let mut p = P::default();
            let x = p.load(0, dtype);
            let y = p.add(ElementOp::Unary(*op, x), dtype);
            let spec = one_axis(dtype, 1, p, y, dtype);
            for n in [1usize, 7, 64, 129, 1003] {
                let tolerance = match dtype {
                    DType::F64 => 1e-12,
                    DType::F32 => 1e-6,
                    DType::F16 => 1e-3,
                    _ => 8e-3,
                };
                cases.push(Case {
                    name: format!("{op} {dtype} {n}"),
                    spec: spec.clone(),
                    buffers: vec![r.elements(dtype.into(), n), zeros(dtype, n)],
                    args: vec![n as i64],
                    tolerance,
                });
            }
        }
    }
    check(cases);
}

#[test]
fn special_values_and_large_arguments() {
    let inf = f64::INFINITY;
    let ordinary: Vec<f64> = (0..200).map(|i| f64::from(i - 100) * 0.9).collect();
    let mut large: Vec<f64> = (0..4000).map(|i| f64::from(i - 2000) * 50.0 + 0.37).collect();
    large.extend([0.0, -0.0, f64::NAN, inf, -inf]);
    let mut all = ordinary.clone();
    all.extend([
        0.0,
        -0.0,
        1.0,
        -1.0,
        inf,
        -inf,
        f64::NAN,
        88.5,
        -103.0,
        -87.5,
        1e-40,
        1e-310,
        1e30,
        -1e30,
        6e-8,
        1e-20,
    ]);
    let mut cases = vec![];
    for dtype in [DType::F32, DType::F64] {
        for op in [
            UnaryOp::Exp,
            UnaryOp::Log,
            UnaryOp::Tanh,
            UnaryOp::Erf,
            UnaryOp::Rsqrt,
            UnaryOp::Sqrt,
            UnaryOp::Floor,
            UnaryOp::Sin,
            UnaryOp::Cos,
        ] {
            let values: &[f64] = if matches!(op, UnaryOp::Sin | UnaryOp::Cos) { &large } else { &all };
            let mut p = P::default();
            let x = p.load(0, dtype);
            let y = p.add(ElementOp::Unary(op, x), dtype);
            // Element by element, so that a large value hides no small one.
            for chunk in values.chunks(97) {
                let bytes: Vec<u8> = match dtype {
                    DType::F32 => chunk.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
                    _ => chunk.iter().flat_map(|v| v.to_le_bytes()).collect(),
                };
                let tolerance = match (dtype, op) {
                    (DType::F32, UnaryOp::Sin | UnaryOp::Cos) => 2e-6,
                    (DType::F32, _) => 1e-6,
                    _ => 1e-12,
                };
                cases.push(Case {
                    name: format!("{op} {dtype} at {:?}..", chunk[0]),
                    spec: one_axis(dtype, 1, P(p.0.clone()), y, dtype),
                    buffers: vec![bytes, zeros(dtype, chunk.len())],
                    args: vec![chunk.len() as i64],
                    tolerance,
                });
            }
        }
    }
    check(cases);
}

#[test]
fn binary_functions_and_comparisons() {
    let mut r = Random(11);
    let n = 77;
    let mut cases = vec![];
    for dtype in DType::ALL {
        for op in BinaryOp::ALL {
            let logical = matches!(op, BinaryOp::And | BinaryOp::Or);
            if logical != (dtype == DType::Bool) || (*op == BinaryOp::Pow && !dtype.is_float()) {
                continue;
            }
            let mut p = P::default();
            let (x, y) = (p.load(0, dtype), p.load(1, dtype));
            let z = p.add(ElementOp::Binary(*op, x, y), dtype);
            let tolerance = match dtype {
                DType::F64 => 1e-12,
                DType::F32 => 1e-6,
                _ => 1e-2,
            };
            cases.push(Case {
                name: format!("{op} {dtype}"),
                spec: one_axis(dtype, 2, p, z, dtype),
                buffers: vec![r.elements(dtype.into(), n), r.elements(dtype.into(), n), zeros(dtype, n)],
                args: vec![n as i64],
                tolerance,
            });
        }
        for op in CompareOp::ALL {
            let mut p = P::default();
            let (x, y) = (p.load(0, dtype), p.load(1, dtype));
            let z = p.add(ElementOp::Compare(*op, x, y), DType::Bool);
            cases.push(Case {
                name: format!("{op} {dtype}"),
                spec: one_axis(dtype, 2, p, z, DType::Bool),
                buffers: vec![r.elements(dtype.into(), n), r.elements(dtype.into(), n), zeros(DType::Bool, n)],
                args: vec![n as i64],
                tolerance: 0.0,
            });
        }
    }
    check(cases);
}

#[test]
fn powers_as_in_c() {
    let inf = f32::INFINITY;
    let values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, inf, -inf, f32::NAN, 1e20, 7.3];
    let pairs: Vec<(f32, f32)> = values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b))).collect();
    let mut p = P::default();
    let (x, y) = (p.load(0, DType::F32), p.load(1, DType::F32));
    let z = p.add(ElementOp::Binary(BinaryOp::Pow, x, y), DType::F32);
    let spec = one_axis(DType::F32, 2, p, z, DType::F32);
    let n = pairs.len();
    check(
        pairs
            .chunks(n)
            .map(|c| Case {
                name: "pow".into(),
                spec: spec.clone(),
                buffers: vec![
                    c.iter().flat_map(|(a, _)| a.to_le_bytes()).collect(),
                    c.iter().flat_map(|(_, b)| b.to_le_bytes()).collect(),
                    zeros(DType::F32, c.len()),
                ],
                args: vec![c.len() as i64],
                tolerance: 1e-6,
            })
            .collect(),
    );
}

#[test]
fn casts_saturate() {
    let mut cases = vec![];
    for from in DType::ALL {
        for to in DType::ALL {
            let mut p = P::default();
            let x = p.load(0, from);
            let y = p.add(ElementOp::Cast(x), to);
            let values =
                [0.0, 0.4, -0.6, 1.0, -1.0, 127.5, 128.0, -129.0, 255.0, 256.0, 3e9, -3e9, 1e19, -1e19, 70000.0];
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            let all: Vec<f64> = values.into_iter().chain(special.into_iter().filter(|_| from.is_float())).collect();
            let mut bytes = vec![];
            all.iter().for_each(|v| from.write(*v, &mut bytes));
            cases.push(Case {
                name: format!("{from} to {to}"),
                spec: one_axis(from, 1, p, y, to),
                buffers: vec![bytes, zeros(to, all.len())],
                args: vec![all.len() as i64],
                tolerance: 1e-6,
            });
        }
    }
    check(cases);
}

/// A transposing, broadcasting, gathering map with a condition, at odd sizes.
#[test]
fn strides_gathers_and_conditions() {
    let mut r = Random(3);
    let mut cases = vec![];
    for (batch, len, width) in [(1usize, 1usize, 5usize), (3, 7, 8), (1, 64, 17), (3, 129, 2), (3, 2, 40)] {
        for transposed in [false, true] {
            let (b, l, w) = (batch as i64, len as i64, width as i64);
            let mut p = P::default();
            let row = p.load(1, DType::I64);
            let x = p.load(0, DType::F32);
            let bias = p.load(2, DType::BF16);
            let sum = p.add(ElementOp::Binary(BinaryOp::Add, x, bias), DType::F32);
            let c = p.add(ElementOp::Coord(2), DType::I64);
            let limit = p.add(ElementOp::Size(Size::Arg(2)), DType::I64);
            let keep = p.add(ElementOp::Compare(CompareOp::Lt, c, limit), DType::Bool);
            let half = p.f32(0.5);
            let chosen = p.add(ElementOp::Select(keep, sum, half), DType::F32);
            let odd = p.load(3, DType::Bool);
            let mut table = access(DType::F32, &[0, 0, 1]);
            table.indirect = vec![(row, Size::Const(w))];
            let ids = access_sized(DType::I64, &[Size::Arg(1), Size::Const(1), Size::Const(0)]);
            let out = if transposed { access(DType::F32, &[w * l, 1, l]) } else { access(DType::F32, &[w * l, w, 1]) };
            let spec = KernelSpec::Map(MapSpec {
                extents: vec![Size::Arg(0), Size::Arg(1), Size::Const(w)],
                reads: vec![table, ids, access(DType::BF16, &[0, 0, 1]), access(DType::Bool, &[0, 1, 0])],
                program: p.0,
                writes: vec![
                    Write { access: out, value: chosen, condition: Some(odd) },
                    Write { access: access(DType::F32, &[w * l, w, 1]), value: sum, condition: Some(keep) },
                ],
            });
            let rows = 11;
            let ids: Vec<u8> = (0..b * l).flat_map(|_| (r.below(rows) as i64).to_le_bytes()).collect();
            cases.push(Case {
                name: format!("gather {batch} {len} {width} {transposed}"),
                spec,
                buffers: vec![
                    r.f32s(rows as usize * width, 1.0),
                    ids,
                    r.elements(DType::BF16.into(), width),
                    r.elements(DType::Bool.into(), len),
                    r.f32s(batch * len * width, 1.0),
                    r.f32s(batch * len * width, 1.0),
                ],
                args: vec![b, l, w - 1],
                tolerance: 1e-6,
            });
        }
    }
    check(cases);
}

#[test]
fn collapsed_axes_and_negative_strides() {
    let mut r = Random(5);
    let mut cases = vec![];
    for (a, b) in [(1i64, 1i64), (3, 5), (7, 64), (129, 3)] {
        let mut p = P::default();
        let (x, y) = (p.load(0, DType::F32), p.load(1, DType::F32));
        let z = p.add(ElementOp::Binary(BinaryOp::Sub, x, y), DType::F32);
        let mut reversed = access(DType::F32, &[b, -1]);
        reversed.offset = Size::Const(b - 1);
        for second in [access(DType::F32, &[b, 1]), reversed] {
            cases.push(Case {
                name: format!("two axes {a} {b}"),
                spec: KernelSpec::Map(MapSpec {
                    extents: vec![Size::Arg(0), Size::Const(b)],
                    reads: vec![access(DType::F32, &[b, 1]), second],
                    program: p.0.clone(),
                    writes: vec![store(access(DType::F32, &[b, 1]), z)],
                }),
                buffers: vec![
                    r.f32s((a * b) as usize, 1.0),
                    r.f32s((a * b) as usize, 1.0),
                    zeros(DType::F32, (a * b) as usize),
                ],
                args: vec![a],
                tolerance: 1e-6,
            });
        }
    }
    check(cases);
}

#[test]
fn block_storage_is_dequantised() {
    let mut r = Random(9);
    let mut cases = vec![];
    for format in BlockFormat::ALL {
        for tokens in [1usize, 7, 129] {
            let width = 3 * format.block_len() as i64;
            let mut p = P::default();
            let id = p.load(1, DType::I64);
            let x = p.load(0, DType::F32);
            let mut table = access(DType::F32, &[0, 1]);
            table.storage = Storage::Block(format);
            table.indirect = vec![(id, Size::Const(width))];
            cases.push(Case {
                name: format!("{} {tokens}", format.name()),
                spec: KernelSpec::Map(MapSpec {
                    extents: vec![Size::Arg(0), Size::Const(width)],
                    reads: vec![table, access(DType::I64, &[1, 0])],
                    program: p.0,
                    writes: vec![store(access(DType::F32, &[width, 1]), x)],
                }),
                buffers: vec![
                    r.elements(Storage::Block(format), 20 * width as usize),
                    (0..tokens).flat_map(|_| (r.below(20) as i64).to_le_bytes()).collect(),
                    zeros(DType::F32, tokens * width as usize),
                ],
                args: vec![tokens as i64],
                tolerance: 1e-6,
            });
        }
    }
    check(cases);
}
