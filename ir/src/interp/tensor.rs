//! Tensors: what the interpreter takes and gives.

use crate::{IrError, Literal, TensorType};
use kiln_core::{DType, Storage};
use std::{fmt, sync::Arc};

/// Bytes that several tensors, or a memory-mapped file, may share.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

#[derive(Clone)]
enum Bytes {
    Owned(Arc<Vec<u8>>),
    Shared(SharedBytes),
}

/// A tensor: storage, shape, and the elements' bytes, row-major and little-endian, in whatever owns them. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    storage: Storage,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Bytes of a tensor of that shape; `None` if a row would cut a block or the number overflows.
pub(super) fn byte_len(storage: Storage, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    if let Storage::Block(b) = storage
        && !shape.last()?.is_multiple_of(b.block_len())
    {
        return None;
    }
    storage.bytes(elements).filter(|n| *n <= isize::MAX as usize)
}

fn error(reason: String) -> IrError {
    IrError::Tensor { reason }
}

impl Tensor {
    fn checked(storage: Storage, shape: Vec<usize>, bytes: Bytes) -> Result<Self, IrError> {
        let tensor = Tensor { storage, shape, bytes };
        let (expected, found) = (byte_len(storage, &tensor.shape), tensor.bytes().len());
        match expected {
            Some(n) if n == found => Ok(tensor),
            Some(n) => Err(error(format!("{storage}{:?} takes {n} bytes, found {found}", tensor.shape))),
            None => Err(error(format!("{storage}{:?} has no whole number of bytes", tensor.shape))),
        }
    }

    /// A tensor of these bytes.
    ///
    /// # Errors
    /// [`IrError::Tensor`] if the number of bytes is not that of the shape.
    pub fn from_bytes(
        storage: impl Into<Storage>,
        shape: impl Into<Vec<usize>>,
        bytes: Vec<u8>,
    ) -> Result<Self, IrError> {
        Self::checked(storage.into(), shape.into(), Bytes::Owned(Arc::new(bytes)))
    }

