//! Tensors of ops and of parameters.

use crate::builder::{Builder, Value};
use crate::{Context, Error, Tensor};
use kiln_ir::{Arg, DType, Op, SourceLine, Storage};

impl Context {
    /// An op on tensors of exactly the types that it takes; [`Tensor`]'s methods broadcast first.
    #[track_caller]
    pub fn apply(&self, op: Op, operands: &[&Tensor]) -> Tensor {
        let line = SourceLine::caller();
        let Some(values) = operands.iter().map(|t| t.value()).collect::<Option<Vec<Value>>>() else {
            return Tensor::poisoned(self);
        };
        self.make(|b| b.apply(op, &values, line))
    }

    /// A parameter's value in the innermost frame: as stored, or converted by `op`.
    pub(crate) fn param(&self, arg: Arg, convert: Option<DType>, line: SourceLine) -> Tensor {
        let op = match (convert, arg.ty.storage) {
            (Some(to), Storage::Dense(from)) => (to != from).then_some(Op::Cast(to)),
            (Some(to), Storage::Block(_)) => Some(Op::Dequantize(to)),
            (None, _) => None,
        };
        self.make(|b| {
            let raw = b.param(arg).map_err(|reason| Error::Definition { reason, line })?;
            op.map_or(Ok(raw), |op| b.convert(raw, op, line))
        })
    }

    /// The tensor that `f` makes, poisoned once there is an error.
    fn make(&self, f: impl FnOnce(&mut Builder) -> Result<Value, Error>) -> Tensor {
        let made = self.with(|b| {
            if b.error.is_some() {
                return None;
            }
            let value = f(b).map_err(|e| b.fail(e)).ok()?;
            let frame = b.frames.iter().find(|frame| frame.id == value.frame)?;
            Some((value, frame.function.tensor(value.node).clone()))
        });
        made.map_or_else(|| Tensor::poisoned(self), |(value, ty)| Tensor::new(self, value, ty))
    }
}
