//! Products with a matrix on the right, in panels and as it lies.

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
        k: Size::Const(k),
        skinny,
        lhs: DType::F32.into(),
        a_stride: Size::Const(k + 3),
        rhs: RightSide::Panels { panel, dtype: DType::F32 },
        parts,
        rms_norm: None,
        reads,
        program: p.0,
        writes: vec![store(access(DType::F32, &[width, 1]), y)],
    }
}

fn case(r: &mut Random, s: MatMulSpec, m: usize, k: usize) -> Case {
    let width = (s.n / s.parts) as usize;
    let right = match s.rhs {
        RightSide::Panels { panel, .. } => PackSpec::packed_len(s.n, k as i64, panel, s.parts) as usize,
        RightSide::Columns(_) => s.n as usize * k,
    };
    let mut buffers = vec![r.elements(s.lhs, m * (k + 3)), r.elements(s.rhs.storage(), right)];
    if !s.reads.is_empty() {
        buffers.push(r.f32s(width, 1.0));
        buffers.push(r.f32s(m * width, 1.0));
    }
    buffers.push(zeros(DType::F32, m * width));
    let depth = (s.k == Size::Arg(1)).then_some(k as i64);
    Case {
        name: format!(
            "matmul {m}x{k}x{}, {} on the left, {:?} on the right, parts {} skinny {} norm {}",
            s.n,
            s.lhs,
            s.rhs,
            s.parts,
            s.skinny,
            s.rms_norm.is_some()
        ),
        spec: KernelSpec::MatMul(s),
        buffers,
        args: [m as i64].into_iter().chain(depth).collect(),
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
                let rhs = RightSide::Panels { panel, dtype: packed };
                let spec = MatMulSpec { rhs, rms_norm: norm.then_some(1e-2f32.to_bits()), ..spec };
                let rows: &[usize] = if skinny { &[1, 2, 3, 7, 8] } else { &[1, 2, 3, 7, 64, 129] };
                cases.extend(rows.iter().map(|m| case(&mut r, spec.clone(), *m, k as usize)));
            }
        }
    }
    check(cases);
}

/// The same rows give the same bits whether they come alone, in a small batch, or in a long prompt.
#[test]
fn the_left_side_may_be_narrow_and_the_depth_known_late() {
    let mut r = Random(37);
    let mut cases = vec![];
    for (lhs, dtype) in [(DType::F16, DType::F32), (DType::BF16, DType::BF16), (DType::F32, DType::F32)] {
        for (skinny, late, norm) in
            [(false, true, false), (true, false, true), (false, false, true), (true, true, false)]
        {
            // Two panels that some vectors make, and the other vectors the other.
            for panel in [16, 32] {
                let spec = spec(Size::Arg(0), 40, 57, panel, 1, skinny, true);
                let (k, a_stride) = if late { (Size::Arg(1), Size::Const(60)) } else { (spec.k, spec.a_stride) };
                let rhs = RightSide::Panels { panel, dtype };
                let rms_norm = norm.then_some(1e-2f32.to_bits());
                let spec = MatMulSpec { k, a_stride, lhs: lhs.into(), rhs, rms_norm, ..spec };
                cases.extend([1, 5, 8].map(|m| case(&mut r, spec.clone(), if skinny { m } else { 13 * m }, 57)));
            }
        }
    }
    check(cases);
}

