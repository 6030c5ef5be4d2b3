//! The generated cases that compiled code is tested with.

use kiln_ir::{
    BlockFormat, DType, Module, Op, Storage, interp,
    interp::Tensor,
    sample::{op_cases, random_args, random_sizes},
    text, verify,
};
use std::{collections::BTreeSet, sync::Arc};

pub type Arguments = (Vec<Tensor>, Vec<(Arc<str>, i64)>);

/// Random arguments of `@f`, and the sizes they have.
pub fn arguments(module: &Module, seed: u64) -> Arguments {
    let sizes = random_sizes(module, seed);
    let borrowed: Vec<(&str, i64)> = sizes.iter().map(|(s, v)| (&**s, *v)).collect();
    (random_args(module, "f", &borrowed, seed).expect("values"), sizes)
}

/// The results of `@f`.
pub fn run(module: &Module, args: &[Tensor], sizes: &[(Arc<str>, i64)]) -> Vec<Tensor> {
    let sizes: Vec<(&str, i64)> = sizes.iter().map(|(s, v)| (&**s, *v)).collect();
    interp::run(module, "f", args, &sizes).unwrap_or_else(|e| panic!("{e}\n{module}"))
}

#[test]
fn every_case_verifies_and_has_a_value_of_its_type() {
    let modules = op_cases(1);
    for (i, module) in modules.iter().enumerate() {
        verify(module).unwrap_or_else(|e| panic!("{e}\n{module}"));
        assert_eq!(text::parse(&text::print(module)).as_ref(), Ok(module), "{module}");
        let (_, f) = module.find("f").expect("an entry");
        let want = f.tensor(f.outputs[0].value);
        let (args, sizes) = arguments(module, i as u64);
        let y = &run(module, &args, &sizes)[0];
        assert_eq!((y.storage(), y.shape().len()), (want.storage, want.rank()), "{module}");
    }
}

#[test]
fn cases_and_values_are_those_of_their_seed() {
    assert_eq!(op_cases(7), op_cases(7));
    assert_ne!(op_cases(7), op_cases(8));
    let module = op_cases(7).swap_remove(40);
    assert_eq!(arguments(&module, 3), arguments(&module, 3));
}

#[test]
fn cases_cover_every_op_dtype_and_block_format() {
    let modules = op_cases(0);
    let nodes = || modules.iter().flat_map(|m| &m.functions).flat_map(|f| f.nodes()).map(|(_, n)| n);
    let names: BTreeSet<&str> = nodes().map(|n| n.op.name()).collect();
    let all: BTreeSet<&str> = Op::table().into_iter().flat_map(|op| op.names).collect();
    assert_eq!(names, all);
    let storages: BTreeSet<Storage> = nodes().filter_map(|n| n.ty.tensor()).map(|t| t.storage).collect();
    assert_eq!(storages.len(), DType::ALL.len() + BlockFormat::ALL.len());
}
