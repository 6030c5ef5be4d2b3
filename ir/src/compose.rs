//! Composites as primitives.
//!
//! A composite has one meaning, written down twice: the interpreter evaluates its formula, and [`expand`] writes it out in
//! primitives for the passes that open it. `f16` and `bf16` composites compute in f32 and round their result, as their meaning says.
//!
//! | composite | primitives |
//! |---|---|
//! | `rms_norm x w` | `x * rsqrt(mean(x * x) + eps) * w` |
//! | `layer_norm x w b` | `c = x - mean(x)`, `c * rsqrt(mean(c * c) + eps) * w + b` |
//! | `softmax x` | `e = exp(x - max(x))`, `e / sum(e)` |
//! | `sigmoid x` | `1 / (1 + exp(-x))` |
//! | `silu x` | `x * sigmoid(x)` |
//! | `gelu x` | `x / 2 * (1 + erf(x / sqrt 2))`, or `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` |
//! | `rope x cos sin` | halves `a`, `b` of the last axis: `concat(a cos - b sin, b cos + a sin)` |
//! | `conv x w` | windows of the padded x, `take`n, as rows; their product with the weight's rows |
//! | `attention q k v` | `softmax(select(seen, q k^T * scale, lowest)) v` over `take`n rows and grouped heads |

use crate::{
    AttentionAttrs, ConvAttrs, DotDims, Function, IrError, Module, Node, NodeId, Op, Real, SourceLine, TensorType,
    builder::Builder,
};
use kiln_core::{BinaryOp, CompareOp, DType, Dim, ReduceOp, UnaryOp};

type Result<T> = std::result::Result<T, IrError>;

/// The module with every composite of every function written out in primitives.
///
/// # Errors
/// [`IrError::Type`] for a composite whose operands do not have the types that its typing rule asks for.
pub fn decompose(module: &Module) -> Result<Module> {
    let functions: Result<Vec<Function>> = module.functions.iter().map(decompose_function).collect();
    Ok(Module { symbols: module.symbols.clone(), functions: functions? })
}

/// The function with every composite written out in primitives.
///
/// # Errors
/// As [`decompose`].
pub fn decompose_function(f: &Function) -> Result<Function> {
    decompose_where(f, |_| true)
}

/// The function with those composites written out in primitives that `choose` picks.
///
/// # Errors
/// As [`decompose`].
pub fn decompose_where(f: &Function, choose: impl Fn(&Node) -> bool) -> Result<Function> {
    let mut out = f.shell();
    out.args.clone_from(&f.args);
    let mut renamed: Vec<NodeId> = Vec::with_capacity(f.len());
    for (_, node) in f.nodes() {
        let operands: Vec<NodeId> = node.operands.iter().map(|o| renamed[o.index()]).collect();
        renamed.push(if node.op.is_composite() && choose(node) {
            let id = expand_at(&mut out, &node.op, &operands, node.source)?;
            if *out.ty(id) != node.ty {
                return Err(IrError::Type {
                    op: node.op.to_string(),
                    operands: operands.iter().map(|o| out.ty(*o).to_string()).collect::<Vec<_>>().join(", "),
                    reason: format!("its decomposition gives {}, the node says {}", out.ty(id), node.ty),
                });
            }
            id
        } else {
            out.push(Node { operands, ..node.clone() })
        });
    }
    out.outputs.clone_from(&f.outputs);
    out.outputs.iter_mut().for_each(|o| o.value = renamed[o.value.index()]);
    Ok(out)
}

/// Appends what `op` means, in primitives, for these operands; an op that is not a composite is appended as it is.
///
/// # Errors
/// [`IrError::Type`] when the operands do not have the types that the op's typing rule asks for.
pub fn expand(f: &mut Function, op: &Op, operands: &[NodeId]) -> Result<NodeId> {
    expand_at(f, op, operands, None)
}

