//! Packing weights into panels, and strided products.

use crate::support::*;
use kiln_core::*;

#[test]
fn every_storage_and_shape() {
    let mut r = Random(41);
    let mut cases = vec![];
    let dense = [DType::F32, DType::F16, DType::BF16].map(Storage::Dense);
    for storage in dense.into_iter().chain(BlockFormat::ALL.map(Storage::Block)) {
        for transposed in [false, true] {
            // (rows, depth, first column, columns in all, panel, parts)
            for (n, k, column_offset, n_total, panel, parts) in [
                (48i64, 64i64, 0i64, 48i64, 16i64, 1i64),
                (37, 96, 0, 37, 16, 1),
                (5, 32, 0, 5, 8, 1),
                (20, 33, 7, 40, 24, 1),
                (24, 64, 24, 48, 16, 2),
                (24, 64, 0, 48, 16, 2),
                (19, 32, 19, 38, 16, 2),
                (50, 32, 3, 60, 16, 2),
                (37, 512, 0, 37, 16, 1),
                (24, 256, 24, 48, 16, 2),
                (20, 256, 7, 40, 24, 1),
            ] {
                if let Storage::Block(format) = storage
                    && (transposed || k % format.block_len() as i64 != 0)
                {
                    continue;
                }
                for (scaled, packed) in [
                    (false, DType::F32),
                    (true, DType::F32),
                    (false, DType::BF16),
                    (true, DType::BF16),
                    (true, DType::F16),
                ] {
                    let spec = KernelSpec::Pack(PackSpec {
                        n,
                        k: Size::Const(k),
                        storage,
                        transposed,
                        column_scale: scaled,
                        row_scale: scaled,
                        column_offset,
                        n_total,
                        panel,
                        parts,
                        packed,
                    });
                    let mut buffers = vec![r.elements(storage, (n * k) as usize)];
                    if scaled {
                        buffers.push(r.f32s(k as usize, 1.0));
                        buffers.push(r.f32s(n as usize, 1.0));
                    }
                    // What another pack wrote must stay.
                    let len = PackSpec::packed_len(n_total, k, panel, parts) as usize;
                    buffers.push(r.elements(packed.into(), len));
                    cases.push(Case {
                        name: format!("pack {storage} {n}x{k} at {column_offset} of {n_total}, panel {panel}/{parts} of {packed}, {transposed} {scaled}"),
                        spec,
                        buffers,
                        args: vec![],
                        // Where two roundings meet a tie, a narrow value may be its neighbour.
                        tolerance: if packed == DType::F32 { 1e-6 } else { 1e-3 },
                    });
                }
            }
        }
    }
    check(cases);
}

#[test]
fn strided_products() {
    let mut r = Random(42);
    let mut cases = vec![];
    for (batch, m, n, k) in [(1i64, 1i64, 1i64, 1i64), (3, 2, 7, 64), (1, 7, 64, 129), (2, 5, 45, 33)] {
        for (a_transposed, b_transposed) in [(false, false), (true, false), (false, true), (true, true)] {
            let a = if a_transposed { [m * k, 1, m] } else { [m * k, k, 1] };
            let b = if b_transposed { [n * k, 1, k] } else { [n * k, n, 1] };
            cases.push(Case {
                name: format!("dot {batch} {m}x{k}x{n} {a_transposed} {b_transposed}"),
                spec: KernelSpec::Dot(DotSpec {
                    batch: vec![Size::Arg(0)],
                    m: Size::Arg(1),
                    n: Size::Const(n),
                    k: Size::Arg(2),
                    a: access(DType::F32, &a),
                    b: access(DType::F32, &b),
                    out: access(DType::F32, &[m * n, n, 1]),
                }),
                buffers: vec![
                    r.f32s((batch * m * k) as usize, 1.0),
                    r.f32s((batch * n * k) as usize, 1.0),
                    zeros(DType::F32, (batch * m * n) as usize),
                ],
                args: vec![batch, m, k],
                tolerance: 2e-6,
            });
        }
    }
    check(cases);
}
