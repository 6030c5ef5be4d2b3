//! Ops that move elements: shapes, axes, parts, gathers.

use super::Tensor;
use crate::{ToDim, shape};
use kiln_ir::{Dim, Op, Real};

impl Tensor {
    /// The same elements in another shape; one size may be -1.
    #[track_caller]
    pub fn reshape(&self, shape: impl AsRef<[Dim]>) -> Tensor {
        match shape::with_inferred(shape.as_ref(), &self.ty().elements()) {
            Ok(shape) if shape == self.shape() => self.clone(),
            Ok(shape) => self.then(Op::Reshape(shape)),
            Err(reason) => self.fail("reshape", &[self], reason),
        }
    }

    /// Axes `start..=end` as one.
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Tensor {
        let (Some(start), Some(end)) =
            (self.axis("flatten", start, self.rank()), self.axis("flatten", end, self.rank()))
        else {
            return Tensor::poisoned(&self.cx);
        };
        if start > end {
            return self.fail("flatten", &[self], format!("axis {start} comes after axis {end}"));
        }
        let one: Dim = self.shape()[start..=end].iter().cloned().product();
        self.reshape([&self.shape()[..start], &[one], &self.shape()[end + 1..]].concat())
    }

    /// A new axis of size 1 before `axis` (at the end with -1).
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let Some(axis) = self.axis("unsqueeze", axis, self.rank() + 1) else { return Tensor::poisoned(&self.cx) };
        let mut shape = self.shape().to_vec();
        shape.insert(axis, 1.into());
        self.reshape(shape)
    }

    /// Without `axis`, which must have size 1.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        let Some(axis) = self.axis("squeeze", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        let mut shape = self.shape().to_vec();
        let size = shape.remove(axis);
        if !size.is(1) {
            return self.fail("squeeze", &[self], format!("axis {axis} has size {size}, not 1"));
        }
        self.reshape(shape)
    }

    /// Two axes swapped.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let (Some(a), Some(b)) = (self.axis("transpose", a, self.rank()), self.axis("transpose", b, self.rank()))
        else {
            return Tensor::poisoned(&self.cx);
        };
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        axes.swap(a, b);
        self.then(Op::Transpose(axes))
    }

    /// The axes in another order: axis i of the result is axis `axes[i]`.
    #[track_caller]
    pub fn permute(&self, axes: &[isize]) -> Tensor {
        match axes.iter().map(|a| self.axis("permute", *a, self.rank())).collect() {
            Some(axes) => self.then(Op::Transpose(axes)),
            None => Tensor::poisoned(&self.cx),
        }
    }

    /// Axes of size 1 repeated, and axes added in front.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl AsRef<[Dim]>) -> Tensor {
        let shape = shape.as_ref();
        if shape == self.shape() { self.clone() } else { self.then(Op::Broadcast(shape.to_vec())) }
    }

    /// `len` indices of an axis, from `start` on.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: impl ToDim, len: impl ToDim) -> Tensor {
        let Some(axis) = self.axis("slice", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.then(Op::Slice { axis, start: start.to_dim(), len: len.to_dim() })
    }

    /// `N` equal parts of an axis, whose size must be known and divide.
    #[track_caller]
    pub fn chunk<const N: usize>(&self, axis: isize) -> [Tensor; N] {
        let poisoned = || std::array::from_fn(|_| Tensor::poisoned(&self.cx));
        let Some(at) = self.axis("chunk", axis, self.rank()) else { return poisoned() };
        let Some(size) = self.shape()[at].exact_div(&N.to_dim()).filter(|_| N > 0) else {
            self.fail("chunk", &[self], format!("axis {axis} does not divide into {N} parts"));
            return poisoned();
        };
        let mut parts = vec![];
        for i in 0..N {
            parts.push(self.narrow(axis, size.clone() * i.into(), &size));
        }
        parts.try_into().unwrap_or_else(|_| poisoned())
    }

    /// This tensor and others, one after the other along an axis.
    #[track_caller]
    pub fn cat(&self, others: &[&Tensor], axis: isize) -> Tensor {
        let Some(axis) = self.axis("concat", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.cx.apply(Op::Concat { axis }, &[&[self], others].concat())
    }

    /// `value` before and after the elements of an axis.
    #[track_caller]
    pub fn pad(&self, axis: isize, low: impl ToDim, high: impl ToDim, value: f64) -> Tensor {
        let Some(axis) = self.axis("pad", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.then(Op::Pad { axis, low: low.to_dim(), high: high.to_dim(), value: Real::new(value) })
    }

    /// For each of the i64 `indices`, that row along an axis; an index out of range is clamped.
    #[track_caller]
    pub fn index_select(&self, axis: isize, indices: &Tensor) -> Tensor {
        let Some(axis) = self.axis("take", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.cx.apply(Op::Take { axis }, &[self, indices])
    }

    /// Along an axis, the elements at the i64 `indices`, which have the result's shape; an index out of range is clamped.
    #[track_caller]
    pub fn gather(&self, axis: isize, indices: &Tensor) -> Tensor {
        let Some(axis) = self.axis("gather", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.cx.apply(Op::Gather { axis }, &[self, indices])
    }

    /// This tensor with each of the `updates` added at its i64 index along an axis; one whose index is out of range is left out.
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, indices: &Tensor, updates: &Tensor) -> Tensor {
        let Some(axis) = self.axis("scatter_add", axis, self.rank()) else { return Tensor::poisoned(&self.cx) };
        self.cx.apply(Op::ScatterAdd { axis }, &[self, indices, updates])
    }
}