/// As [`expand`], with the line of the model definition.
///
/// # Errors
/// As [`expand`].
pub fn expand_at(f: &mut Function, op: &Op, operands: &[NodeId], source: Option<SourceLine>) -> Result<NodeId> {
    if !op.is_composite() {
        return f.add_at(op.clone(), operands, source);
    }
    let types: Vec<_> = operands.iter().map(|o| f.ty(*o)).collect();
    let result = op.infer(&types)?;
    let mut b = Builder { f, source };
    // Narrow floats are computed in f32 and rounded once.
    let narrow = result.tensor().and_then(TensorType::dtype).filter(|d| matches!(d, DType::F16 | DType::BF16));
    let wide: Result<Vec<NodeId>> = operands
        .iter()
        .map(|o| match narrow {
            Some(d) if b.f.tensor(*o).dtype() == Some(d) => b.op(Op::Cast(DType::F32), &[*o]),
            _ => Ok(*o),
        })
        .collect();
    let wide = wide?;
    let Some(y) = op.decompose(&mut b, &wide) else { return b.op(op.clone(), operands) };
    let y = y?;
    match narrow {
        Some(d) => b.op(Op::Cast(d), &[y]),
        None => Ok(y),
    }
}

/// What attention makes of its queries and keys.
pub(crate) struct AttentionWeights {
    /// `[batch, kv_heads, queries, group, keys]`
    pub weights: NodeId,
    /// Whether a query sees a key, bool `[batch, queries, keys]`; `None` if all do.
    pub seen: Option<NodeId>,
    /// The values, of the rows of the batch.
    pub v: NodeId,
}

