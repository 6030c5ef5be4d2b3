//! Tensors as they go in and out: borrowed bytes with a type and a shape.

use half::{bf16, f16};
use kiln_core::{DType, Storage};

/// A Rust type that is the element of a tensor.
pub trait Element: bytemuck::NoUninit + bytemuck::CheckedBitPattern {
    /// Its element type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
elements!(f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i8 => I8, u8 => U8, bool => Bool);

/// A dense row-major tensor that someone else owns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// Type of an element.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// The elements, little endian, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The tensor of those elements; that there are as many as the shape says is checked where it is used.
    pub fn new<T: Element>(shape: &'a [usize], elements: &'a [T]) -> Self {
        TensorView { dtype: T::DTYPE, shape, bytes: bytemuck::cast_slice(elements) }
    }

    /// The elements; `None` if they are of another type or not aligned for it.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        if self.dtype != T::DTYPE {
            return None;
        }
        bytemuck::checked::try_cast_slice(self.bytes).ok()
    }

    /// The elements as f32: floats of 16 bits exactly, those of 64 bits and integers rounded, bools as 0 and 1.
    pub fn to_f32_vec(&self) -> Vec<f32> {
        Storage::Dense(self.dtype).to_f32(self.bytes)
    }

    /// `i64 [3, 7]`.
    pub(crate) fn describe(&self) -> String {
        format!("{} {:?}", self.dtype, self.shape)
    }

    /// Whether there are as many bytes as the type and shape say, and every bool is 0 or 1.
    pub(crate) fn check(&self) -> Result<(), String> {
        let elements = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        match elements.and_then(|n| n.checked_mul(self.dtype.size())) {
            Some(n) if n == self.bytes.len() => {}
            n => {
                let wanted = n.map_or("more than memory".into(), |n| n.to_string());
                return Err(format!("{} with {} bytes instead of {wanted}", self.describe(), self.bytes.len()));
            }
        }
        match self.bytes.iter().find(|b| self.dtype == DType::Bool && **b > 1) {
            Some(b) => Err(format!("{} with the byte {b}, where a bool is 0 or 1", self.describe())),
            None => Ok(()),
        }
    }
}
