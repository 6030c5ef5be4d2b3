//! Kernel specs to machine code: what the passes fused becomes a CubeCL kernel, then LLVM IR, then what a target runs
//! ([`kiln_core::call`] says how it is called).
//!
//! - [`cpu`] makes objects for a triple and level, and links them to one position-independent image that the runtime maps.
//! - [`cuda`] makes PTX.
//!
//! This crate takes [`KernelSpec`](kiln_core::KernelSpec)s and targets from `kiln-core`, and calls no other crate of the workspace.

mod abi;
pub mod cpu;
pub mod cuda;
mod lower;
mod target;

pub use cpu::{CompileOptions, EmitMode, WORKER_ENV, compile_kernels, link_image, maybe_run_worker};
pub use target::Target;

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