/// What each composite means.
impl Builder<'_> {
    pub(crate) fn rms_norm(&mut self, x: &[NodeId], eps: f64) -> Result<NodeId> {
        let scaled = self.normalize(x[0], eps)?;
        let weight = self.broadcast(x[1], scaled)?;
        self.binary(BinaryOp::Mul, scaled, weight)
    }

    pub(crate) fn layer_norm(&mut self, x: &[NodeId], eps: f64) -> Result<NodeId> {
        let centred = self.centred(x[0])?;
        let scaled = self.normalize(centred, eps)?;
        let weight = self.broadcast(x[1], scaled)?;
        let weighted = self.binary(BinaryOp::Mul, scaled, weight)?;
        let bias = self.broadcast(x[2], scaled)?;
        self.binary(BinaryOp::Add, weighted, bias)
    }

    /// `x - mean(x)` over the last axis.
    pub(crate) fn centred(&mut self, x: NodeId) -> Result<NodeId> {
        let mean = self.mean(x)?;
        let mean = self.broadcast(mean, x)?;
        self.binary(BinaryOp::Sub, x, mean)
    }

    /// `x * rsqrt(mean(x * x) + eps)` over the last axis.
    fn normalize(&mut self, x: NodeId, eps: f64) -> Result<NodeId> {
        let scale = self.inverse_rms(x, eps)?;
        self.binary(BinaryOp::Mul, x, scale)
    }

    /// `rsqrt(mean(x * x) + eps)` over the last axis, in the shape of `x`.
    pub(crate) fn inverse_rms(&mut self, x: NodeId, eps: f64) -> Result<NodeId> {
        let square = self.binary(BinaryOp::Mul, x, x)?;
        let mean = self.mean(square)?;
        let shifted = self.with_number(BinaryOp::Add, mean, eps)?;
        let scale = self.unary(UnaryOp::Rsqrt, shifted)?;
        self.broadcast(scale, x)
    }

    pub(crate) fn softmax(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        let max = self.reduce(ReduceOp::Max, x, axis)?;
        let (e, sum) = self.exponentials(x, max, axis)?;
        let sum = self.broadcast(sum, x)?;
        self.binary(BinaryOp::Div, e, sum)
    }

    pub(crate) fn log_sum_exp(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        let max = self.reduce(ReduceOp::Max, x, axis)?;
        let (_, sum) = self.exponentials(x, max, axis)?;
        let log = self.unary(UnaryOp::Log, sum)?;
        self.binary(BinaryOp::Add, log, max)
    }

    /// `e^(x - max)`, and its sum.
    fn exponentials(&mut self, x: NodeId, max: NodeId, axis: usize) -> Result<(NodeId, NodeId)> {
        let max = self.broadcast(max, x)?;
        let difference = self.binary(BinaryOp::Sub, x, max)?;
        let e = self.unary(UnaryOp::Exp, difference)?;
        Ok((e, self.reduce(ReduceOp::Sum, e, axis)?))
    }

    pub(crate) fn sigmoid(&mut self, x: NodeId) -> Result<NodeId> {
        let negated = self.unary(UnaryOp::Neg, x)?;
        let e = self.unary(UnaryOp::Exp, negated)?;
        let sum = self.with_number(BinaryOp::Add, e, 1.0)?;
        let one = self.number(1.0, x)?;
        self.binary(BinaryOp::Div, one, sum)
    }

    pub(crate) fn silu(&mut self, x: NodeId) -> Result<NodeId> {
        let s = self.sigmoid(x)?;
        self.binary(BinaryOp::Mul, x, s)
    }

    pub(crate) fn rope(&mut self, operands: &[NodeId]) -> Result<NodeId> {
        let (x, cos, sin) = (operands[0], operands[1], operands[2]);
        let angles = self.shape(cos);
        let (b, s, half) = (angles[0].clone(), angles[1].clone(), angles[2].clone());
        let part = |start: Dim| Op::Slice { axis: 3, start, len: half.clone() };
        let first = self.op(part(0.into()), &[x])?;
        let second = self.op(part(half.clone()), &[x])?;
        let mut per_head = |angle| {
            let angle = self.reshape(angle, vec![b.clone(), s.clone(), 1.into(), half.clone()])?;
            self.broadcast(angle, first)
        };
        let (cos, sin) = (per_head(cos)?, per_head(sin)?);
        let first_cos = self.binary(BinaryOp::Mul, first, cos)?;
        let second_sin = self.binary(BinaryOp::Mul, second, sin)?;
        let second_cos = self.binary(BinaryOp::Mul, second, cos)?;
        let first_sin = self.binary(BinaryOp::Mul, first, sin)?;
        let low = self.binary(BinaryOp::Sub, first_cos, second_sin)?;
        let high = self.binary(BinaryOp::Add, second_cos, first_sin)?;
        self.op(Op::Concat { axis: 3 }, &[low, high])
    }

    /// Windows of x as rows, `[batch * windows, channels * kernel]` for each group, times the weight's rows.
    pub(crate) fn conv(&mut self, a: &ConvAttrs, operands: &[NodeId]) -> Result<NodeId> {
        let (mut x, weight) = (operands[0], operands[1]);
        let (sizes, kernel) = (self.shape(x), self.shape(weight));
        let axes = sizes.len() - 2;
        let mut windows: Vec<Dim> = vec![];
        // Each axis of x becomes two: places in the kernel, and windows.
        for axis in 0..axes {
            let at = 2 + 2 * axis;
            let k = kernel[2 + axis].clone();
            let count = a.windows(axis, &sizes[2 + axis], k.as_const().unwrap_or(0));
            let (low, high) = (a.low[axis].into(), a.high[axis].into());
            if a.low[axis] + a.high[axis] > 0 {
                x = self.op(Op::Pad { axis: at, low, high, value: Real::new(0.0) }, &[x])?;
            }
            let places = self.places(vec![k, count.clone()], a.dilations[axis], a.strides[axis])?;
            x = self.op(Op::Take { axis: at }, &[x, places])?;
            windows.push(count);
        }
        let (batch, groups) = (sizes[0].clone(), Dim::from(a.groups));
        let rows = batch.clone() * windows.iter().cloned().product();
        let depth: Dim = kernel[1..].iter().cloned().product();
        // [batch, groups, channels of a group, kernel, windows, ..] as [groups, batch, windows.., channels of a group, kernel..]
        let mut split = vec![batch.clone(), groups.clone(), kernel[1].clone()];
        split.extend((0..axes).flat_map(|axis| [kernel[2 + axis].clone(), windows[axis].clone()]));
        let x = self.reshape(x, split)?;
        let mut perm = vec![1, 0];
        perm.extend((0..axes).map(|axis| 4 + 2 * axis));
        perm.push(2);
        perm.extend((0..axes).map(|axis| 3 + 2 * axis));
        let x = self.op(Op::Transpose(perm), &[x])?;
        let out = kernel[0].exact_div(&groups).unwrap_or(0.into());
        let (y, grouped) = if a.groups == 1 {
            let x = self.reshape(x, vec![rows, depth.clone()])?;
            let weight = self.reshape(weight, vec![kernel[0].clone(), depth])?;
            (self.op(Op::DotGeneral(DotDims::linear(2)), &[x, weight])?, vec![1.into()])
        } else {
            let x = self.reshape(x, vec![groups.clone(), rows, depth.clone()])?;
            let weight = self.reshape(weight, vec![groups.clone(), out.clone(), depth])?;
            let dims = DotDims { lhs_batch: vec![0], rhs_batch: vec![0], lhs_contract: vec![2], rhs_contract: vec![2] };
            (self.op(Op::DotGeneral(dims), &[x, weight])?, vec![groups])
        };
        // [groups, batch, windows.., out / groups] as [batch, out, windows..]
        let wide = [grouped, vec![batch.clone()], windows.clone(), vec![out]].concat();
        let y = self.reshape(y, wide)?;
        let perm = [vec![1, 0, 2 + axes], (2..2 + axes).collect()].concat();
        let y = self.op(Op::Transpose(perm), &[y])?;
        self.reshape(y, [vec![batch, kernel[0].clone()], windows].concat())
    }

    /// `i * outer + j * inner` at `[i, j]` of that shape.
    fn places(&mut self, shape: Vec<Dim>, outer: usize, inner: usize) -> Result<NodeId> {
        let mut along = |axis: usize, factor: usize| {
            let index = self.op(Op::Iota { shape: shape.clone(), axis }, &[])?;
            if factor == 1 { Ok(index) } else { self.with_number(BinaryOp::Mul, index, factor as f64) }
        };
        let (i, j) = (along(0, outer)?, along(1, inner)?);
        self.binary(BinaryOp::Add, i, j)
    }

    /// The weights of the values, `[batch, kv_heads, queries, group, keys]`.
    pub(crate) fn attention_weights(&mut self, a: &AttentionAttrs, x: &[NodeId]) -> Result<AttentionWeights> {
        let (q, mut k, mut v) = (x[0], x[1], x[2]);
        let starts = a.cached.then(|| x[4]);
        if a.cached {
            k = self.op(Op::Take { axis: 0 }, &[k, x[3]])?;
            v = self.op(Op::Take { axis: 0 }, &[v, x[3]])?;
        }
        let (q_shape, k_shape) = (self.shape(q), self.shape(k));
        let (b, s, heads, d) = (q_shape[0].clone(), q_shape[1].clone(), q_shape[2].clone(), q_shape[3].clone());
        let (t, kv_heads) = (k_shape[1].clone(), k_shape[2].clone());
        let group = heads.exact_div(&kv_heads).ok_or_else(|| IrError::Type {
            op: Op::Attention(a.clone()).to_string(),
            operands: format!("{}, {}", self.f.ty(q), self.f.ty(k)),
            reason: format!("{heads} query heads do not divide among {kv_heads} key heads"),
        })?;
        let grouped = self.reshape(q, vec![b.clone(), s.clone(), kv_heads.clone(), group.clone(), d])?;
        // [b, kv_heads, s, group, t]
        let mut scores = self.op(
            Op::DotGeneral(DotDims {
                lhs_batch: vec![0, 2],
                rhs_batch: vec![0, 2],
                lhs_contract: vec![4],
                rhs_contract: vec![3],
            }),
            &[grouped, k],
        )?;
        scores = self.with_number(BinaryOp::Mul, scores, a.scale.get())?;
        let seen = self.seen(a, starts, x.last().copied().filter(|_| a.mask), [&b, &s, &t])?;
        if let Some(seen) = seen {
            let seen = self.reshape(seen, vec![b.clone(), 1.into(), s.clone(), 1.into(), t])?;
            let seen = self.broadcast(seen, scores)?;
            let lowest = if self.f.tensor(scores).dtype() == Some(DType::F64) { f64::MIN } else { f32::MIN.into() };
            let lowest = self.number(lowest, scores)?;
            scores = self.op(Op::Select, &[seen, scores, lowest])?;
        }
        Ok(AttentionWeights { weights: self.softmax(scores, 4)?, seen, v })
    }

    pub(crate) fn attention(&mut self, a: &AttentionAttrs, x: &[NodeId]) -> Result<NodeId> {
        let AttentionWeights { weights, seen, v } = self.attention_weights(a, x)?;
        let (b, s, heads) = (self.shape(x[0])[0].clone(), self.shape(x[0])[1].clone(), self.shape(x[0])[2].clone());
        let v_dim = self.shape(v)[3].clone();
        let out = self.op(
            Op::DotGeneral(DotDims {
                lhs_batch: vec![0, 1],
                rhs_batch: vec![0, 2],
                lhs_contract: vec![4],
                rhs_contract: vec![1],
            }),
            &[weights, v],
        )?;
        let out = self.op(Op::Transpose(vec![0, 2, 1, 3, 4]), &[out])?;
        let out = self.reshape(out, vec![b.clone(), s.clone(), heads, v_dim])?;
        match seen {
            // A query that sees no key is padding where there is a cache.
            Some(seen) if a.cached => {
                let count = self.op(Op::Cast(DType::I64), &[seen])?;
                let any = self.reduce(ReduceOp::Max, count, 2)?;
                let none = self.number(1.0, any)?;
                let any = self.op(Op::Compare(CompareOp::Ge), &[any, none])?;
                let any = self.reshape(any, vec![b, s, 1.into(), 1.into()])?;
                let any = self.broadcast(any, out)?;
                let zero = self.number(0.0, out)?;
                self.op(Op::Select, &[any, out, zero])
            }
            _ => Ok(out),
        }
    }

    /// Whether a query sees a key, bool `[b, s, t]`; `None` if all do.
    fn seen(
        &mut self,
        a: &AttentionAttrs,
        starts: Option<NodeId>,
        mask: Option<NodeId>,
        [b, s, t]: [&Dim; 3],
    ) -> Result<Option<NodeId>> {
        let shape = vec![b.clone(), s.clone(), t.clone()];
        let mut conditions = vec![];
        if a.causal || a.window.is_some() {
            let key = self.op(Op::Iota { shape: shape.clone(), axis: 2 }, &[])?;
            let mut position = self.op(Op::Iota { shape: shape.clone(), axis: 1 }, &[])?;
            if let Some(starts) = starts {
                let starts = self.reshape(starts, vec![b.clone(), 1.into(), 1.into()])?;
                let starts = self.broadcast_to(starts, shape.clone())?;
                position = self.binary(BinaryOp::Add, starts, position)?;
            }
            if a.causal {
                conditions.push(self.op(Op::Compare(CompareOp::Le), &[key, position])?);
            }
            if let Some(window) = a.window {
                let window = self.number(window as f64, position)?;
                let first = self.binary(BinaryOp::Sub, position, window)?;
                conditions.push(self.op(Op::Compare(CompareOp::Gt), &[key, first])?);
            }
        }
        if let Some(mask) = mask {
            let mask = self.reshape(mask, vec![b.clone(), 1.into(), t.clone()])?;
            conditions.push(self.broadcast_to(mask, shape)?);
        }
        let mut conditions = conditions.into_iter();
        let Some(mut seen) = conditions.next() else { return Ok(None) };
        for c in conditions {
            seen = self.binary(BinaryOp::And, seen, c)?;
        }
        Ok(Some(seen))
    }
}
