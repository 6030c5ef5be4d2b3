//! Types of values.

use kiln_core::{DType, Dim, Storage};
use std::{fmt, sync::Arc};

/// The type of a tensor: how its elements are stored, and its shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// Element type or block format.
    pub storage: Storage,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Arc<[Dim]>,
}

impl TensorType {
    /// A tensor type.
    pub fn new(storage: impl Into<Storage>, shape: impl Into<Arc<[Dim]>>) -> Self {
        TensorType { storage: storage.into(), shape: shape.into() }
    }

    /// The dense element type, if the tensor is not block-quantised.
    pub fn dtype(&self) -> Option<DType> {
        self.storage.dense()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        self.shape.iter().cloned().product()
    }

    /// Size in bytes; block rows must have whole blocks, which the verifier checks.
    pub fn bytes(&self) -> Dim {
        match self.storage {
            Storage::Dense(d) => self.elements() * Dim::from(d.size()),
            Storage::Block(b) => (self.elements() * Dim::from(b.block_bytes())).floor_div(&Dim::from(b.block_len())),
        }
    }

    /// Elements between neighbours along each axis of the row-major layout.
    pub fn strides(&self) -> Vec<Dim> {
        let mut strides = vec![Dim::constant(1); self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i].clone() * self.shape[i].clone();
        }
        strides
    }
}

/// `f32[b, s, 64]`
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.storage)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// The type of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// One tensor.
    Tensor(TensorType),
    /// What a call returns; only `get` takes it.
    Tuple(Arc<[TensorType]>),
}

impl Type {
    /// The tensor type, if this is not a tuple.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            Type::Tuple(_) => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Self {
        Type::Tensor(t)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::Tuple(ts) => {
                f.write_str("(")?;
                for (i, t) in ts.iter().enumerate() {
                    write!(f, "{}{t}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
        }
    }
}
