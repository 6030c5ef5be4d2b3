//! CPUs: cubecl's LLVM IR to an object for the triple and level, and the objects to one position-independent image.

mod emit;
mod image;
mod scratch;
mod worker;

pub use image::{Image, link_image};
pub use worker::{WORKER_ENV, maybe_run_worker};

use crate::{CodegenError, Target, lower::builder::Ty};
use cubecl_core::ir::Builtin;
use kiln_core::{CpuSpec, KernelSpec};
use serde::{Deserialize, Serialize};

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

/// A CPU as templates see it: the chunk index is an argument of the call.
#[derive(Clone, Debug)]
struct CpuTarget {
    spec: CpuSpec,
}

impl CpuTarget {
    /// # Errors
    /// [`CodegenError::Unsupported`] for vectors that are not a power of two of at most 16 lanes.
    fn new(spec: &CpuSpec) -> Result<Self, CodegenError> {
        let lanes = spec.vector_lanes;
        if !lanes.is_power_of_two() || lanes > 16 {
            return Err(CodegenError::Unsupported(format!("vectors of {lanes} f32 (expected 1, 2, 4, 8 or 16)")));
        }
        Ok(CpuTarget { spec: spec.clone() })
    }
}

impl Target for CpuTarget {
    fn lanes(&self) -> usize {
        self.spec.vector_lanes
    }
    fn registers(&self) -> usize {
        self.spec.vector_registers.max(8)
    }
    fn threads(&self) -> u32 {
        1
    }
    fn fused_multiply_add(&self) -> bool {
        self.spec.fused_multiply_add()
    }
    fn converts_f16(&self) -> bool {
        self.spec.converts_f16()
    }
    fn chunk_builtin(&self) -> (Builtin, Ty) {
        (Builtin::UnitPosX, Ty::U32)
    }
}
