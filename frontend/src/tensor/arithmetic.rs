//! Elementwise arithmetic: operators, functions, comparisons. Operands broadcast; element types must agree, except that scalars written
//! in Rust take the tensor's.

use super::Tensor;
use crate::shape;
use kiln_ir::{BinaryOp, CompareOp, DType, Op, UnaryOp};
use std::ops;

/// The second operand of an elementwise op: a tensor or a number.
pub enum Operand<'a> {
    /// A tensor of the same element type.
    Tensor(&'a Tensor),
    /// A whole number, for tensors of any numbers.
    Int(i64),
    /// A real number, for tensors of floats.
    Float(f64),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(t: &'a Tensor) -> Self {
        Operand::Tensor(t)
    }
}

impl From<i64> for Operand<'_> {
    fn from(n: i64) -> Self {
        Operand::Int(n)
    }
}

impl From<f64> for Operand<'_> {
    fn from(x: f64) -> Self {
        Operand::Float(x)
    }
}

impl Operand<'_> {
    /// The operand as a tensor that can stand beside `x`.
    #[track_caller]
    fn beside(self, x: &Tensor, op: &str) -> Tensor {
        let literal = match self {
            Operand::Tensor(t) => return t.clone(),
            Operand::Int(n) => n as f64,
            Operand::Float(v) if x.dtype().is_float() => v,
            Operand::Float(v) => {
                let reason = format!("the number {v:?} beside a tensor of {}: cast the tensor first", x.storage());
                return x.fail(op, &[x], reason);
            }
        };
        x.cx.scalar(x.dtype(), literal)
    }
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $op:expr;)*) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name(&self) -> Tensor { self.then($op) })*
        }
    };
}

unary! {
    /// `|x|`
    abs = Op::Unary(UnaryOp::Abs);
    /// `e^x`
    exp = Op::Unary(UnaryOp::Exp);
    /// Natural logarithm.
    log = Op::Unary(UnaryOp::Log);
    /// Square root.
    sqrt = Op::Unary(UnaryOp::Sqrt);
    /// `1 / sqrt(x)`
    rsqrt = Op::Unary(UnaryOp::Rsqrt);
    /// Sine of radians.
    sin = Op::Unary(UnaryOp::Sin);
    /// Cosine of radians.
    cos = Op::Unary(UnaryOp::Cos);
    /// Hyperbolic tangent.
    tanh = Op::Unary(UnaryOp::Tanh);
    /// Gauss error function.
    erf = Op::Unary(UnaryOp::Erf);
    /// Largest integer not above x.
    floor = Op::Unary(UnaryOp::Floor);
    /// Not, of bools.
    logical_not = Op::Unary(UnaryOp::Not);
    /// `1 / (1 + e^-x)`
    sigmoid = Op::Sigmoid;
    /// `x * sigmoid(x)`
    silu = Op::Silu;
    /// `x * Φ(x)`
    gelu = Op::Gelu { tanh: false };
    /// The tanh approximation of `x * Φ(x)`.
    gelu_tanh = Op::Gelu { tanh: true };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $op:expr;)*) => {
        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $name<'a>(&self, other: impl Into<Operand<'a>>) -> Tensor {
                self.elementwise($op, other.into())
            })*
        }
    };
}

binary! {
    /// The larger one.
    maximum = Op::Binary(BinaryOp::Max);
    /// The smaller one.
    minimum = Op::Binary(BinaryOp::Min);
    /// `x ^ y`, of floats.
    pow = Op::Binary(BinaryOp::Pow);
    /// And, of bools.
    logical_and = Op::Binary(BinaryOp::And);
    /// Or, of bools.
    logical_or = Op::Binary(BinaryOp::Or);
    /// `x == y`
    eq = Op::Compare(CompareOp::Eq);
    /// `x != y`
    ne = Op::Compare(CompareOp::Ne);
    /// `x < y`
    lt = Op::Compare(CompareOp::Lt);
    /// `x <= y`
    le = Op::Compare(CompareOp::Le);
    /// `x > y`
    gt = Op::Compare(CompareOp::Gt);
    /// `x >= y`
    ge = Op::Compare(CompareOp::Ge);
}

impl Tensor {
    /// `max(x, 0)`
    #[track_caller]
    pub fn relu(&self) -> Tensor {
        self.maximum(0)
    }

    /// Where this bool tensor is true, elements of `a`, else of `b`.
    #[track_caller]
    pub fn where_cond<'a>(&self, a: &Tensor, b: impl Into<Operand<'a>>) -> Tensor {
        let b = b.into().beside(a, "select");
        let both = shape::broadcast(a.shape(), b.shape());
        let Some(shape) = both.and_then(|shape| shape::broadcast(self.shape(), &shape)) else {
            return self.fail("select", &[self, a, &b], "the shapes do not broadcast");
        };
        let [condition, a, b] = [self, a, &b].map(|t| t.broadcast_to(&shape));
        self.cx.apply(Op::Select, &[&condition, &a, &b])
    }

    /// The elements converted to another type; block storage is dequantised.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        match self.ty().dtype() {
            Some(d) if d == dtype => self.clone(),
            Some(_) => self.then(Op::Cast(dtype)),
            None => self.then(Op::Dequantize(dtype)),
        }
    }

    #[track_caller]
    fn elementwise(&self, op: Op, other: Operand) -> Tensor {
        let other = other.beside(self, op.name());
        let Some(shape) = shape::broadcast(self.shape(), other.shape()) else {
            return self.fail(op.name(), &[self, &other], "the shapes do not broadcast: sizes are equal, or one is 1");
        };
        if self.ty().dtype() != other.ty().dtype() {
            return self.fail(op.name(), &[self, &other], "the element types differ: cast one with `to_dtype`");
        }
        self.cx.apply(op, &[&self.broadcast_to(&shape), &other.broadcast_to(&shape)])
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:expr) => {
        operator!(@tensors $trait, $method, $op, Tensor, Tensor);
        operator!(@tensors $trait, $method, $op, Tensor, &Tensor);
        operator!(@tensors $trait, $method, $op, &Tensor, Tensor);
        operator!(@tensors $trait, $method, $op, &Tensor, &Tensor);
        operator!(@numbers $trait, $method, $op, Tensor, f64);
        operator!(@numbers $trait, $method, $op, &Tensor, f64);
        operator!(@numbers $trait, $method, $op, Tensor, i64);
        operator!(@numbers $trait, $method, $op, &Tensor, i64);
    };
    (@tensors $trait:ident, $method:ident, $op:expr, $left:ty, $right:ty) => {
        impl ops::$trait<$right> for $left {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: $right) -> Tensor {
                self.elementwise(Op::Binary($op), Operand::Tensor(&right))
            }
        }
    };
    (@numbers $trait:ident, $method:ident, $op:expr, $tensor:ty, $number:ty) => {
        impl ops::$trait<$number> for $tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: $number) -> Tensor {
                self.elementwise(Op::Binary($op), right.into())
            }
        }
        impl ops::$trait<$tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, right: $tensor) -> Tensor {
                let left = Operand::from(self).beside(&right, $op.name());
                left.elementwise(Op::Binary($op), Operand::Tensor(&right))
            }
        }
    };
}

operator!(Add, add, BinaryOp::Add);
operator!(Sub, sub, BinaryOp::Sub);
operator!(Mul, mul, BinaryOp::Mul);
operator!(Div, div, BinaryOp::Div);
operator!(Rem, rem, BinaryOp::Rem);

impl ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.then(Op::Unary(UnaryOp::Neg))
    }
}

impl ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}
