//! The ops. `specs/ops.md` gives the meaning of each with examples; this file gives names and attributes, and
//! [`Op::infer`](crate::Op::infer) the typing rules.

use crate::{graph::FuncId, literal::Literal};
use kiln_core::{BinaryOp, CompareOp, DType, Dim, ReduceOp, UnaryOp};
use std::fmt;

/// A real attribute, compared by its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Real(u64);

impl Real {
    /// From a number; NaN and the sign of zero are kept.
    pub fn new(v: f64) -> Self {
        Real(v.to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The axes of a `dot_general`. The result has the batch axes (in the order given), the free axes of `lhs`, and those of `rhs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DotDims {
    /// Batch axes of `lhs`.
    pub lhs_batch: Vec<usize>,
    /// Batch axes of `rhs`, paired with those of `lhs`.
    pub rhs_batch: Vec<usize>,
    /// Summed axes of `lhs`.
    pub lhs_contract: Vec<usize>,
    /// Summed axes of `rhs`, paired with those of `lhs`.
    pub rhs_contract: Vec<usize>,
}

impl DotDims {
    /// `[.., m, k] x [n, k]`: a linear layer with PyTorch's weight layout, for a `lhs` of that rank.
    pub fn linear(lhs_rank: usize) -> Self {
        DotDims { lhs_batch: vec![], rhs_batch: vec![], lhs_contract: vec![lhs_rank - 1], rhs_contract: vec![1] }
    }

    /// The axes of an operand of that rank that are neither batch nor summed.
    pub fn free(rank: usize, batch: &[usize], contract: &[usize]) -> Vec<usize> {
        (0..rank).filter(|a| !batch.contains(a) && !contract.contains(a)).collect()
    }
}

/// Attributes of `attention`; its meaning is that of [`kiln_core::AttentionSpec`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttentionAttrs {
    /// Factor on the scores.
    pub scale: Real,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// Most keys that a query sees, counted back from its own position.
    pub window: Option<i64>,
    /// Operands `slots` and `starts` follow q, k, v: keys come from a cache.
    pub cached: bool,
    /// An operand `mask` (bool `[batch, keys]`) follows: true where a key may be seen.
    pub mask: bool,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// An argument of the function.
    Arg(u32),
    /// A constant tensor.
    Constant(Literal),
    /// i64 indices along `axis` of a tensor of that shape.
    Iota {
        /// The result's shape.
        shape: Vec<Dim>,
        /// The axis that is counted along.
        axis: usize,
    },
    /// The value of a size, as an i64 scalar.
    DimSize(Dim),
    /// Elementwise.
    Unary(UnaryOp),
    /// Elementwise.
    Binary(BinaryOp),
    /// Elementwise, bool out.
    Compare(CompareOp),
    /// `(condition, a, b)`: a where the condition holds, else b.
    Select,
    /// Conversion of elements.
    Cast(DType),
    /// Block storage to dense.
    Dequantize(DType),
    /// The same elements, row-major, in another shape.
    Reshape(Vec<Dim>),
    /// Axis i of the result is axis `perm[i]` of the operand.
    Transpose(Vec<usize>),
    /// Repeats axes of size 1, and adds axes in front.
    Broadcast(Vec<Dim>),
    /// Part of an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// First index.
        start: Dim,
        /// Number of indices.
        len: Dim,
    },
    /// Operands one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// A constant value around an axis.
    Pad {
        /// The axis.
        axis: usize,
        /// Elements before.
        low: Dim,
        /// Elements after.
        high: Dim,
        /// Their value.
        value: Real,
    },
    /// One axis becomes one value (`keep`: an axis of size 1 stays).
    Reduce {
        /// How values combine.
        op: ReduceOp,
        /// The axis.
        axis: usize,
        /// Whether the axis stays with size 1.
        keep: bool,
    },
    /// `(x, indices)`: rows of `x` along `axis`, one for each index; an index out of range is clamped, where [`ranges`](crate::ranges) let it come here.
    Take {
        /// The axis of `x` that the indices stand in for.
        axis: usize,
    },
    /// `(x, indices)`, of one rank: along `axis`, the elements of `x` at the indices; one out of range is clamped.
    Gather {
        /// The axis that is indexed.
        axis: usize,
    },
    /// i64 indices of the `k` largest elements of an axis, the largest first, of equals the first.
    TopK {
        /// The axis.
        axis: usize,
        /// How many.
        k: usize,
    },
    /// Sum of products over paired axes.
    DotGeneral(DotDims),
    /// `(cache [rows, t, ..], new [batch, s, ..], slots [batch], starts [batch])`: writes `new[b, j]` to
    /// `cache[slots[b], starts[b] + j]`; positions outside `0..t` are left out. Consumes the cache.
    CacheUpdate,
    /// Composite. `(x, weight)`: `x / sqrt(mean(x^2) + eps) * weight` over the last axis.
    RmsNorm {
        /// Added to the mean square.
        eps: Real,
    },
    /// Composite. `(x, weight, bias)` over the last axis.
    LayerNorm {
        /// Added to the variance.
        eps: Real,
    },
    /// Composite. Over one axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Composite. `log Σ e^x` over one axis, which stays with size 1.
    LogSumExp {
        /// The axis.
        axis: usize,
    },
    /// Composite. `1 / (1 + e^-x)`.
    Sigmoid,
    /// Composite. `x * sigmoid(x)`.
    Silu,
    /// Composite. `x * Φ(x)`, exactly (erf) or in its tanh form.
    Gelu {
        /// The tanh form.
        tanh: bool,
    },
    /// Composite. `(x [b, s, heads, d], cos [b, s, d/2], sin [b, s, d/2])`: rotates the pairs `(x_i, x_{i + d/2})`.
    Rope,
    /// Composite. `(q, k, v, [slots, starts], [mask])`, all `[batch, length, heads, dim]`.
    Attention(AttentionAttrs),
    /// Calls a function of the module.
    Call(FuncId),
    /// One result of a call.
    Get(u32),
}

/// The sizes among an op's attributes. Each op is named, so that a new one cannot be forgotten.
macro_rules! sizes {
    ($op:expr, $iter:ident) => {
        match $op {
            Op::Iota { shape, .. } | Op::Reshape(shape) | Op::Broadcast(shape) => shape.$iter().collect(),
            Op::DimSize(d) => vec![d],
            Op::Slice { start, len, .. } => vec![start, len],
            Op::Pad { low, high, .. } => vec![low, high],
            Op::Arg(_)
            | Op::Constant(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Dequantize(_)
            | Op::Transpose(_)
            | Op::Concat { .. }
            | Op::Reduce { .. }
            | Op::Take { .. }
            | Op::Gather { .. }
            | Op::TopK { .. }
            | Op::DotGeneral(_)
            | Op::CacheUpdate
            | Op::RmsNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Softmax { .. }
            | Op::LogSumExp { .. }
            | Op::Sigmoid
            | Op::Silu
            | Op::Gelu { .. }
            | Op::Rope
            | Op::Attention(_)
            | Op::Call(_)
            | Op::Get(_) => vec![],
        }
    };
}

impl Op {
    /// The name in the text format.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Arg(_) => "arg",
            Op::Constant(_) => "constant",
            Op::Iota { .. } => "iota",
            Op::DimSize(_) => "dim_size",
            Op::Unary(o) => o.name(),
            Op::Binary(o) => o.name(),
            Op::Compare(o) => o.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::Dequantize(_) => "dequantize",
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::Broadcast(_) => "broadcast",
            Op::Slice { .. } => "slice",
            Op::Concat { .. } => "concat",
            Op::Pad { .. } => "pad",
            Op::Reduce { op: ReduceOp::Sum, .. } => "reduce_sum",
            Op::Reduce { op: ReduceOp::Prod, .. } => "reduce_prod",
            Op::Reduce { op: ReduceOp::Max, .. } => "reduce_max",
            Op::Reduce { op: ReduceOp::Min, .. } => "reduce_min",
            Op::Reduce { op: ReduceOp::ArgMax, .. } => "reduce_argmax",
            Op::Take { .. } => "take",
            Op::Gather { .. } => "gather",
            Op::TopK { .. } => "top_k",
            Op::DotGeneral(_) => "dot_general",
            Op::CacheUpdate => "cache_update",
            Op::RmsNorm { .. } => "rms_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Softmax { .. } => "softmax",
            Op::LogSumExp { .. } => "log_sum_exp",
            Op::Sigmoid => "sigmoid",
            Op::Silu => "silu",
            Op::Gelu { .. } => "gelu",
            Op::Rope => "rope",
            Op::Attention(_) => "attention",
            Op::Call(_) => "call",
            Op::Get(_) => "get",
        }
    }

    /// The sizes among its attributes.
    pub fn dims(&self) -> Vec<&Dim> {
        sizes!(self, iter)
    }

    /// The op with `f` of each of the [sizes](Self::dims) among its attributes.
    pub fn map_dims(&self, mut f: impl FnMut(&Dim) -> Dim) -> Op {
        let mut op = self.clone();
        let sizes: Vec<&mut Dim> = sizes!(&mut op, iter_mut);
        sizes.into_iter().for_each(|d| *d = f(d));
        op
    }

    /// Whether the op has a decomposition into primitives ([`crate::compose`]).
    pub fn is_composite(&self) -> bool {
        matches!(
            self,
            Op::RmsNorm { .. }
                | Op::LayerNorm { .. }
                | Op::Softmax { .. }
                | Op::LogSumExp { .. }
                | Op::Sigmoid
                | Op::Silu
                | Op::Gelu { .. }
                | Op::Rope
                | Op::Attention(_)
        )
    }

    /// Whether each element of the result depends only on the elements of the operands at the same place.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Compare(_)
                | Op::Select
                | Op::Cast(_)
                | Op::Sigmoid
                | Op::Silu
                | Op::Gelu { .. }
        )
    }
}
