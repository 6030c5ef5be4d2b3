//! Random modules through all passes, against the interpreter.

use crate::plan::run_plan;
use kiln_core::TargetSpec;
use kiln_ir::interp::{self, Tensor, relative_error};
use kiln_ir::sample::{Choice, Printed, module_of, random_args, random_sizes};
use kiln_ir::{DType, Module};
use kiln_passes::{Options, Pipeline, compile};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Rewriting in f64, and a whole plan in f32: several ops, each to the tolerance of one.
const F64: f64 = 1e-9;
const F32: f64 = 1e-4;

fn modules(float: DType) -> impl Strategy<Value = Printed> {
    proptest::collection::vec(any::<Choice>(), 1..20).prop_map(move |choices| Printed(module_of(&choices, float)))
}

/// Arguments for `@f` with the sizes they have.
fn arguments(module: &Module, seed: u64) -> (Vec<Tensor>, Vec<(&str, i64)>) {
    let sizes = random_sizes(module, seed);
    let sizes = module.symbols.keys().zip(sizes).map(|(name, (_, v))| (&**name, v)).collect::<Vec<_>>();
    (random_args(module, "f", &sizes, seed).expect("arguments"), sizes)
}

/// The largest error of the results.
fn error(got: &[Tensor], want: &[Tensor]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(g, w)| relative_error(g, w)).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn passes_keep_what_a_module_computes(module in modules(DType::F64), seed: u64) {
        let module = module.0;
        let (args, sizes) = arguments(&module, seed);
        let want = interp::run(&module, "f", &args, &sizes).expect("evaluates");
        let passes = Pipeline::parse("simplify, egraph(numerics=approximate), inline, egraph, legalize, widen, simplify");
        let out = passes.and_then(|p| p.run(module.clone(), &TargetSpec::x86_64_v3())).unwrap_or_else(|e| panic!("{e}"));
        let got = interp::run(&out.module, "f", &args, &sizes).unwrap_or_else(|e| panic!("{e}\n{}", out.module));
        prop_assert!(error(&got, &want) <= F64, "off by {:e}:\n{}", error(&got, &want), out.module);
    }

    #[test]
    fn plans_compute_what_a_module_says(module in modules(DType::F32), rewrite: bool, seed: u64) {
        let module = module.0;
        let (args, sizes) = arguments(&module, seed);
        let want = interp::run(&module, "f", &args, &sizes).expect("evaluates");
        let options = Options { rewrite, ..Options::default() };
        let compiled = compile(&module, &TargetSpec::x86_64_v3(), &options).unwrap_or_else(|e| panic!("{e}"));
        let entry = module.find("f").expect("an entry").1;
        let got = run_plan(&compiled, entry, &args, &sizes);
        prop_assert!(error(&got, &want) <= F32, "off by {:e}:\n{}\n{}", error(&got, &want), compiled.module, compiled.plan);
    }
}
