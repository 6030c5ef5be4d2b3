//! A CPU as a machine that kernels are lowered for.

use crate::lower::ty::Ty;
use crate::{CodegenError, Target};
use cubecl_core::ir::Builtin;
use kiln_core::CpuSpec;

/// A CPU as templates see it: the chunk index is an argument of the call.
#[derive(Clone, Debug)]
pub(super) struct CpuTarget {
    pub(super) spec: CpuSpec,
}

impl CpuTarget {
    /// # Errors
    /// [`CodegenError::Unsupported`] for vectors that are not a power of two of at most 16 lanes.
    pub(super) fn new(spec: &CpuSpec) -> Result<Self, CodegenError> {
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
