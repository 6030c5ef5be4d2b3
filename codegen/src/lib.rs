//! Kernel specs to machine code: what the passes fused becomes a CubeCL kernel, then LLVM IR, then an object for the
//! target's triple and CPU, and the objects become one position-independent image that the runtime maps and calls
//! ([`kiln_core::call`] says how).
//!
//! - [`compile_kernels`] lowers and emits, in child processes ([`maybe_run_worker`]), since LLVM may abort on what it cannot do.
//! - [`link_image`] places the objects and relocates them.
//! - [`ptx`] compiles the same specs for CUDA.
//!
//! This crate takes [`KernelSpec`]s and a [`TargetSpec`] from `kiln-core`, and calls no other crate of the workspace.

mod abi;
mod emit;
mod image;
mod lower;
pub mod ptx;
mod scratch;
mod target;
mod worker;

pub use image::{Image, link_image};
pub use target::{CpuTarget, CudaTarget, Target};
pub use worker::{WORKER_ENV, maybe_run_worker};

use kiln_core::{KernelSpec, TargetSpec};
use serde::{Deserialize, Serialize};

/// What went wrong while compiling.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// A spec contradicts itself.
    #[error("the kernel spec is malformed: {0}")]
    Spec(String),
    /// No template serves the spec on this target.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// cubecl refused the kernel, or its lowering failed.
    #[error("cubecl could not lower the kernel: {0}")]
    Lowering(String),
    /// LLVM refused the module.
    #[error("LLVM: {0}")]
    Llvm(String),
    /// An object cannot become part of an image.
    #[error("linking: {0}")]
    Link(String),
    /// cubecl lays out launch arguments otherwise than [`kiln_core::call`] says.
    #[error("the kernel's argument layout is not the one that the runtime writes: {0}")]
    Abi(String),
    /// Nothing can be written where it must be.
    #[error(
        "no folder takes {what} ({failures}): make room in one of them, or set TMPDIR to a folder that can be written"
    )]
    Scratch {
        /// What was to be written.
        what: String,
        /// The folders, and why each does not.
        failures: String,
    },
    /// A worker process failed.
    #[error("a compile worker failed: {0}")]
    Worker(String),
    /// A worker that was about to start workers of its own.
    #[error(
        "this process was started to compile kernels ({WORKER_ENV} is set), and came to compile a model: `main` must begin \
         with `maybe_run_worker()`, and return where that gives true; where nobody started it so, unset {WORKER_ENV}"
    )]
    WorkerCompiles,
    /// An error with the kernel that it happened in.
    #[error("kernel {symbol} ({template}): {error}")]
    Kernel {
        /// Its symbol.
        symbol: String,
        /// Its template.
        template: String,
        /// What went wrong.
        error: String,
    },
}

/// What kernels are compiled with, as `name version`: part of what decides an artifact's bytes.
pub fn compilers() -> Vec<String> {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: LLVM writes three numbers to the addresses given.
    unsafe { llvm_sys::core::LLVMGetVersion(&mut major, &mut minor, &mut patch) };
    vec!["cubecl 0.11.3".into(), format!("llvm {major}.{minor}.{patch}")]
}

/// Where kernels are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmitMode {
    /// In child processes of the running executable, whose `main` must begin with [`maybe_run_worker`].
    #[default]
    ChildProcesses,
    /// In child processes of another executable: a build of `kiln-emit`.
    Worker(std::path::PathBuf),
    /// In this process, one kernel after the other: LLVM's aborts end it. For tests.
    InProcess,
}

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Where.
    pub mode: EmitMode,
    /// Most processes at once; 0 is one per core.
    pub jobs: usize,
}

/// One kernel as a relocatable object with one global function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledKernel {
    /// The function's name.
    pub symbol: String,
    /// ELF bytes.
    pub object: Vec<u8>,
}

/// The symbol of a kernel: its template, and a number within its batch.
fn symbol(index: usize, spec: &KernelSpec) -> String {
    format!("kiln_{}_{index}", spec.template())
}

/// Compiles each spec for `target`, in the order given.
///
/// # Errors
/// The first kernel that fails, by name; a worker that dies counts as the failure of the kernel it was on.
/// [`CodegenError::WorkerCompiles`] in a process that is a worker itself, which else would start itself without end.
pub fn compile_kernels(
    specs: &[KernelSpec],
    target: &TargetSpec,
    options: &CompileOptions,
) -> Result<Vec<CompiledKernel>, CodegenError> {
    if worker::is_worker() {
        return Err(CodegenError::WorkerCompiles);
    }
    let cpu = CpuTarget::new(target)?;
    match &options.mode {
        EmitMode::InProcess => {
            specs.iter().enumerate().map(|(i, spec)| emit::compile(spec, &symbol(i, spec), &cpu)).collect()
        }
        EmitMode::ChildProcesses => {
            let exe = std::env::current_exe()
                .map_err(|e| CodegenError::Worker(format!("cannot find the running executable: {e}")))?;
            worker::compile(specs, target, &exe, options.jobs)
        }
        EmitMode::Worker(exe) => worker::compile(specs, target, exe, options.jobs),
    }
}
