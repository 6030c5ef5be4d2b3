//! Products with a packed right-hand side.

use crate::support::*;
use kiln_core::*;

/// The product itself, or a gated or biased epilogue.
fn spec(m: Size, n: i64, k: i64, panel: i64, parts: i64, skinny: bool, epilogue: bool) -> MatMulSpec {
    let width = n / parts;
    let mut p = P::default();
    let mut y = p.add(ElementOp::Given(0), DType::F32);
    let mut reads = vec![];
    if parts == 2 {
        let up = p.add(ElementOp::Given(1), DType::F32);
        let minus = p.add(ElementOp::Unary(UnaryOp::Neg, y), DType::F32);
        let e = p.add(ElementOp::Unary(UnaryOp::Exp, minus), DType::F32);
        let one = p.f32(1.0);
        let d = p.add(ElementOp::Binary(BinaryOp::Add, e, one), DType::F32);
        let silu = p.add(ElementOp::Binary(BinaryOp::Div, y, d), DType::F32);
        y = p.add(ElementOp::Binary(BinaryOp::Mul, silu, up), DType::F32);
    }
    if epilogue {
        let bias = p.load(0, DType::F32);
        let residual = p.load(1, DType::F32);
        y = p.add(ElementOp::Binary(BinaryOp::Add, y, bias), DType::F32);
        y = p.add(ElementOp::Binary(BinaryOp::Add, y, residual), DType::F32);
        reads = vec![access(DType::F32, &[0, 1]), access(DType::F32, &[width, 1])];
    }
    MatMulSpec {
        m,
        n,
        k,
        skinny,
        a_stride: Size::Const(k + 3),
        panel,
        parts,
        packed: DType::F32,
        rms_norm: None,
        reads,
        program: p.0,
        writes: vec![store(access(DType::F32, &[width, 1]), y)],
    }
}

fn case(r: &mut Random, s: MatMulSpec, m: usize) -> Case {
    let (width, k) = ((s.n / s.parts) as usize, s.k as usize);
    let mut buffers = vec![
        r.f32s(m * (k + 3), 1.0),
        r.elements(s.packed.into(), PackSpec::packed_len(s.n, s.k, s.panel, s.parts) as usize),
    ];
    if !s.reads.is_empty() {
        buffers.push(r.f32s(width, 1.0));
        buffers.push(r.f32s(m * width, 1.0));
    }
    buffers.push(zeros(DType::F32, m * width));
    Case {
        name: format!(
            "matmul {m}x{k}x{} panel {} of {} parts {} skinny {} norm {}",
            s.n,
            s.panel,
            s.packed,
            s.parts,
            s.skinny,
            s.rms_norm.is_some()
        ),
        spec: KernelSpec::MatMul(s),
        buffers,
        args: vec![m as i64],
        tolerance: 2e-6,
    }
}

#[test]
fn products_of_every_shape() {
    let mut r = Random(31);
    let mut cases = vec![];
    // Columns, depth, panel and parts; the last two are for vectors of sixteen lanes.
    let shapes = [
        (40, 17, 16, 1),
        (48, 64, 24, 1),
        (7, 33, 8, 1),
        (96, 48, 16, 2),
        (36, 20, 16, 2),
        (1, 5, 8, 1),
        (100, 33, 48, 1),
        (72, 20, 32, 2),
    ];
    for skinny in [false, true] {
        for (n, k, panel, parts) in shapes {
            for (epilogue, packed, norm) in [
                (false, DType::F32, false),
                (true, DType::F32, true),
                (true, DType::BF16, false),
                (false, DType::BF16, true),
                (true, DType::F16, true),
            ] {
                let spec = spec(Size::Arg(0), n, k, panel, parts, skinny, epilogue);
                let spec = MatMulSpec { packed, rms_norm: norm.then_some(1e-2f32.to_bits()), ..spec };
                let rows: &[usize] = if skinny { &[1, 2, 3, 7, 8] } else { &[1, 2, 3, 7, 64, 129] };
                cases.extend(rows.iter().map(|m| case(&mut r, spec.clone(), *m)));
            }
        }
    }
    check(cases);
}

/// The same rows give the same bits whether they come alone, in a small batch, or in a long prompt.
#[test]
fn bits_do_not_depend_on_the_tile() {
    let mut r = Random(32);
    let (n, k, panel) = (40i64, 57i64, 16i64);
    let norm = Some(1e-5f32.to_bits());
    let wide = MatMulSpec { rms_norm: norm, ..spec(Size::Arg(0), n, k, panel, 1, false, false) };
    let skinny = MatMulSpec { rms_norm: norm, ..spec(Size::Arg(0), n, k, panel, 1, true, false) };
    let code = build(&[wide.clone(), skinny].map(KernelSpec::MatMul));
    let m = 23;
    let all = case(&mut r, wide, m);
    let mut buffers = all.buffers.clone();
    code.call(0, &mut buffers, &[m as i64], 3);
    for count in [1usize, 3, 8] {
        for first in 0..m - count {
            let bytes = 4 * (k as usize + 3);
            let rows = all.buffers[0][first * bytes..(first + count) * bytes].to_vec();
            let mut few = vec![rows, all.buffers[1].clone(), zeros(DType::F32, count * n as usize)];
            code.call(1, &mut few, &[count as i64], 2);
            let want = &buffers[2][first * n as usize * 4..(first + count) * n as usize * 4];
            assert_eq!(few[2], want, "{count} rows from {first}");
        }
    }
}
