//! What the verifier says of when a value is known, against what the interpreter computes.

use kiln_ir::{
    Arg, ArgKind, DType, Module, NodeId, interp,
    interp::Tensor,
    sample::{Choice, module_of, random_args, random_sizes},
    text, verify,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The values of an entry's nodes. Static parameters get the same values whatever the seed.
fn values(module: &Module, sizes: &[(&str, i64)], seed: u64) -> Vec<Option<Tensor>> {
    let (_, f) = module.find("f").expect("an entry");
    let args = random_args(module, "f", sizes, seed).expect("arguments");
    let parameters = random_args(module, "f", &least(module), 1).expect("arguments");
    let value = |(arg, (random, parameter)): (&Arg, (Tensor, Tensor))| match arg.kind {
        ArgKind::Param { live: false } => parameter,
        _ => random,
    };
    let args: Vec<Tensor> = f.args.iter().zip(args.into_iter().zip(parameters)).map(value).collect();
    let mut values = vec![None; f.len()];
    let mut observe = |_: &kiln_ir::Function, node: NodeId, tensor: &Tensor| {
        values[node.index()] = Some(tensor.clone());
    };
    interp::run_observed(module, "f", &args, sizes, &mut observe).unwrap_or_else(|e| panic!("{e}\n{module}"));
    values
}

fn least(module: &Module) -> Vec<(&str, i64)> {
    module.symbols.iter().map(|(s, b)| (&**s, b.min)).collect()
}

/// The static nodes of the entry, after it was seen that none of them depends on sizes, inputs, states or live parameters.
fn static_nodes(module: &Module, seed: u64) -> Vec<NodeId> {
    let info = verify(module).expect("verifies");
    let (id, f) = module.find("f").expect("an entry");
    let sizes = random_sizes(module, seed);
    let sizes: Vec<(&str, i64)> = sizes.iter().map(|(s, v)| (&**s, *v)).collect();
    let (first, second) = (values(module, &least(module), seed), values(module, &sizes, seed + 1));
    let known: Vec<NodeId> = f.nodes().map(|(n, _)| n).filter(|n| info.function(id).is_static(*n)).collect();
    for n in &known {
        let (a, b) = (&first[n.index()], &second[n.index()]);
        let same = match (a, b) {
            (Some(a), Some(b)) => a.shape() == b.shape() && a.bytes() == b.bytes(),
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(same, "{n} is called static and is not:\n{module}");
    }
    known
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_static_depends_on_static_parameters_alone(
        choices in proptest::collection::vec(any::<Choice>(), 1..24), seed in 0..u64::MAX - 1,
    ) {
        let module = module_of(&choices, DType::F32);
        let (id, _) = module.find("f").expect("an entry");
        // Calls are known when they are made; inside of them there is more.
        let flat = Module { functions: vec![module.inline(id)], symbols: module.symbols };
        static_nodes(&flat, seed);
    }
}

/// Sizes in attributes count, also where the result's own shape has none of them.
#[test]
fn a_size_among_the_attributes_is_no_constant() {
    let module = text::parse(
        r#"sym s in 1..=8
entry @f(%0: f32[8, 2] param "w", %1: f32[s, 2] input "x") {
  %2: f32[1, 2] = slice %0 {axis = 0, start = s - 1, len = 1}
  %3: f32[1, 2] = exp %2
  %4: f32[s, 2] = slice %0 {axis = 0, start = 0, len = s}
  %5: f32[2] = reduce_sum %4 {axis = 0, keep = false}
  %6: f32[8, 2] = pad %2 {axis = 0, low = s - 1, high = 8 - s, value = 0.0}
  %7: f32[1, 2] = slice %0 {axis = 0, start = 3, len = 1}
  %8: f32[8, 2] = pad %7 {axis = 0, low = 2, high = 5, value = 0.0}
  %9: f32[9, 2] = pad %7 {axis = 0, low = s, high = 8 - s, value = 0.0}
  %10: i64[] = dim_size {dim = s}
  %11: i64[] = dim_size {dim = 4}
  return "a" %3, "b" %5, "c" %6, "d" %8, "e" %9, "f" %10, "g" %11
}
"#,
    )
    .unwrap_or_else(|e| panic!("{e}"));
    let known: Vec<usize> = static_nodes(&module, 5).iter().map(|n| n.index()).collect();
    assert_eq!(known, [0, 7, 8, 11]);
}
