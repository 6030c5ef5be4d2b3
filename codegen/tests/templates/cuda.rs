//! The templates that `Target` must not tie to a CPU also become PTX, which ptxas assembles where `CUDA_PATH` names a toolkit.

use crate::support::*;
use kiln_codegen::cuda::compile_ptx;
use kiln_core::*;
use std::{path::PathBuf, process::Command};

fn specs() -> Vec<KernelSpec> {
    let mut map = P::default();
    let x = map.load(0, DType::F32);
    let mut y = x;
    for op in UnaryOp::ALL.iter().filter(|o| **o != UnaryOp::Not) {
        y = map.add(ElementOp::Unary(*op, y), DType::F32);
    }
    let mut load = P::default();
    let v = load.load(0, DType::BF16);
    let mut scale = P::default();
    let a = scale.load(0, DType::BF16);
    let sum = scale.add(ElementOp::Given(0), DType::F32);
    let q = scale.add(ElementOp::Binary(BinaryOp::Div, a, sum), DType::F32);
    let row = access_sized(DType::BF16, &[Size::Arg(1), Size::Const(1)]);
    let mut out = P::default();
    let gate = out.add(ElementOp::Given(0), DType::F32);
    let up = out.add(ElementOp::Given(1), DType::F32);
    let t = out.add(ElementOp::Unary(UnaryOp::Tanh, gate), DType::F32);
    let z = out.add(ElementOp::Binary(BinaryOp::Mul, t, up), DType::F32);
    vec![
        KernelSpec::Map(MapSpec {
            extents: vec![Size::Arg(0), Size::Const(5)],
            reads: vec![access(DType::F32, &[1, 7])],
            program: map.0,
            writes: vec![store(access(DType::F32, &[5, 1]), y)],
        }),
        KernelSpec::Row(RowSpec {
            rows: vec![Size::Arg(0)],
            len: Size::Arg(1),
            reads: vec![row],
            phases: vec![
                Phase::Reduce { program: load.0, value: v, op: ReduceOp::Sum },
                Phase::Map {
                    program: scale.0,
                    writes: vec![store(access_sized(DType::F32, &[Size::Arg(1), Size::Const(1)]), q)],
                },
            ],
        }),
        KernelSpec::MatMul(MatMulSpec {
            m: Size::Arg(0),
            n: 3072,
            k: Size::Const(576),
            skinny: false,
            lhs: DType::F32.into(),
            a_stride: Size::Const(576),
            rhs: RightSide::Panels { panel: 16, dtype: DType::F32 },
            parts: 2,
            rms_norm: Some(1e-5f32.to_bits()),
            reads: vec![],
            program: out.0,
            writes: vec![store(access(DType::F32, &[1536, 1]), z)],
        }),
    ]
}

#[test]
fn map_row_and_matmul_become_ptx_that_assembles() {
    let ptxas = std::env::var_os("CUDA_PATH")
        .filter(|p| !p.is_empty())
        .map(|root| PathBuf::from(root).join("bin").join("ptxas"));
    for spec in specs() {
        for sm in [80, 90] {
            let ptx = compile_ptx(&spec, sm).unwrap_or_else(|e| panic!("{} for sm_{sm}: {e}", spec.template()));
            let entry = format!(".entry kiln_{}", spec.template());
            assert!(ptx.contains(&entry), "no {entry} in:\n{ptx}");
            let target = ptx
                .lines()
                .find_map(|l| l.strip_prefix(".target "))
                .and_then(|t| t.split([',', ' ']).next())
                .expect("PTX names its target");
            assert!(target.starts_with(&format!("sm_{sm}")), "{target}");
            let Some(ptxas) = &ptxas else { continue };
            let folder = tempfile::tempdir().unwrap();
            let source = folder.path().join("kernel.ptx");
            std::fs::write(&source, &ptx).unwrap();
            let run = Command::new(ptxas)
                .arg(format!("-arch={target}"))
                .arg("-o")
                .arg(folder.path().join("kernel.cubin"))
                .arg(&source)
                .output()
                .unwrap_or_else(|e| panic!("{} does not start: {e}", ptxas.display()));
            assert!(run.status.success(), "{} for sm_{sm}: {}", spec.template(), String::from_utf8_lossy(&run.stderr));
        }
    }
}
