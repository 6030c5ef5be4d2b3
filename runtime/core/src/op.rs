//! The scalar operations that the graph IR and fused kernels share.

use serde::{Deserialize, Serialize};

macro_rules! named_ops {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $name {
            /// Every operation, in declaration order.
            pub const ALL: &[$name] = &[$($name::$variant),*];
            /// The name in the text format.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text),* } }
            /// The operation of that name.
            pub fn from_name(name: &str) -> Option<Self> { Self::ALL.iter().copied().find(|o| o.name() == name) }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

named_ops! {
    /// One operand, same type out. The transcendental ones take floats only; `not` takes bool.
    UnaryOp {
        /// `-x`
        Neg = "neg",
        /// `|x|`
        Abs = "abs",
        /// `e^x`
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Square root.
        Sqrt = "sqrt",
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt",
        /// Sine of radians.
        Sin = "sin",
        /// Cosine of radians.
        Cos = "cos",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Gauss error function.
        Erf = "erf",
        /// Largest integer not above x.
        Floor = "floor",
        /// Logical not.
        Not = "not",
    }
}

named_ops! {
    /// Two operands of one type, same type out. `and`/`or` take bool.
    BinaryOp {
        /// `a + b`
        Add = "add",
        /// `a - b`
        Sub = "sub",
        /// `a * b`
        Mul = "mul",
        /// `a / b`; integers truncate towards zero.
        Div = "div",
        /// The larger one.
        Max = "max",
        /// The smaller one.
        Min = "min",
        /// `a ^ b`, floats only.
        Pow = "pow",
        /// Remainder with the sign of `a`.
        Rem = "rem",
        /// Logical and.
        And = "and",
        /// Logical or.
        Or = "or",
    }
}

named_ops! {
    /// Two operands of one type, bool out.
    CompareOp {
        /// `a == b`
        Eq = "eq",
        /// `a != b`
        Ne = "ne",
        /// `a < b`
        Lt = "lt",
        /// `a <= b`
        Le = "le",
        /// `a > b`
        Gt = "gt",
        /// `a >= b`
        Ge = "ge",
    }
}

named_ops! {
    /// How many values become one.
    ReduceOp {
        /// Sum; empty gives 0.
        Sum = "sum",
        /// Product; empty gives 1.
        Prod = "prod",
        /// Maximum; empty gives the lowest value.
        Max = "max",
        /// Minimum; empty gives the highest value.
        Min = "min",
        /// Index of the first maximum, as i64.
        ArgMax = "argmax",
    }
}

impl BinaryOp {
    /// Whether `a op b == b op a` holds bit for bit.
    pub const fn commutative(self) -> bool {
        matches!(self, BinaryOp::Add | BinaryOp::Mul | BinaryOp::Max | BinaryOp::Min | BinaryOp::And | BinaryOp::Or)
    }
}
