//! The table of ops. `specs/ops.md` gives the meaning of each with examples.

use super::{
    AttentionAttrs, Attr, Class, ConvAttrs, DotDims, Field, OpInfo, Real, SCANS, Source, declare::ops, reduce_name,
    scan_name, typing,
};
use crate::{IrError, NodeId, TensorType, builder::Builder, gradient::Gradient, graph::FuncId, literal::Literal};
use kiln_core::formula::gelu;
use kiln_core::{BinaryOp, CompareOp, DType, Dim, ReduceOp, UnaryOp};

ops! {
    /// An argument of the function.
    Arg(index: u32) = "arg" () Source: typing::none;

    /// A constant tensor.
    Constant(data: Literal) = "constant" () Source: |_| Ok(TensorType::new(data.dtype(), data.dims()));

    /// i64 indices along `axis` of a tensor of that shape.
    Iota {
        /// The result's shape.
        shape: Vec<Dim>,
        /// The axis that is counted along.
        axis: usize,
    } = "iota" () Source: |_| typing::iota(shape, *axis);

    /// The value of a size, as an i64 scalar.
    DimSize(dim: Dim) = "dim_size" () Source: |_| Ok(TensorType::new(DType::I64, []));

    /// Elementwise.
    Unary(op: UnaryOp) = [op in UnaryOp::ALL, UnaryOp::name] ("x") Elementwise: |t| typing::unary(t, *op)
        => |g| g.unary(*op);

    /// Elementwise.
    Binary(op: BinaryOp) = [op in BinaryOp::ALL, BinaryOp::name] ("a", "b") Elementwise: |t| typing::binary(t, *op)
        => |g| g.binary(*op);

    /// Elementwise, bool out.
    Compare(op: CompareOp) = [op in CompareOp::ALL, CompareOp::name] ("a", "b") Elementwise: typing::compare;

    /// `(condition, a, b)`: a where the condition holds, else b.
    Select = "select" ("condition", "a", "b") Elementwise: typing::select
        => |g| g.select();

    /// Conversion of elements.
    Cast(to: DType) = "cast" ("x") Elementwise: |t| Ok(TensorType::new(*to, t[0].shape.clone()))
        => |g| g.cast();

    /// Block storage to dense.
    Dequantize(to: DType) = "dequantize" ("x") Elementwise: |t| typing::dequantize(t, *to);

    /// The same elements, row-major, in another shape.
    Reshape(shape: Vec<Dim>) = "reshape" ("x") Movement: |t| typing::reshape(t, shape)
        => |g| g.reshape();

    /// Axis i of the result is axis `perm[i]` of the operand.
    Transpose(perm: Vec<usize>) = "transpose" ("x") Movement: |t| typing::transpose(t, perm)
        => |g| g.transpose(perm);

    /// Repeats axes of size 1, and adds axes in front.
    Broadcast(shape: Vec<Dim>) = "broadcast" ("x") Movement: |t| typing::broadcast(t, shape)
        => |g| g.broadcast();

    /// Part of an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// First index.
        start: Dim,
        /// Number of indices.
        len: Dim,
    } = "slice" ("x") Movement: |t| typing::slice(t, *axis, start, len)
        => |g| g.slice(*axis, start, len);

    /// Operands one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    } = "concat" ("x..") Movement: |t| typing::concat(t, *axis)
        => |g| g.concat(*axis);

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
    } = "pad" ("x") Movement: |t| typing::pad(t, *axis, low, high)
        => |g| g.pad(*axis, low);

    /// `(x, indices)`: rows of `x` along `axis`, one for each index; an index out of range is clamped, where
    /// [`ranges`](crate::ranges) let it come here.
    Take {
        /// The axis of `x` that the indices stand in for.
        axis: usize,
    } = "take" ("x", "indices") Movement: |t| typing::take(t, *axis)
        => |g| g.take(*axis);

    /// `(x, indices)`, of one rank: along `axis`, the elements of `x` at the indices; one out of range is clamped.
    Gather {
        /// The axis that is indexed.
        axis: usize,
    } = "gather" ("x", "indices") Movement: |t| typing::gather(t, *axis)
        => |g| g.gather(*axis);

    /// `(x, indices, updates)`, of one rank: `x` with each element of `updates` added at its index along `axis`, in the order
    /// of that axis; one whose index is out of range is left out.
    ScatterAdd {
        /// The axis that is indexed.
        axis: usize,
    } = "scatter_add" ("x", "indices", "updates") Axis: |t| typing::scatter_add(t, *axis)
        => |g| g.scatter_add(*axis);

    /// One axis becomes one value (`keep`: an axis of size 1 stays).
    Reduce {
        /// How values combine.
        op: ReduceOp,
        /// The axis.
        axis: usize,
        /// Whether the axis stays with size 1.
        keep: bool,
    } = [op in ReduceOp::ALL, reduce_name] ("x") Axis: |t| typing::reduce(t, *op, *axis, *keep)
        => |g| g.reduce(*op, *axis);

    /// Each element combined with all before it along an axis.
    Cumulative {
        /// How values combine: not by `argmax`.
        op: ReduceOp,
        /// The axis.
        axis: usize,
        /// With all after it instead.
        reverse: bool,
    } = [op in SCANS, scan_name] ("x") Axis: |t| typing::cumulative(t, *op, *axis)
        => |g| g.cumulative(*op, *axis, *reverse);

    /// i64 indices of the `k` largest elements of an axis, the largest first, of equals the first.
    TopK {
        /// The axis.
        axis: usize,
        /// How many.
        k: usize,
    } = "top_k" ("x") Axis: |t| typing::top_k(t, *axis, *k);

    /// Sum of products over paired axes.
    DotGeneral(dims: DotDims) = "dot_general" ("lhs", "rhs") Product: |t| typing::dot_general(t, dims)
        => |g| g.dot_general(dims);

    /// `(cache [rows, t, ..], new [batch, s, ..], slots [batch], starts [batch])`: writes `new[b, j]` to
    /// `cache[slots[b], starts[b] + j]`; positions outside `0..t` are left out. Consumes the cache.
    CacheUpdate = "cache_update" ("cache", "new", "slots", "starts") Write: typing::cache_update;

    /// `(state, value)`: the next version of the state, which has the value. Consumes the state.
    Write = "write" ("state", "value") Write: typing::write;

    /// Composite. `(x [batch, channels, size..], weight [out, channels / groups, kernel..])`: products of the weight with
    /// windows of x, summed.
    Conv(attrs: ConvAttrs) = "conv" ("x", "weight") Product: |t| typing::conv(t, attrs), |b, x| b.conv(attrs, x);

    /// Composite. `(x, weight)`: `x / sqrt(mean(x^2) + eps) * weight` over the last axis.
    RmsNorm {
        /// Added to the mean square.
        eps: Real,
    } = "rms_norm" ("x", "weight") Axis: typing::norm, |b, x| b.rms_norm(x, eps.get())
        => |g| g.rms_norm(eps.get());

    /// Composite. `(x, weight, bias)` over the last axis.
    LayerNorm {
        /// Added to the variance.
        eps: Real,
    } = "layer_norm" ("x", "weight", "bias") Axis: typing::norm, |b, x| b.layer_norm(x, eps.get())
        => |g| g.layer_norm(eps.get());

    /// Composite. Over one axis.
    Softmax {
        /// The axis.
        axis: usize,
    } = "softmax" ("x") Axis: |t| typing::softmax(t, *axis), |b, x| b.softmax(x[0], *axis)
        => |g| g.softmax(*axis);

    /// Composite. `log Σ e^x` over one axis, which stays with size 1.
    LogSumExp {
        /// The axis.
        axis: usize,
    } = "log_sum_exp" ("x") Axis: |t| typing::log_sum_exp(t, *axis), |b, x| b.log_sum_exp(x[0], *axis)
        => |g| g.log_sum_exp();

    /// Composite. `1 / (1 + e^-x)`.
    Sigmoid = "sigmoid" ("x") Elementwise: typing::float, |b, x| b.sigmoid(x[0])
        => |g| g.sigmoid();

    /// Composite. `x * sigmoid(x)`.
    Silu = "silu" ("x") Elementwise: typing::float, |b, x| b.silu(x[0])
        => |g| g.silu();

    /// Composite. `x * Φ(x)`, exactly (erf) or in its tanh form.
    Gelu {
        /// The tanh form.
        tanh: bool,
    } = "gelu" ("x") Elementwise: typing::float, |b, x| gelu(b, x[0], *tanh)
        => |g| g.gelu(*tanh);

    /// Composite. `(x [b, s, heads, d], cos [b, s, d/2], sin [b, s, d/2])`: rotates the pairs `(x_i, x_{i + d/2})`.
    Rope = "rope" ("x", "cos", "sin") Axis: typing::rope, |b, x| b.rope(x)
        => |g| g.rope();

    /// Composite. `(q, k, v, [slots, starts], [mask])`, all `[batch, length, heads, dim]`.
    Attention(attrs: AttentionAttrs) = "attention" ("q", "k", "v", "slots?", "starts?", "mask?") Product:
        |t| typing::attention(t, attrs), |b, x| b.attention(attrs, x)
        => |g| g.attention(attrs);

    /// Calls a function of the module.
    Call(function: FuncId) = "call" ("x..") Call: typing::none;

    /// One result of a call.
    Get(index: u32) = "get" ("call") Call: typing::none;
}
