//! The way through cubecl's dump works with exactly this version, and its objects stand alone.

use crate::support::*;
use kiln_codegen::compile_kernels;
use kiln_core::*;
use object::{Object, ObjectSymbol};

fn simple() -> KernelSpec {
    let mut p = P::default();
    let x = p.load(0, DType::F32);
    let y = p.add(ElementOp::Unary(UnaryOp::Exp, x), DType::F32);
    KernelSpec::Map(MapSpec {
        extents: vec![Size::Arg(0)],
        reads: vec![access(DType::F32, &[1])],
        program: p.0,
        writes: vec![store(access(DType::F32, &[1]), y)],
    })
}

#[test]
fn an_object_has_one_global_function_and_needs_nothing() {
    let kernels = compile_kernels(&[simple()], &target(), &options()).unwrap();
    let file = object::File::parse(&*kernels[0].object).unwrap();
    let globals: Vec<_> = file.symbols().filter(|s| s.is_global()).map(|s| s.name().unwrap().to_string()).collect();
    assert_eq!(globals, ["kiln_map_0"]);
    assert!(file.symbols().all(|s| !s.is_undefined() || s.name() == Ok("")));
}

#[test]
fn a_malformed_spec_is_named() {
    let mut spec = simple();
    let KernelSpec::Map(s) = &mut spec else { unreachable!() };
    s.reads[0].strides.push(Size::Const(1));
    let error = compile_kernels(&[simple(), spec], &target(), &options()).unwrap_err().to_string();
    assert!(error.contains("kiln_map_1") && error.contains("2 strides"), "{error}");
}
