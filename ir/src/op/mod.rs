//! The ops. `specs/ops.md` gives the meaning of each with examples.
//!
//! An op is declared once, by a row of the table in `table.rs`: its name, operands, attributes, class, typing rule, if it is a
//! composite, its decomposition, and the rule of its gradient. Its text form ([`text`](crate::text)), its terms in the e-graph, the substitution of sizes and the
//! list of ops in `specs/ops.md` follow from the row.

mod attribute;
mod declare;
mod table;
mod typing;

pub use attribute::{Attr, Field, Kind, Source};
pub use table::Op;

use crate::{IrError, TensorType, Type};
use kiln_core::{Dim, ReduceOp};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Attributes of `conv`. The axes after batch and channels each have one number in every list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvAttrs {
    /// How far the window moves from one element of the result to the next.
    pub strides: Vec<usize>,
    /// How far apart in x two neighbours of the kernel are.
    pub dilations: Vec<usize>,
    /// Zeros before x.
    pub low: Vec<usize>,
    /// Zeros after x.
    pub high: Vec<usize>,
    /// How many groups the channels are in; each of the result's reads those of x in its own group.
    pub groups: usize,
}

impl ConvAttrs {
    /// Steps of one, no padding, one group, over that many axes.
    pub fn plain(axes: usize) -> Self {
        ConvAttrs {
            strides: vec![1; axes],
            dilations: vec![1; axes],
            low: vec![0; axes],
            high: vec![0; axes],
            groups: 1,
        }
    }

    /// How many windows a kernel of size `kernel` has along an axis of that size: `⌊(size + low + high - (kernel - 1) * dilation -
    /// 1) / stride⌋ + 1`.
    pub fn windows(&self, axis: usize, size: &Dim, kernel: i64) -> Dim {
        let padding = (self.low[axis] + self.high[axis]) as i64;
        let last = size.clone() + (padding - (kernel - 1) * self.dilations[axis] as i64 - 1).into();
        last.floor_div(&self.strides[axis].into()) + 1.into()
    }
}

/// What kind of work an op is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Has no operand.
    Source,
    /// Each element of the result depends only on the elements of the operands at the same place.
    Elementwise,
    /// Elements of its operands at other places, as they are.
    Movement,
    /// Elements along an axis meet.
    Axis,
    /// Sums of products of two tensors.
    Product,
    /// Consumes a state, and gives its next version.
    Write,
    /// Calls a function, or picks from what a call returned.
    Call,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Source => "source",
            Class::Elementwise => "elementwise",
            Class::Movement => "movement",
            Class::Axis => "axis",
            Class::Product => "product",
            Class::Write => "write",
            Class::Call => "call",
        })
    }
}

/// What the table says of an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpInfo {
    /// Its names in the text format: several where ops that differ in a scalar operation share a row.
    pub names: Vec<&'static str>,
    /// Its operands ([`Op::operands`]).
    pub operands: &'static [&'static str],
    /// The names of its attributes in the text format; one that ends with `?` may be missing.
    pub attributes: Vec<&'static str>,
    /// How many attributes [`Op::attributes`] gives: some have several names in the text format.
    pub leaves: usize,
    /// What kind of work it is.
    pub class: Class,
    /// Whether it has a decomposition into primitives.
    pub composite: bool,
    /// Whether it has a rule for its gradient.
    pub gradient: bool,
}

/// How a running value combines.
const SCANS: &[ReduceOp] = &[ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];

const fn scan_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "cumulative_sum",
        ReduceOp::Prod => "cumulative_prod",
        ReduceOp::Max => "cumulative_max",
        ReduceOp::Min => "cumulative_min",
        // Its typing rule refuses it.
        ReduceOp::ArgMax => "cumulative_argmax",
    }
}

const fn reduce_name(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "reduce_sum",
        ReduceOp::Prod => "reduce_prod",
        ReduceOp::Max => "reduce_max",
        ReduceOp::Min => "reduce_min",
        ReduceOp::ArgMax => "reduce_argmax",
    }
}

impl Op {
    /// The op with `f` of each of the [sizes](Self::dims) among its attributes.
    pub fn map_dims(&self, mut f: impl FnMut(&Dim) -> Dim) -> Op {
        let mut op = self.clone();
        op.dims_mut().into_iter().for_each(|d| *d = f(d));
        op
    }

    /// Whether each element of the result depends only on the elements of the operands at the same place, and these are dense.
    pub fn is_elementwise(&self) -> bool {
        self.class() == Class::Elementwise && !matches!(self, Op::Dequantize(_))
    }

    /// The type of the op applied to operands of these types.
    ///
    /// # Errors
    /// [`IrError::Type`], naming the op, the operands' types, and what was expected.
    pub fn infer(&self, operands: &[&Type]) -> Result<Type, IrError> {
        self.rule(operands).map_err(|reason| IrError::Type {
            op: self.to_string(),
            operands: operands.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "),
            reason,
        })
    }

    fn rule(&self, operands: &[&Type]) -> Result<Type, String> {
        if let Op::Get(i) = self {
            let [Type::Tuple(results)] = operands else { return Err("expected the result of a call".into()) };
            let result = results.get(*i as usize);
            return result.cloned().map(Type::Tensor).ok_or_else(|| format!("the call has {} results", results.len()));
        }
        let tensors: Option<Vec<&TensorType>> = operands.iter().map(|t| t.tensor()).collect();
        let tensors = tensors.ok_or("a call's result is taken apart by `get` first")?;
        self.count(tensors.len())?;
        let blocks_allowed = match self {
            Op::Dequantize(_) => true,
            Op::Take { axis: 0 } | Op::Slice { axis: 0, .. } | Op::Concat { axis: 0 } => tensors[0].rank() > 1,
            // On the right alone: its rule says which.
            Op::DotGeneral(_) => tensors[0].dtype().is_some(),
            _ => false,
        };
        if !blocks_allowed && let Some(t) = tensors.iter().find(|t| t.dtype().is_none()) {
            return Err(format!("{t} is block storage: dequantize it first"));
        }
        self.result(&tensors).map(Type::Tensor)
    }

    /// Whether it takes that many operands.
    fn count(&self, found: usize) -> Result<(), String> {
        let names = self.operands();
        let least = names.iter().filter(|name| !name.ends_with('?')).count();
        if found < least || (found > names.len() && !names.iter().any(|name| name.ends_with(".."))) {
            if names.iter().any(|name| name.ends_with("..")) {
                return Err("expected at least one operand".into());
            }
            let more = if least == names.len() { "" } else { " at least" };
            return Err(format!("expected{more} {least} operands, found {found}"));
        }
        Ok(())
    }
}
