//! CUDA devices: the same specs as PTX, made without a device.

mod ptx;

pub use ptx::compile_ptx;

use crate::{Target, lower::builder::Ty};
use cubecl_core::ir::Builtin;
use kiln_core::CudaSpec;

/// A CUDA device as templates see it: every thread is a chunk.
#[derive(Clone, Copy, Debug)]
struct CudaTarget;

impl Target for CudaTarget {
    fn lanes(&self) -> usize {
        1
    }
    fn registers(&self) -> usize {
        // What a thread may hold before it spills, counted in f32.
        96
    }
    fn threads(&self) -> u32 {
        CudaSpec::THREADS
    }
    fn fused_multiply_add(&self) -> bool {
        true
    }
    fn converts_f16(&self) -> bool {
        true
    }
    fn chunk_builtin(&self) -> (Builtin, Ty) {
        (Builtin::AbsolutePos, Ty::Index)
    }
}