    /// A tensor that shares these bytes: an `Arc<Vec<u8>>`, or an `Arc` of anything that gives out a slice, such as a mapped file.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn from_shared(
        storage: impl Into<Storage>,
        shape: impl Into<Vec<usize>>,
        bytes: SharedBytes,
    ) -> Result<Self, IrError> {
        Self::checked(storage.into(), shape.into(), Bytes::Shared(bytes))
    }

    /// A tensor of these numbers, each rounded to the element type.
    ///
    /// # Errors
    /// [`IrError::Tensor`] if their count is not that of the shape.
    pub fn from_f64(dtype: DType, shape: impl Into<Vec<usize>>, values: &[f64]) -> Result<Self, IrError> {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size());
        values.iter().for_each(|v| dtype.write(*v, &mut bytes));
        Self::from_bytes(dtype, shape, bytes)
    }

    /// An f32 tensor.
    ///
    /// # Errors
    /// As [`from_f64`](Self::from_f64).
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Result<Self, IrError> {
        Self::from_bytes(DType::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An i64 tensor.
    ///
    /// # Errors
    /// As [`from_f64`](Self::from_f64).
    pub fn from_i64(shape: impl Into<Vec<usize>>, values: &[i64]) -> Result<Self, IrError> {
        Self::from_bytes(DType::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A bool tensor.
    ///
    /// # Errors
    /// As [`from_f64`](Self::from_f64).
    pub fn from_bool(shape: impl Into<Vec<usize>>, values: &[bool]) -> Result<Self, IrError> {
        Self::from_bytes(DType::Bool, shape, values.iter().map(|v| u8::from(*v)).collect())
    }

    /// A scalar, rounded to the element type.
    pub fn scalar(dtype: DType, value: f64) -> Self {
        (&Literal::scalar(dtype, value)).into()
    }

    /// A tensor whose bytes are all zero.
    ///
    /// # Errors
    /// [`IrError::Tensor`] if the shape has no whole number of bytes.
    pub fn zeros(storage: impl Into<Storage>, shape: impl Into<Vec<usize>>) -> Result<Self, IrError> {
        let (storage, shape) = (storage.into(), shape.into());
        let bytes = vec![0; byte_len(storage, &shape).unwrap_or(0)];
        Self::from_bytes(storage, shape, bytes)
    }

    /// The same bytes in another shape.
    ///
    /// # Errors
    /// [`IrError::Tensor`] if the shape does not hold the same number of bytes.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Self, IrError> {
        Self::checked(self.storage, shape.into(), self.bytes.clone())
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Element type, if the storage is dense.
    pub fn dtype(&self) -> Option<DType> {
        self.storage.dense()
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type, all sizes constant.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.storage, self.shape.iter().map(|n| (*n).into()).collect::<Vec<_>>())
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(b) => b,
            Bytes::Shared(b) => (**b).as_ref(),
        }
    }

    /// The elements' bytes, copied only if they are shared.
    pub fn into_bytes(self) -> Vec<u8> {
        match self.bytes {
            Bytes::Owned(b) => Arc::try_unwrap(b).unwrap_or_else(|b| b.to_vec()),
            Bytes::Shared(b) => (*b).as_ref().to_vec(),
        }
    }

    /// The elements as f64 (i64 beyond 2^53 loses its last bits, bool gives 0 and 1); blocks are dequantised.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match self.storage {
            Storage::Dense(_) => self.floats(),
            Storage::Block(b) => {
                let mut block = vec![0f32; b.block_len()];
                let mut out = Vec::with_capacity(self.len());
                for bytes in self.bytes().chunks_exact(b.block_bytes()) {
                    b.dequantize_block(bytes, &mut block);
                    out.extend(block.iter().map(|v| f64::from(*v)));
                }
                out
            }
        }
    }

    /// The elements as f32, rounded where they do not fit.
    pub fn to_f32_vec(&self) -> Vec<f32> {
        self.to_f64_vec().into_iter().map(|v| v as f32).collect()
    }

    /// The elements as i64: exactly for integers and bool; floats truncate and saturate.
    pub fn to_i64_vec(&self) -> Vec<i64> {
        match self.dtype() {
            Some(d) if !d.is_float() => self.ints(),
            _ => self.to_f64_vec().into_iter().map(|v| v as i64).collect(),
        }
    }

    /// The elements as bool: not zero.
    pub fn to_bool_vec(&self) -> Vec<bool> {
        self.to_f64_vec().into_iter().map(|v| v != 0.0).collect()
    }

    /// The tensor as a constant; `None` for block storage.
    pub fn to_literal(&self) -> Option<Literal> {
        Literal::new(self.dtype()?, self.shape.clone(), self.bytes())
    }

    /// Elements of dense storage.
    pub(super) fn floats(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.bytes().len() / self.storage.dense().map_or(1, DType::size)];
        if let Some(d) = self.dtype() {
            read_floats(d, self.bytes(), &mut out);
        }
        out
    }

    /// Elements of integers and bool.
    pub(super) fn ints(&self) -> Vec<i64> {
        let bytes = self.bytes();
        match self.dtype() {
            Some(DType::I64) => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            Some(DType::I32) => bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            Some(DType::I8) => bytes.iter().map(|b| (*b as i8).into()).collect(),
            Some(DType::Bool) => bytes.iter().map(|b| i64::from(*b != 0)).collect(),
            _ => bytes.iter().map(|b| i64::from(*b)).collect(),
        }
    }

    /// A tensor of integers or bool from values that wrap to its width.
    pub(crate) fn from_ints(dtype: DType, shape: &[usize], values: &[i64]) -> Result<Self, IrError> {
        let bytes = match dtype {
            DType::I64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::I32 => values.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect(),
            DType::Bool => values.iter().map(|v| u8::from(*v != 0)).collect(),
            _ => values.iter().map(|v| *v as u8).collect(),
        };
        Self::from_bytes(dtype, shape, bytes)
    }
}

/// Reads dense elements as f64; `bytes` and `out` have the same number of elements.
pub(super) fn read_floats(dtype: DType, bytes: &[u8], out: &mut [f64]) {
    match dtype {
        DType::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *o = f32::from_le_bytes(*b).into();
            }
        }
        _ => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(dtype.size())) {
                *o = dtype.read(b);
            }
        }
    }
}

impl From<&Literal> for Tensor {
    fn from(l: &Literal) -> Self {
        Tensor {
            storage: l.dtype().into(),
            shape: l.shape().to_vec(),
            bytes: Bytes::Shared(Arc::new(l.shared_bytes())),
        }
    }
}

/// Same type, shape and bits.
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.storage == other.storage && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

/// The type and the first elements.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        write!(f, "{}{:?} [", self.storage, self.shape)?;
        let values = self.to_f64_vec();
        for (i, v) in values.iter().take(SHOWN).enumerate() {
            write!(f, "{}{v:?}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(if values.len() > SHOWN { ", …]" } else { "]" })
    }
}

/// `‖got − want‖ / ‖want‖` over all elements, or `‖got − want‖` where `want` is all zero. Infinite if types or shapes differ, or where
/// one is NaN or infinite and the other is not the same.
pub fn relative_error(got: &Tensor, want: &Tensor) -> f64 {
    if got.storage != want.storage || got.shape != want.shape {
        return f64::INFINITY;
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (g, w) in got.to_f64_vec().into_iter().zip(want.to_f64_vec()) {
        if g.is_finite() && w.is_finite() {
            difference += (g - w) * (g - w);
            norm += w * w;
        } else if g != w && !(g.is_nan() && w.is_nan()) {
            return f64::INFINITY;
        }
    }
    if norm == 0.0 { f64::sqrt(difference) } else { f64::sqrt(difference / norm) }
}
