//! Random modules of many ops.

use kiln_ir::{
    DType, compose, interp,
    interp::relative_error,
    sample::{Choice, Printed, module_of, random_args, random_module, random_sizes},
    text, verify,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::BTreeSet;

fn modules() -> impl Strategy<Value = Printed> {
    let choices = proptest::collection::vec(any::<Choice>(), 1..24);
    (choices, prop::sample::select(&[DType::F32, DType::F64, DType::F16, DType::BF16]))
        .prop_map(|(choices, float)| Printed(module_of(&choices, float)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn random_modules_verify_and_print_and_evaluate(module in modules(), seed: u64) {
        let module = module.0;
        verify(&module).unwrap_or_else(|e| panic!("{e}"));
        let parsed = text::parse(&text::print(&module));
        prop_assert_eq!(parsed.as_ref(), Ok(&module));
        let sizes = random_sizes(&module, seed);
        let sizes: Vec<(&str, i64)> = sizes.iter().map(|(s, v)| (&**s, *v)).collect();
        let args = random_args(&module, "f", &sizes, seed).expect("arguments");
        let results = interp::run(&module, "f", &args, &sizes).unwrap_or_else(|e| panic!("{e}"));
        prop_assert_eq!(results.len(), module.find("f").expect("an entry").1.outputs.len());
    }

    #[test]
    fn inlining_and_opening_composites_keep_what_a_module_computes(
        choices in proptest::collection::vec(any::<Choice>(), 1..16), seed: u64,
    ) {
        let module = module_of(&choices, DType::F64);
        let entry = module.find("f").expect("an entry").0;
        let flat = kiln_ir::Module { functions: vec![module.inline(entry)], symbols: module.symbols.clone() };
        let opened = compose::decompose(&flat).expect("opens");
        verify(&opened).unwrap_or_else(|e| panic!("{e}\n{opened}"));
        let sizes = random_sizes(&module, seed);
        let sizes: Vec<(&str, i64)> = sizes.iter().map(|(s, v)| (&**s, *v)).collect();
        let args = random_args(&module, "f", &sizes, seed).expect("arguments");
        let want = interp::run(&module, "f", &args, &sizes).unwrap_or_else(|e| panic!("{e}\n{module}"));
        let got = interp::run(&opened, "f", &args, &sizes).unwrap_or_else(|e| panic!("{e}\n{opened}"));
        for (g, w) in got.iter().zip(&want) {
            prop_assert!(relative_error(g, w) < 1e-9, "{}\n{module}", relative_error(g, w));
        }
    }
}

#[test]
fn random_modules_use_nearly_every_op() {
    let modules: Vec<_> = (0..200).map(|seed| random_module(seed, 20, DType::F32)).collect();
    let nodes = || modules.iter().flat_map(|m| &m.functions).flat_map(|f| f.nodes()).map(|(_, n)| n.op.name());
    let used: BTreeSet<&str> = nodes().collect();
    let all = kiln_ir::sample::op_cases(0);
    let all: BTreeSet<&str> =
        all.iter().flat_map(|m| &m.functions).flat_map(|f| f.nodes()).map(|(_, n)| n.op.name()).collect();
    let left: Vec<&str> = all.difference(&used).copied().collect();
    // Blocks, integers and bool have their own tests; `floor` turns small errors into large ones.
    assert_eq!(left, ["and", "dequantize", "floor", "or", "rem"]);
    assert_eq!(random_module(5, 20, DType::F32), random_module(5, 20, DType::F32));
}
