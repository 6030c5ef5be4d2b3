//! Constant tensors.

use kiln_core::{DType, Dim};
use std::{fmt, sync::Arc};

/// A constant tensor: element type, shape, and its elements' bytes, row-major and little-endian.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Literal {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Arc<[u8]>,
}

impl Literal {
    /// A constant of that shape; `None` if the number of bytes is not that of the shape.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: impl Into<Arc<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        let len = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d))?;
        (bytes.len() == len).then_some(Literal { dtype, shape, bytes })
    }

    /// A constant from numbers, rounded to the element type; `None` if their count is not that of the shape.
    pub fn from_f64(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size());
        values.iter().for_each(|v| dtype.write(*v, &mut bytes));
        Self::new(dtype, shape, bytes)
    }

    /// A scalar.
    pub fn scalar(dtype: DType, value: f64) -> Self {
        let mut bytes = Vec::with_capacity(8);
        dtype.write(value, &mut bytes);
        Literal { dtype, shape: vec![], bytes: bytes.into() }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Sizes, as the type system has them.
    pub fn dims(&self) -> Vec<Dim> {
        self.shape.iter().map(|n| Dim::from(*n)).collect()
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements' bytes with their owner.
    pub(crate) fn shared_bytes(&self) -> Arc<[u8]> {
        self.bytes.clone()
    }

    /// The elements as f64 (i64 beyond 2^53 loses its last bits).
    pub fn to_f64(&self) -> Vec<f64> {
        self.bytes.chunks_exact(self.dtype.size()).map(|b| self.dtype.read(b)).collect()
    }

    /// The value of a scalar, or of a tensor whose elements are all equal.
    pub fn splat(&self) -> Option<f64> {
        let mut chunks = self.bytes.chunks_exact(self.dtype.size());
        let first = chunks.next()?;
        chunks.all(|c| c == first).then(|| self.dtype.read(first))
    }
}

/// The elements in one list, row-major: `[1.0, 2.5]`, `[true]`; floats print so that they read back to the same bits.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, b) in self.bytes.chunks_exact(self.dtype.size()).enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            match self.dtype {
                DType::I64 => write!(f, "{}", i64::from_le_bytes(b.try_into().unwrap_or_default()))?,
                DType::F32 => write!(f, "{:?}", f32::from_le_bytes(b.try_into().unwrap_or_default()))?,
                d if d.is_float() => write!(f, "{:?}", d.read(b))?,
                DType::Bool => write!(f, "{}", b != [0])?,
                d => write!(f, "{}", d.read(b))?,
            }
        }
        f.write_str("]")
    }
}

impl Literal {
    /// Parses what `Display` prints. Of all NaNs the text has one.
    pub(crate) fn parse(dtype: DType, shape: Vec<usize>, text: &str) -> Result<Self, String> {
        let inner = text
            .trim()
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .ok_or_else(|| format!("expected a list in brackets, found `{text}`"))?;
        let mut bytes = Vec::new();
        for item in inner.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let bad = |e: &dyn fmt::Display| format!("`{item}` as {dtype}: {e}");
            match dtype {
                DType::I64 => bytes.extend(item.parse::<i64>().map_err(|e| bad(&e))?.to_le_bytes()),
                DType::F32 => {
                    let v: f32 = item.parse().map_err(|e| bad(&e))?;
                    bytes.extend(if v.is_nan() { f32::NAN } else { v }.to_le_bytes());
                }
                DType::Bool => bytes.push(u8::from(item.parse::<bool>().map_err(|e| bad(&e))?)),
                _ => {
                    let v: f64 = item.parse().map_err(|e| bad(&e))?;
                    dtype.write(if v.is_nan() { f64::NAN } else { v }, &mut bytes);
                }
            }
        }
        let found = bytes.len() / dtype.size();
        Self::new(dtype, shape.clone(), bytes)
            .ok_or_else(|| format!("the shape {shape:?} does not hold {found} elements"))
    }
}
