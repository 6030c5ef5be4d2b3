//! What the templates must know of the machine.

use crate::{
    CodegenError,
    lower::{UNIT_TYPE, builder::Ty},
};
use cubecl_core::ir::Builtin;
use kiln_core::TargetSpec;

/// A machine that kernels are lowered for.
pub trait Target {
    /// f32 lanes that a vector operation should have; 1 where threads are the lanes.
    fn lanes(&self) -> usize;
    /// Vector registers.
    fn registers(&self) -> usize;
    /// Threads in a block.
    fn threads(&self) -> u32;
    #[doc(hidden)]
    fn chunk_builtin(&self) -> (Builtin, Ty);
}

/// A CPU: the chunk index is an argument of the call.
#[derive(Clone, Debug)]
pub struct CpuTarget {
    /// LLVM target triple.
    pub triple: String,
    /// LLVM CPU name.
    pub cpu: String,
    lanes: usize,
    registers: usize,
}

impl CpuTarget {
    /// The CPU that a target file describes.
    ///
    /// # Errors
    /// [`CodegenError::Unsupported`] for vectors that are not a power of two of at most 16 lanes.
    pub fn new(spec: &TargetSpec) -> Result<Self, CodegenError> {
        let lanes = spec.vector_lanes;
        if !lanes.is_power_of_two() || lanes > 16 {
            return Err(CodegenError::Unsupported(format!("vectors of {lanes} f32 (expected 1, 2, 4, 8 or 16)")));
        }
        Ok(CpuTarget {
            triple: spec.triple.clone(),
            cpu: spec.cpu.clone(),
            lanes,
            registers: spec.vector_registers.max(8),
        })
    }
}

impl Target for CpuTarget {
    fn lanes(&self) -> usize {
        self.lanes
    }
    fn registers(&self) -> usize {
        self.registers
    }
    fn threads(&self) -> u32 {
        1
    }
    fn chunk_builtin(&self) -> (Builtin, Ty) {
        (Builtin::UnitPosX, UNIT_TYPE)
    }
}

/// A CUDA device: every thread is a chunk.
#[derive(Clone, Copy, Debug)]
pub struct CudaTarget {
    /// Compute capability, 80 for 8.0.
    pub sm: u32,
}

impl Target for CudaTarget {
    fn lanes(&self) -> usize {
        1
    }
    fn registers(&self) -> usize {
        // What a thread may hold before it spills, counted in f32.
        96
    }
    fn threads(&self) -> u32 {
        128
    }
    fn chunk_builtin(&self) -> (Builtin, Ty) {
        (Builtin::AbsolutePos, Ty::Index)
    }
}