#[test]
fn a_matrix_is_used_as_it_lies() {
    let mut r = Random(41);
    let mut cases = vec![];
    let blocks = [BlockFormat::Q8_0, BlockFormat::Q4_1, BlockFormat::Q5_0, BlockFormat::Q6K].map(Storage::Block);
    for storage in [DType::F32, DType::F16, DType::BF16].map(Storage::Dense).into_iter().chain(blocks) {
        for (lhs, parts, norm, late) in
            [(DType::F32, 1, false, true), (DType::BF16, 2, true, false), (DType::F16, 1, true, false)]
        {
            let (k, late) = match storage {
                Storage::Dense(_) => (83, late),
                Storage::Block(_) => (512, false),
            };
            let spec = spec(Size::Arg(0), 22, k, 16, parts, true, true);
            let (depth, stride) = if late { (Size::Arg(1), Size::Const(k + 3)) } else { (spec.k, spec.a_stride) };
            let rms_norm = norm.then_some(1e-2f32.to_bits());
            let rhs = RightSide::Columns(storage);
            let spec = MatMulSpec { k: depth, a_stride: stride, lhs: lhs.into(), rhs, rms_norm, ..spec };
            cases.extend([1, 3, 8].map(|m| case(&mut r, spec.clone(), m, k as usize)));
        }
    }
    check(cases);
}

#[test]
fn what_no_template_serves_is_refused() {
    let spec = spec(Size::Arg(0), 32, 64, 16, 1, false, false);
    let refused = |spec: MatMulSpec| {
        let error = kiln_codegen::compile_kernels(&[KernelSpec::MatMul(spec)], &target(), &options());
        error.unwrap_err().to_string()
    };
    let int8 = Storage::Block(BlockFormat::Q8_0);
    let error = refused(MatMulSpec { lhs: int8, ..spec.clone() });
    assert!(error.contains("q8_0 on the left (expected f32, f16 or bf16)"), "{error}");
    let columns = MatMulSpec { rhs: RightSide::Columns(int8), ..spec.clone() };
    let error = refused(MatMulSpec { k: Size::Const(65), ..columns });
    assert!(error.contains("no whole blocks"), "{error}");
    let error = refused(MatMulSpec { rhs: RightSide::Columns(DType::I8.into()), ..spec });
    assert!(error.contains("i8 on the right (expected f32, f16 or bf16, or blocks)"), "{error}");
}

#[test]
fn bits_do_not_depend_on_the_tile() {
    let mut r = Random(32);
    let (n, k, panel) = (40i64, 57i64, 16i64);
    let norm = Some(1e-5f32.to_bits());
    let wide = MatMulSpec { rms_norm: norm, ..spec(Size::Arg(0), n, k, panel, 1, false, false) };
    let skinny = MatMulSpec { rms_norm: norm, ..spec(Size::Arg(0), n, k, panel, 1, true, false) };
    let columns = MatMulSpec { rhs: RightSide::Columns(DType::F32.into()), ..skinny.clone() };
    let pack = PackSpec {
        n,
        k: Size::Const(k),
        storage: DType::F32.into(),
        transposed: false,
        column_scale: false,
        row_scale: false,
        column_offset: 0,
        n_total: n,
        panel,
        parts: 1,
        packed: DType::F32,
    };
    let [wide_spec, skinny, columns] = [wide.clone(), skinny, columns].map(KernelSpec::MatMul);
    let code = build(&[wide_spec, skinny, columns, KernelSpec::Pack(pack)]);
    let m = 23;
    let all = case(&mut r, wide, m, k as usize);
    let mut buffers = all.buffers.clone();
    // The same matrix, as it lies and in panels.
    let matrix = r.f32s((n * k) as usize, 1.0);
    let mut packed = vec![matrix.clone(), buffers[1].clone()];
    code.call(3, &mut packed, &[], 2);
    buffers[1] = packed.remove(1);
    code.call(0, &mut buffers, &[m as i64], 3);
    for count in [1usize, 3, 8] {
        for first in 0..m - count {
            let bytes = 4 * (k as usize + 3);
            let rows = all.buffers[0][first * bytes..(first + count) * bytes].to_vec();
            let want = &buffers[2][first * n as usize * 4..(first + count) * n as usize * 4];
            for (kernel, right) in [(1, &buffers[1]), (2, &matrix)] {
                let mut few = vec![rows.clone(), right.clone(), zeros(DType::F32, count * n as usize)];
                code.call(kernel, &mut few, &[count as i64], 2);
                assert_eq!(few[2], want, "{count} rows from {first}, kernel {kernel}");
            }
        }
    }
}
