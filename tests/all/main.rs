//! Tests of the whole road: one binary, since each one links LLVM.

mod cache;
mod cli;
mod entries;
mod examples;
#[cfg(target_arch = "x86_64")]
mod floats;
mod goldens;
mod minilm;
mod ops;
mod outputs;
mod pipelines;
mod plans;
mod products;
mod random;
mod rotary;
mod sight;
mod smollm;
mod states;
mod structure;
mod targets;
mod training;

use kiln::lab::verify;
use kiln::{CompileOptions, EmitMode, Model, Session, SessionOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Options that compile kernels in the `kiln` executable, since a test has no `main` of its own.
fn options() -> CompileOptions {
    CompileOptions { emit: EmitMode::Worker(env!("CARGO_BIN_EXE_kiln").into()), ..CompileOptions::default() }
}

/// The `kiln` executable with a compile cache in a folder, and without whatever the caller's environment says to it.
fn kiln(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    without_environment(&mut command).env("HOME", cache).env("XDG_CACHE_HOME", cache).env("HF_HUB_OFFLINE", "1");
    command
}

/// Leaves a program what it needs to start, and no more.
fn without_environment(command: &mut Command) -> &mut Command {
    let needed = ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];
    command.env_clear().envs(needed.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
}

/// A folder of the goldens.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// The inputs of a golden's folder through `forward`, against the outputs that transformers computed.
fn check_outputs(model: &Arc<Model>, folder: &Path, tolerance: f64) {
    let file = folder.join("golden.safetensors");
    let mut session = Session::new(model, &SessionOptions::default()).expect("a session");
    let inputs = verify::read_tensors(&file, "in.").expect("inputs");
    let got = verify::call(&mut session, "forward", &inputs).expect("runs");
    let want = verify::read_tensors(&file, "out.").expect("outputs");
    for c in verify::compare(&folder.display().to_string(), &got, &want, tolerance).expect("same shapes") {
        assert!(c.holds(), "{}: error {:.2e}", c.name, c.relative_error);
    }
}
