//! CPUs: cubecl's LLVM IR to an object for the triple and level, and the objects to one position-independent image.

mod emit;
mod image;
mod kernel;
mod scratch;
mod target;
mod worker;

pub use image::{Image, link_image};
pub use kernel::CompiledKernel;
pub use worker::{WORKER_ENV, maybe_run_worker};

use crate::CodegenError;
use kernel::symbol;
use kiln_core::{CpuSpec, KernelSpec};
use target::CpuTarget;

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

/// Compiles each spec for a CPU, in the order given.
///
/// # Errors
/// The first kernel that fails, by name; a worker that dies counts as the failure of the kernel it was on.
/// [`CodegenError::WorkerCompiles`] in a process that is a worker itself, which else would start itself without end.
pub fn compile_kernels(
    specs: &[KernelSpec],
    target: &CpuSpec,
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
