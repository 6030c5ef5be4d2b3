//! Reductions over an axis, and products.

use super::Tensor;
use crate::shape;
use kiln_ir::{ConvAttrs, Dim, DotDims, Op, ReduceOp};

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident, $keep:ident = $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, axis: isize) -> Tensor { self.reduce(ReduceOp::$op, axis, false) }

                $(#[$doc])*
                #[doc = "The axis stays, with size 1."]
                #[track_caller]
                pub fn $keep(&self, axis: isize) -> Tensor { self.reduce(ReduceOp::$op, axis, true) }
            )*
        }
    };
}

reductions! {
    /// The sum over an axis.
    sum, sum_keepdim = Sum;
    /// The product over an axis.
    prod, prod_keepdim = Prod;
    /// The largest element of an axis.
    max, max_keepdim = Max;
    /// The smallest element of an axis.
    min, min_keepdim = Min;
    /// The index of the first largest element of an axis, as i64.
    argmax, argmax_keepdim = ArgMax;
}

impl Tensor {
    /// The mean over an axis, of floats.
    #[track_caller]
    pub fn mean(&self, axis: isize) -> Tensor {
        let size = self.dim(axis);
        self.sum(axis).over_size(&size)
    }

    /// The mean over an axis, of floats. The axis stays, with size 1.
    #[track_caller]
    pub fn mean_keepdim(&self, axis: isize) -> Tensor {
        let size = self.dim(axis);
        self.sum_keepdim(axis).over_size(&size)
    }

    #[track_caller]
    fn over_size(&self, size: &Dim) -> Tensor {
        if !self.dtype().is_float() {
            return self.fail("mean", &[self], "takes floats: cast first");
        }
        match size.as_const() {
            Some(n) => self / n as f64,
            None => self / self.cx.dim_size(size).to_dtype(self.dtype()),
        }
    }

    #[track_caller]
    fn reduce(&self, op: ReduceOp, axis: isize, keep: bool) -> Tensor {
        match self.axis(Op::Reduce { op, axis: 0, keep }.name(), axis, self.rank()) {
            Some(axis) => self.then(Op::Reduce { op, axis, keep }),
            None => Tensor::poisoned(&self.cx),
        }
    }

    /// Each element's sum with all before it along an axis.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        self.cumulative(ReduceOp::Sum, axis, false)
    }

    /// Each element's product with all before it along an axis.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        self.cumulative(ReduceOp::Prod, axis, false)
    }

    /// Each element combined with all before it along an axis (by sum, product, maximum or minimum), or with all after it.
    #[track_caller]
    pub fn cumulative(&self, op: ReduceOp, axis: isize, reverse: bool) -> Tensor {
        match self.axis(Op::Cumulative { op, axis: 0, reverse }.name(), axis, self.rank()) {
            Some(axis) => self.then(Op::Cumulative { op, axis, reverse }),
            None => Tensor::poisoned(&self.cx),
        }
    }

    /// Products of a kernel with windows, summed: this is `[batch, channels, size..]`, the weight `[out, channels / groups,
    /// kernel..]`, and the result `[batch, out, windows..]`.
    #[track_caller]
    pub fn conv(&self, weight: &Tensor, attrs: ConvAttrs) -> Tensor {
        self.cx.apply(Op::Conv(attrs), &[self, weight])
    }

    /// The `k` largest elements of an axis, the largest first, and their i64 indices; of equal elements the first comes first.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize) -> (Tensor, Tensor) {
        let Some(at) = self.axis("top_k", axis, self.rank()) else {
            return (Tensor::poisoned(&self.cx), Tensor::poisoned(&self.cx));
        };
        let indices = self.then(Op::TopK { axis: at, k });
        (self.gather(axis, &indices), indices)
    }

    /// `x · weightᵀ` over the last axis: a linear layer, with PyTorch's `[out, in]` weight.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor) -> Tensor {
        if self.rank() == 0 || weight.rank() != 2 {
            return self.fail("linear", &[self, weight], "takes x [.., in] and a weight [out, in]");
        }
        self.cx.apply(Op::DotGeneral(DotDims::linear(self.rank())), &[self, weight])
    }

    /// The matrix product over the last two axes; the axes before them broadcast. A vector is a row on the left and a column on the
    /// right, and its axis does not come back.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        if self.rank() == 0 || other.rank() == 0 {
            return self.fail("matmul", &[self, other], "takes tensors with at least one axis");
        }
        if self.rank() == 1 {
            return self.unsqueeze(0).matmul(other).squeeze(if other.rank() == 1 { 0 } else { -2 });
        }
        if other.rank() == 1 {
            return self.matmul(&other.unsqueeze(-1)).squeeze(-1);
        }
        let (m, n) = (self.rank() - 2, other.rank() - 2);
        if n == 0 {
            return self.dot(other, 0);
        }
        let Some(batch) = shape::broadcast(&self.shape()[..m], &other.shape()[..n]) else {
            return self.fail("matmul", &[self, other], "the axes before the last two do not broadcast");
        };
        let lhs = self.broadcast_to([&batch, &self.shape()[m..]].concat());
        let rhs = other.broadcast_to([&batch, &other.shape()[n..]].concat());
        lhs.dot(&rhs, batch.len())
    }

    /// `[batch.., m, k] x [batch.., k, n]`, where there may be more axes before `m` if `batch` is 0.
    #[track_caller]
    fn dot(&self, rhs: &Tensor, batch: usize) -> Tensor {
        let axes: Vec<usize> = (0..batch).collect();
        let dims = DotDims {
            lhs_batch: axes.clone(),
            rhs_batch: axes,
            lhs_contract: vec![self.rank().saturating_sub(1)],
            rhs_contract: vec![batch],
        };
        self.cx.apply(Op::DotGeneral(dims), &[self, rhs])
    }
}
