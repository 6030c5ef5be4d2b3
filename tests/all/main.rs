//! Tests of the whole road: one binary, since each one links LLVM.

mod cli;
mod examples;
mod goldens;
mod minilm;
mod ops;
mod pipelines;
mod sight;
mod smollm;
mod structure;

use kiln::{CompileOptions, codegen::EmitMode};

/// Options that compile kernels in the `kiln` executable, since a test has no `main` of its own.
fn options() -> CompileOptions {
    CompileOptions { emit: EmitMode::Worker(env!("CARGO_BIN_EXE_kiln").into()), ..CompileOptions::default() }
}

/// A folder of the goldens.
fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}
