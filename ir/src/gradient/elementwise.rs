//! Gradients of elementwise ops.

use super::{Gradient, Result};
use crate::{NodeId, Op};
use kiln_core::formula::{GELU_CUBE, SQRT_2_OVER_PI};
use kiln_core::{BinaryOp, CompareOp, UnaryOp};
use std::f64::consts::FRAC_2_SQRT_PI;

/// `sqrt(1 / (2 π))`, the factor of the density of the normal distribution.
const INV_SQRT_2_PI: f64 = 0.398_942_280_401_432_7;

impl Gradient<'_> {
    pub(crate) fn unary(&mut self, op: UnaryOp) -> Result<()> {
        let (x, y, dy) = (self.x[0], self.y, self.dy);
        let dx = match op {
            UnaryOp::Neg => self.b.unary(UnaryOp::Neg, dy)?,
            UnaryOp::Abs => {
                let zero = self.zeros(x)?;
                let negated = self.b.unary(UnaryOp::Neg, dy)?;
                let below = self.b.op(Op::Compare(CompareOp::Lt), &[x, zero])?;
                let above = self.b.op(Op::Compare(CompareOp::Gt), &[x, zero])?;
                let upper = self.b.op(Op::Select, &[above, dy, zero])?;
                self.b.op(Op::Select, &[below, negated, upper])?
            }
            UnaryOp::Exp => self.mul(dy, y)?,
            UnaryOp::Log => self.b.binary(BinaryOp::Div, dy, x)?,
            UnaryOp::Sqrt => {
                let half = self.scaled(dy, 0.5)?;
                self.b.binary(BinaryOp::Div, half, y)?
            }
            UnaryOp::Rsqrt => {
                let square = self.mul(y, y)?;
                let cube = self.mul(square, y)?;
                let slope = self.scaled(cube, -0.5)?;
                self.mul(dy, slope)?
            }
            UnaryOp::Sin => {
                let cos = self.b.unary(UnaryOp::Cos, x)?;
                self.mul(dy, cos)?
            }
            UnaryOp::Cos => {
                let sin = self.b.unary(UnaryOp::Sin, x)?;
                let slope = self.b.unary(UnaryOp::Neg, sin)?;
                self.mul(dy, slope)?
            }
            UnaryOp::Tanh => {
                let square = self.mul(y, y)?;
                let one = self.b.number(1.0, y)?;
                let slope = self.sub(one, square)?;
                self.mul(dy, slope)?
            }
            UnaryOp::Erf => {
                let bell = self.bell(x, 1.0)?;
                let slope = self.scaled(bell, FRAC_2_SQRT_PI)?;
                self.mul(dy, slope)?
            }
            UnaryOp::Floor | UnaryOp::Not => return Ok(()),
        };
        self.give(0, dx);
        Ok(())
    }

    /// `e^(-factor x²)`
    fn bell(&mut self, x: NodeId, factor: f64) -> Result<NodeId> {
        let square = self.mul(x, x)?;
        let exponent = self.scaled(square, -factor)?;
        self.b.unary(UnaryOp::Exp, exponent)
    }

    pub(crate) fn binary(&mut self, op: BinaryOp) -> Result<()> {
        let (a, b, y, dy) = (self.x[0], self.x[1], self.y, self.dy);
        match op {
            BinaryOp::Add => {
                self.give(0, dy);
                self.give(1, dy);
            }
            BinaryOp::Sub => {
                self.give(0, dy);
                if self.wants(1) {
                    let negated = self.b.unary(UnaryOp::Neg, dy)?;
                    self.give(1, negated);
                }
            }
            BinaryOp::Mul => {
                for (operand, other) in [(0, b), (1, a)] {
                    if self.wants(operand) {
                        let gradient = self.mul(dy, other)?;
                        self.give(operand, gradient);
                    }
                }
            }
            BinaryOp::Div => {
                let da = self.b.binary(BinaryOp::Div, dy, b)?;
                self.give(0, da);
                if self.wants(1) {
                    let slope = self.b.unary(UnaryOp::Neg, y)?;
                    let db = self.mul(da, slope)?;
                    self.give(1, db);
                }
            }
            BinaryOp::Max | BinaryOp::Min => {
                let half = self.scaled(dy, 0.5)?;
                let zero = self.zeros(dy)?;
                let equal = self.b.op(Op::Compare(CompareOp::Eq), &[a, b])?;
                for (operand, mine, other) in [(0, a, b), (1, b, a)] {
                    if !self.wants(operand) {
                        continue;
                    }
                    let wins = if op == BinaryOp::Max { CompareOp::Gt } else { CompareOp::Lt };
                    let wins = self.b.op(Op::Compare(wins), &[mine, other])?;
                    let alone = self.b.op(Op::Select, &[wins, dy, zero])?;
                    let gradient = self.b.op(Op::Select, &[equal, half, alone])?;
                    self.give(operand, gradient);
                }
            }
            BinaryOp::Pow => self.pow(a, b)?,
            BinaryOp::Rem => {
                self.give(0, dy);
                if self.wants(1) {
                    // a - b trunc(a / b), whose quotient is a whole number.
                    let difference = self.sub(y, a)?;
                    let slope = self.b.binary(BinaryOp::Div, difference, b)?;
                    let db = self.mul(dy, slope)?;
                    self.give(1, db);
                }
            }
            BinaryOp::And | BinaryOp::Or => {}
        }
        Ok(())
    }

    fn pow(&mut self, a: NodeId, b: NodeId) -> Result<()> {
        let (y, dy) = (self.y, self.dy);
        let zero = self.zeros(a)?;
        if self.wants(0) {
            let one = self.b.number(1.0, b)?;
            let less = self.sub(b, one)?;
            let power = self.b.binary(BinaryOp::Pow, a, less)?;
            let slope = self.mul(b, power)?;
            let da = self.mul(dy, slope)?;
            let constant = self.b.op(Op::Compare(CompareOp::Eq), &[b, zero])?;
            let da = self.b.op(Op::Select, &[constant, zero, da])?;
            self.give(0, da);
        }
        if self.wants(1) {
            let log = self.b.unary(UnaryOp::Log, a)?;
            let slope = self.mul(y, log)?;
            let db = self.mul(dy, slope)?;
            let none = self.b.op(Op::Compare(CompareOp::Eq), &[a, zero])?;
            let db = self.b.op(Op::Select, &[none, zero, db])?;
            self.give(1, db);
        }
        Ok(())
    }

    pub(crate) fn select(&mut self) -> Result<()> {
        let (condition, dy) = (self.x[0], self.dy);
        let zero = self.zeros(dy)?;
        for (operand, branches) in [(1, [dy, zero]), (2, [zero, dy])] {
            if self.wants(operand) {
                let gradient = self.b.op(Op::Select, &[condition, branches[0], branches[1]])?;
                self.give(operand, gradient);
            }
        }
        Ok(())
    }

    pub(crate) fn cast(&mut self) -> Result<()> {
        if let Some(from) = self.b.f.tensor(self.x[0]).dtype().filter(|d| d.is_float()) {
            let dy = self.dy;
            let dx = if self.b.f.tensor(dy).dtype() == Some(from) { dy } else { self.b.op(Op::Cast(from), &[dy])? };
            self.give(0, dx);
        }
        Ok(())
    }

    /// `y (1 - y)`
    pub(crate) fn sigmoid(&mut self) -> Result<()> {
        let (y, dy) = (self.y, self.dy);
        let one = self.b.number(1.0, y)?;
        let rest = self.sub(one, y)?;
        let slope = self.mul(y, rest)?;
        let dx = self.mul(dy, slope)?;
        self.give(0, dx);
        Ok(())
    }

    /// `σ(x) (1 + x (1 - σ(x)))`
    pub(crate) fn silu(&mut self) -> Result<()> {
        let (x, dy) = (self.x[0], self.dy);
        let sigmoid = self.b.op(Op::Sigmoid, &[x])?;
        let one = self.b.number(1.0, x)?;
        let rest = self.sub(one, sigmoid)?;
        let rest = self.mul(x, rest)?;
        let sum = self.b.binary(BinaryOp::Add, one, rest)?;
        let slope = self.mul(sigmoid, sum)?;
        let dx = self.mul(dy, slope)?;
        self.give(0, dx);
        Ok(())
    }

    /// `Φ(x) + x φ(x)`; in the tanh form, with `u = sqrt(2 / π) (x + 0.044715 x³)`, `(1 + tanh u) / 2 + x (1 - tanh² u) u' / 2`.
    pub(crate) fn gelu(&mut self, tanh: bool) -> Result<()> {
        let (x, dy) = (self.x[0], self.dy);
        let one = self.b.number(1.0, x)?;
        let (half_distribution, density) = if tanh {
            let square = self.mul(x, x)?;
            let cubic = self.scaled(square, GELU_CUBE)?;
            let inner = self.b.binary(BinaryOp::Add, one, cubic)?;
            let inner = self.mul(x, inner)?;
            let u = self.scaled(inner, SQRT_2_OVER_PI)?;
            let t = self.b.unary(UnaryOp::Tanh, u)?;
            let slope = self.scaled(square, 3.0 * GELU_CUBE)?;
            let slope = self.b.binary(BinaryOp::Add, one, slope)?;
            let t_square = self.mul(t, t)?;
            let rest = self.sub(one, t_square)?;
            let density = self.mul(rest, slope)?;
            (t, self.scaled(density, 0.5 * SQRT_2_OVER_PI)?)
        } else {
            let scaled = self.scaled(x, std::f64::consts::FRAC_1_SQRT_2)?;
            let bell = self.bell(x, 0.5)?;
            (self.b.unary(UnaryOp::Erf, scaled)?, self.scaled(bell, INV_SQRT_2_PI)?)
        };
        let distribution = self.b.binary(BinaryOp::Add, one, half_distribution)?;
        let distribution = self.scaled(distribution, 0.5)?;
        let rest = self.mul(x, density)?;
        let slope = self.b.binary(BinaryOp::Add, distribution, rest)?;
        let dx = self.mul(dy, slope)?;
        self.give(0, dx);
        Ok(())
    }
}
