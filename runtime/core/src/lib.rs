//! What the compiler and the runtime both speak of, and nothing else.
//!
//! The compiler side (`kiln-ir`, `kiln-passes`, `kiln-codegen`) and the runtime meet only here: element types ([`DType`],
//! [`Storage`]), symbolic sizes ([`Dim`]), what a fused kernel computes ([`KernelSpec`]), what an artifact runs ([`Plan`]),
//! how its code is called ([`call`]), and what machine it was made for ([`TargetSpec`]). Everything is plain data that
//! serialises; nothing here computes on tensors, and this crate depends on no other crate of the workspace. Both also write
//! files, in one way ([`output`]), and read JSON that Python wrote ([`json`]).

mod arguments;
mod block;
mod bounds;
pub mod call;
mod dim;
mod dtype;
mod element;
pub mod formula;
pub mod json;
mod kernel;
mod op;
pub mod output;
mod plan;
mod range;
mod reach;
#[cfg(feature = "reference")]
pub mod reference;
mod symbol;
mod target;
mod text;

pub use block::BlockFormat;
pub use bounds::DimBounds;
pub use dim::{Dim, DimError};
pub use dtype::{DType, Storage};
pub use element::int_to_round_again;
pub use kernel::{
    Access, AttentionSpec, Coord, DotSpec, ElementOp, Inst, KernelSpec, MapSpec, MatMulSpec, Onto, PackSpec, Phase,
    Program, RightSide, RowSpec, Size, ValueId, Write,
};
pub use op::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
pub use plan::{
    Buffer, DefaultFill, InputSpec, KernelEntry, Launch, OutputSpec, Plan, PreparedSpec, Schedule, Signature,
    StateSpec, Step, Temporary, Variant, WeightSpec, hold,
};
pub use range::{BoundRange, Refused, ValueRange};
pub use reach::{Reach, Reaches, reaches};
pub use symbol::{SizeRole, Symbol, Symbols};
pub use target::{Cache, CpuSpec, CudaSpec, Rates, TargetSpec};
