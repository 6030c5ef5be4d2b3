//! What the templates must know of a machine.

use crate::lower::ty::Ty;
use cubecl_core::ir::Builtin;

/// A machine that kernels are lowered for.
pub trait Target {
    /// f32 lanes that a vector operation should have; 1 where threads are the lanes.
    fn lanes(&self) -> usize;
    /// Vector registers.
    fn registers(&self) -> usize;
    /// Threads in a block.
    fn threads(&self) -> u32;
    /// Whether it multiplies and adds with one rounding, in one instruction. Where it does not, products are rounded before they are
    /// added.
    fn fused_multiply_add(&self) -> bool;
    /// Whether it converts between f16 and f32 by an instruction.
    fn converts_f16(&self) -> bool;
    #[doc(hidden)]
    fn chunk_builtin(&self) -> (Builtin, Ty);
}
