//! The way through cubecl's dump works with exactly this version, and its objects stand alone.

use crate::support::*;
use kiln_codegen::{CodegenError, CompileOptions, EmitMode, WORKER_ENV, compile_kernels, link_image};
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

#[test]
fn the_same_spec_gives_the_same_bytes_in_process() {
    let worker = compile_kernels(&[simple()], &target(), &options()).unwrap();
    let own = CompileOptions { mode: EmitMode::InProcess, jobs: 0 };
    assert_eq!(compile_kernels(&[simple()], &target(), &own).unwrap(), worker);
}

#[test]
fn a_worker_that_dies_gives_an_error_that_names_the_kernel() {
    let dying = CompileOptions { mode: EmitMode::Worker("/bin/false".into()), jobs: 1 };
    let error = compile_kernels(&[simple()], &target(), &dying).unwrap_err().to_string();
    assert!(error.contains("kiln_map_0") && error.contains("worker died"), "{error}");
}

/// What a program does whose `main` does not begin with `maybe_run_worker`: started as a worker, it comes to compile.
#[test]
fn a_process_that_was_started_as_a_worker_starts_none() {
    if std::env::var_os(WORKER_ENV).is_some() {
        for mode in [EmitMode::Worker("/bin/false".into()), EmitMode::InProcess] {
            let refused = compile_kernels(&[simple()], &target(), &CompileOptions { mode, jobs: 1 });
            assert!(matches!(refused, Err(CodegenError::WorkerCompiles)), "{refused:?}");
            eprintln!("{}", refused.unwrap_err());
        }
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", "canary::a_process_that_was_started_as_a_worker_starts_none"]);
    let output = child.env(WORKER_ENV, "1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("`main` must begin with `maybe_run_worker()`") && errors.contains(WORKER_ENV), "{errors}");
}

#[test]
fn an_image_refuses_broken_objects() {
    let mut kernels = compile_kernels(&[simple()], &target(), &options()).unwrap();
    kernels[0].symbol = "another".into();
    let error = link_image(&kernels).unwrap_err().to_string();
    assert!(error.contains("another") && error.contains("lacks its function"), "{error}");
    kernels[0].object.truncate(40);
    assert!(link_image(&kernels).unwrap_err().to_string().contains("not an object file"));
}
