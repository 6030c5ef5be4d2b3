//! Element types inside a kernel.

use cubecl_core::ir::{ElemType, FloatKind, IntKind, UIntKind};
use kiln_core::DType;

/// The element type of a value inside a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ty {
    F64,
    F32,
    F16,
    I64,
    I32,
    I8,
    U64,
    U32,
    U16,
    U8,
    Index,
    Bool,
}

impl Ty {
    /// The type in which a program computes with values of `dtype`: f16 and bf16 are computed in f32.
    pub fn of(dtype: DType) -> Ty {
        match dtype {
            DType::F64 => Ty::F64,
            DType::F32 | DType::F16 | DType::BF16 => Ty::F32,
            DType::I64 => Ty::I64,
            DType::I32 => Ty::I32,
            DType::I8 => Ty::I8,
            DType::U8 => Ty::U8,
            DType::Bool => Ty::Bool,
        }
    }

    /// The type of a buffer's elements in memory: bf16 are raw bits, a bool is a byte.
    pub fn stored(dtype: DType) -> Ty {
        match dtype {
            DType::F16 => Ty::F16,
            DType::BF16 => Ty::U16,
            DType::Bool => Ty::U8,
            other => Ty::of(other),
        }
    }

    /// Whether arithmetic is floating-point.
    pub fn is_float(self) -> bool {
        matches!(self, Ty::F64 | Ty::F32 | Ty::F16)
    }

    /// Whether comparisons and division are signed.
    pub fn is_signed(self) -> bool {
        matches!(self, Ty::I64 | Ty::I32 | Ty::I8)
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Ty::F64 | Ty::I64 | Ty::U64 | Ty::Index => 8,
            Ty::F32 | Ty::I32 | Ty::U32 => 4,
            Ty::F16 | Ty::U16 => 2,
            Ty::I8 | Ty::U8 | Ty::Bool => 1,
        }
    }

    pub(super) fn elem(self) -> ElemType {
        match self {
            Ty::F64 => ElemType::Float(FloatKind::F64),
            Ty::F32 => ElemType::Float(FloatKind::F32),
            Ty::F16 => ElemType::Float(FloatKind::F16),
            Ty::I64 => ElemType::Int(IntKind::I64),
            Ty::I32 => ElemType::Int(IntKind::I32),
            Ty::I8 => ElemType::Int(IntKind::I8),
            Ty::U64 => ElemType::UInt(UIntKind::U64),
            Ty::U32 => ElemType::UInt(UIntKind::U32),
            Ty::U16 => ElemType::UInt(UIntKind::U16),
            Ty::U8 => ElemType::UInt(UIntKind::U8),
            Ty::Index => ElemType::Index,
            Ty::Bool => ElemType::Bool,
        }
    }
}
