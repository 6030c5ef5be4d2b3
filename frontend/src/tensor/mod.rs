//! [`Tensor`]: a handle on a value of the graph.
//!
//! Methods are named as in PyTorch. Axes count from the front, or with negative numbers from the back.

mod apply;
mod arithmetic;
mod layers;
mod movement;
mod reduce;

pub use arithmetic::Operand;

use crate::{Context, builder::Value};
use kiln_ir::{DType, Dim, Op, SourceLine, Storage, TensorType};

/// A value of the graph that is being traced; cloning it is cheap.
///
/// After an error, a tensor may be *poisoned*: it has no type, and every op on it gives another poisoned one.
#[derive(Clone)]
pub struct Tensor {
    cx: Context,
    value: Option<Value>,
    ty: TensorType,
}

/// The type: `f32[b, s, 64]`, or `poisoned`.
impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value {
            Some(_) => write!(f, "{}", self.ty),
            None => f.write_str("poisoned"),
        }
    }
}

impl Tensor {
    pub(crate) fn new(cx: &Context, value: Value, ty: TensorType) -> Tensor {
        Tensor { cx: cx.clone(), value: Some(value), ty }
    }

    pub(crate) fn poisoned(cx: &Context) -> Tensor {
        Tensor { cx: cx.clone(), value: None, ty: TensorType::new(DType::F32, []) }
    }

    pub(crate) fn value(&self) -> Option<Value> {
        self.value
    }

    /// What is being traced.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Whether an error stands in for the value.
    pub fn is_poisoned(&self) -> bool {
        self.value.is_none()
    }

    /// The type; a scalar f32 for a poisoned tensor.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The element type; f32 for block storage (what its scales make of it) and for a poisoned tensor.
    pub fn dtype(&self) -> DType {
        self.ty.dtype().unwrap_or(DType::F32)
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Storage {
        self.ty.storage
    }

    /// The sizes; none for a poisoned tensor, so prefer [`dims`](Self::dims) to indexing.
    pub fn shape(&self) -> &[Dim] {
        &self.ty.shape
    }

    /// Number of axes; 0 for a poisoned tensor.
    pub fn rank(&self) -> usize {
        self.ty.rank()
    }

    /// The sizes of a tensor with `N` axes: `let [b, s, hidden] = x.dims();`. Another number of axes is an error, and gives ones.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> [Dim; N] {
        match self.shape().to_vec().try_into() {
            Ok(sizes) => sizes,
            Err(_) => {
                self.fail("dims", &[self], format!("expected {N} axes, found {}", self.rank()));
                std::array::from_fn(|_| Dim::constant(1))
            }
        }
    }

    /// The size of an axis. A missing axis is an error, and gives 1.
    #[track_caller]
    pub fn dim(&self, axis: isize) -> Dim {
        self.axis("dim", axis, self.rank()).map_or(Dim::constant(1), |i| self.shape()[i].clone())
    }

    /// The number of an axis among `rank` ones, counted from the back if it is negative.
    #[track_caller]
    fn axis(&self, op: &str, axis: isize, rank: usize) -> Option<usize> {
        let from_front = if axis < 0 { rank.checked_sub(axis.unsigned_abs()) } else { Some(axis as usize) };
        let found = from_front.filter(|a| *a < rank && !self.is_poisoned());
        if found.is_none() {
            self.fail(op, &[self], format!("axis {axis} does not exist: there are {rank} axes"));
        }
        found
    }

    /// Records that `op` does not accept these operands, unless an error is behind that already; gives a poisoned tensor.
    #[track_caller]
    fn fail(&self, op: &str, operands: &[&Tensor], reason: impl Into<String>) -> Tensor {
        let line = SourceLine::caller();
        if operands.iter().all(|t| !t.is_poisoned()) {
            let types: Vec<&TensorType> = operands.iter().map(|t| t.ty()).collect();
            self.cx.with(|b| b.op_error(op, &types, reason, line));
        }
        Tensor::poisoned(&self.cx)
    }

    /// The op on this tensor alone.
    #[track_caller]
    fn then(&self, op: Op) -> Tensor {
        self.cx.apply(op, &[self])
    }
}
