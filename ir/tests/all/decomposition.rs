//! A composite and its decomposition have one value.

use crate::cases;
use kiln_ir::{
    Arg, ArgKind, AttentionAttrs, DType, Function, Module, Op, Real, TensorType, compose, interp,
    interp::relative_error,
    sample::{op_cases, random_args},
    verify,
};
use proptest::prelude::*;

/// How far a decomposition in that dtype may be off: it rounds after every primitive (f16 and bf16 compute in f32 and round once).
fn tolerance(d: DType) -> f64 {
    match d {
        DType::F64 => 1e-13,
        DType::F32 => 1e-5,
        DType::F16 => 1e-3,
        _ => 8e-3,
    }
}

#[test]
fn the_generated_cases_agree() {
    let mut checked = 0;
    for (i, module) in op_cases(2).iter().enumerate() {
        let (_, f) = module.find("f").expect("an entry");
        if !f.nodes().any(|(_, n)| n.op.is_composite()) {
            continue;
        }
        let opened = compose::decompose(module).unwrap_or_else(|e| panic!("{e}\n{module}"));
        verify(&opened).unwrap_or_else(|e| panic!("{e}\n{opened}"));
        assert!(opened.functions.iter().flat_map(|f| f.nodes()).all(|(_, n)| !n.op.is_composite()));
        for seed in 0..3 {
            let (args, sizes) = cases::arguments(module, seed + i as u64);
            let (want, got) = (cases::run(module, &args, &sizes), cases::run(&opened, &args, &sizes));
            let error = relative_error(&got[0], &want[0]);
            let dtype = want[0].dtype().expect("dense");
            assert!(error <= tolerance(dtype), "{error} at seed {seed}\n{module}\n{:?}\n{:?}", got[0], want[0]);
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
}

fn agree(op: Op, dtypes: &[DType], shapes: &[Vec<usize>], seed: u64) -> Result<(), TestCaseError> {
    let mut f = Function::new("f", true);
    let mut args = vec![];
    for (i, (d, shape)) in dtypes.iter().zip(shapes).enumerate() {
        let ty = TensorType::new(*d, shape.iter().map(|n| (*n).into()).collect::<Vec<_>>());
        args.push(f.add_arg(Arg {
            name: format!("x{i}").into(),
            ty,
            kind: ArgKind::Input,
            default: None,
            range: None,
        }));
    }
    let y = f.add(op, &args).expect("well typed");
    f.add_output("y", y, None);
    let module = Module { functions: vec![f], ..Module::default() };
    let opened = compose::decompose(&module).expect("decomposes");
    verify(&opened).expect("verifies");
    let args = random_args(&module, "f", &[], seed).expect("values");
    let want = interp::run(&module, "f", &args, &[]).expect("runs");
    let got = interp::run(&opened, "f", &args, &[]).expect("runs");
    let error = relative_error(&got[0], &want[0]);
    prop_assert!(error <= tolerance(dtypes[0]), "{error}\n{module}\n{:?}\n{:?}", got[0], want[0]);
    Ok(())
}

fn dtype() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F64), Just(DType::F32)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn norms(d in dtype(), rows in 0..5usize, n in 1..140usize, seed: u64) {
        let eps = Real::new(1e-5);
        let shapes = [vec![rows, n], vec![n], vec![n]];
        agree(Op::RmsNorm { eps }, &[d; 2], &shapes[..2], seed)?;
        agree(Op::LayerNorm { eps }, &[d; 3], &shapes, seed)?;
    }

    #[test]
    fn activations(d in dtype(), n in 32..300usize, seed: u64) {
        // Not fewer: `1 + erf(x)` alone has no digits left where x is far below zero.
        for op in [Op::Sigmoid, Op::Silu, Op::Gelu { tanh: false }, Op::Gelu { tanh: true }] {
            agree(op, &[d], &[vec![n]], seed)?;
        }
    }

    #[test]
    fn softmax_along_any_axis(d in dtype(), shape in prop::collection::vec(1..9usize, 1..4), axis: prop::sample::Index, seed: u64) {
        let axis = axis.index(shape.len());
        agree(Op::Softmax { axis }, &[d], std::slice::from_ref(&shape), seed)?;
        agree(Op::LogSumExp { axis }, &[d], &[shape], seed)?;
    }

    #[test]
    fn rope(d in dtype(), b in 1..3usize, s in 1..6usize, heads in 1..4usize, half in 1..9usize, seed: u64) {
        let angles = vec![b, s, half];
        agree(Op::Rope, &[d; 3], &[vec![b, s, heads, 2 * half], angles.clone(), angles], seed)?;
    }

    #[test]
    fn attention(
        d in dtype(),
        (b, s, t) in (1..4usize, 1..8usize, 1..12usize),
        (kv_heads, group, dim, v_dim) in (1..3usize, 1..4usize, 1..9usize, 1..9usize),
        (causal, cached, mask) in any::<(bool, bool, bool)>(),
        window in prop::option::of(1..5i64),
        seed: u64,
    ) {
        let rows = if cached { b + 2 } else { b };
        let mut shapes = vec![vec![b, s, kv_heads * group, dim], vec![rows, t, kv_heads, dim], vec![rows, t, kv_heads, v_dim]];
        let mut dtypes = vec![d; 3];
        if cached {
            shapes.extend([vec![b], vec![b]]);
            dtypes.extend([DType::I64; 2]);
        }
        if mask {
            shapes.push(vec![b, t]);
            dtypes.push(DType::Bool);
        }
        let attrs = AttentionAttrs { scale: Real::new(1.0 / (dim as f64).sqrt()), causal, window, cached, mask };
        agree(Op::Attention(attrs), &dtypes, &shapes, seed)?;
    }
}
