//! Formulas that are written out in several places: as nodes of a graph, as instructions of a kernel's program, with numbers.
//! Here each stands once, over whatever it is written in.

use crate::{BinaryOp, UnaryOp};
use std::f64::consts::FRAC_1_SQRT_2;

/// What a formula is written in.
pub trait Algebra {
    /// A value of it.
    type Value: Copy;
    /// Why something can't be written.
    type Error;

    /// A number, of the type and shape of `like`.
    ///
    /// # Errors
    /// As the implementation says.
    fn number(&mut self, value: f64, like: Self::Value) -> Result<Self::Value, Self::Error>;

    /// An op of one operand.
    ///
    /// # Errors
    /// As the implementation says.
    fn unary(&mut self, op: UnaryOp, x: Self::Value) -> Result<Self::Value, Self::Error>;

    /// An op of two operands of one type and shape.
    ///
    /// # Errors
    /// As the implementation says.
    fn binary(&mut self, op: BinaryOp, a: Self::Value, b: Self::Value) -> Result<Self::Value, Self::Error>;
}

/// `sqrt(2 / π)`
pub const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// The factor of the cube in GELU's tanh form (Hendrycks and Gimpel, 2016).
pub const GELU_CUBE: f64 = 0.044715;

/// GELU, `x Φ(x)`: `x / 2 * (1 + erf(x / sqrt 2))`, or in its tanh form `x / 2 * (1 + tanh(sqrt(2 / π) * (x + 0.044715 x^3)))`.
///
/// # Errors
/// As the algebra's.
pub fn gelu<A: Algebra>(a: &mut A, x: A::Value, tanh: bool) -> Result<A::Value, A::Error> {
    let twice_phi_less_one = if tanh {
        let square = a.binary(BinaryOp::Mul, x, x)?;
        let cube = a.binary(BinaryOp::Mul, square, x)?;
        let factor = a.number(GELU_CUBE, x)?;
        let term = a.binary(BinaryOp::Mul, cube, factor)?;
        let sum = a.binary(BinaryOp::Add, x, term)?;
        let factor = a.number(SQRT_2_OVER_PI, x)?;
        let scaled = a.binary(BinaryOp::Mul, sum, factor)?;
        a.unary(UnaryOp::Tanh, scaled)?
    } else {
        let factor = a.number(FRAC_1_SQRT_2, x)?;
        let scaled = a.binary(BinaryOp::Mul, x, factor)?;
        a.unary(UnaryOp::Erf, scaled)?
    };
    let one = a.number(1.0, x)?;
    let twice_phi = a.binary(BinaryOp::Add, twice_phi_less_one, one)?;
    let half = a.number(0.5, x)?;
    let half = a.binary(BinaryOp::Mul, x, half)?;
    a.binary(BinaryOp::Mul, half, twice_phi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// A formula as text.
    struct Text;

    impl Algebra for Text {
        type Value = &'static str;
        type Error = Infallible;

        fn number(&mut self, value: f64, _: &'static str) -> Result<&'static str, Infallible> {
            Ok(value.to_string().leak())
        }

        fn unary(&mut self, op: UnaryOp, x: &'static str) -> Result<&'static str, Infallible> {
            Ok(format!("{op}({x})").leak())
        }

        fn binary(&mut self, op: BinaryOp, a: &'static str, b: &'static str) -> Result<&'static str, Infallible> {
            Ok(format!("{op}({a}, {b})").leak())
        }
    }

    #[test]
    fn gelu_reads_as_in_its_paper() {
        let Ok(exact) = gelu(&mut Text, "x", false);
        assert_eq!(exact, "mul(mul(x, 0.5), add(erf(mul(x, 0.7071067811865476)), 1))");
        let Ok(tanh) = gelu(&mut Text, "x", true);
        let cube = "mul(mul(mul(x, x), x), 0.044715)";
        let inner = format!("tanh(mul(add(x, {cube}), 0.7978845608028654))");
        assert_eq!(tanh, format!("mul(mul(x, 0.5), add({inner}, 1))"));
    }
}
