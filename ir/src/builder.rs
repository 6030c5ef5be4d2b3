//! Nodes by formula: what decompositions and gradients are written with.

use crate::{Function, IrError, Literal, NodeId, Op, SourceLine};
use kiln_core::{BinaryOp, DType, Dim, ReduceOp, UnaryOp, formula::Algebra};

type Result<T> = std::result::Result<T, IrError>;

/// Appends primitives to a function.
pub(crate) struct Builder<'a> {
    pub f: &'a mut Function,
    /// The line that the nodes are said to come from.
    pub source: Option<SourceLine>,
}

/// Formulas as nodes.
impl Algebra for Builder<'_> {
    type Value = NodeId;
    type Error = IrError;

    fn number(&mut self, value: f64, like: NodeId) -> Result<NodeId> {
        Builder::number(self, value, like)
    }

    fn unary(&mut self, op: UnaryOp, x: NodeId) -> Result<NodeId> {
        Builder::unary(self, op, x)
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Result<NodeId> {
        Builder::binary(self, op, a, b)
    }
}

impl Builder<'_> {
    pub fn op(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId> {
        self.f.add_at(op, operands, self.source)
    }

    pub fn unary(&mut self, op: UnaryOp, x: NodeId) -> Result<NodeId> {
        self.op(Op::Unary(op), &[x])
    }

    pub fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.op(Op::Binary(op), &[a, b])
    }

    pub fn shape(&self, x: NodeId) -> Vec<Dim> {
        self.f.tensor(x).shape.to_vec()
    }

    /// Repeats `x` to the shape of `like`.
    pub fn broadcast(&mut self, x: NodeId, like: NodeId) -> Result<NodeId> {
        let shape = self.shape(like);
        self.broadcast_to(x, shape)
    }

    pub fn broadcast_to(&mut self, x: NodeId, shape: Vec<Dim>) -> Result<NodeId> {
        if self.shape(x) == shape { Ok(x) } else { self.op(Op::Broadcast(shape), &[x]) }
    }

    pub fn reshape(&mut self, x: NodeId, shape: Vec<Dim>) -> Result<NodeId> {
        if self.shape(x) == shape { Ok(x) } else { self.op(Op::Reshape(shape), &[x]) }
    }

    /// A number with the type of `like`.
    pub fn number(&mut self, value: f64, like: NodeId) -> Result<NodeId> {
        let dtype = self.f.tensor(like).dtype().unwrap_or(DType::F32);
        let scalar = self.op(Op::Constant(Literal::scalar(dtype, value)), &[])?;
        self.broadcast(scalar, like)
    }

    pub fn with_number(&mut self, op: BinaryOp, x: NodeId, value: f64) -> Result<NodeId> {
        let n = self.number(value, x)?;
        self.binary(op, x, n)
    }

    pub fn reduce(&mut self, op: ReduceOp, x: NodeId, axis: usize) -> Result<NodeId> {
        self.op(Op::Reduce { op, axis, keep: true }, &[x])
    }

    /// The mean over the last axis, which stays with size 1.
    pub fn mean(&mut self, x: NodeId) -> Result<NodeId> {
        let t = self.f.tensor(x).clone();
        let axis = t.rank() - 1;
        let sum = self.reduce(ReduceOp::Sum, x, axis)?;
        match t.shape[axis].as_const() {
            Some(n) => self.with_number(BinaryOp::Div, sum, n as f64),
            None => {
                let n = self.op(Op::DimSize(t.shape[axis].clone()), &[])?;
                let n = self.op(Op::Cast(t.dtype().unwrap_or(DType::F32)), &[n])?;
                let n = self.broadcast(n, sum)?;
                self.binary(BinaryOp::Div, sum, n)
            }
        }
    }
}
