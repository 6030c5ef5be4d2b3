//! Matmuls that wait for what uses them.

use super::lazy::Lazy;
use kiln_core::{Buffer, DType, Dim, ElementOp, Inst, RightSide, Storage};
use std::sync::Arc;

/// A matmul that is not emitted yet.
#[derive(Debug)]
pub(super) struct Anchor {
    /// Leading axes of the product.
    pub(super) rows: Vec<Dim>,
    pub(super) n: i64,
    pub(super) k: Dim,
    pub(super) parts: i64,
    pub(super) a: Buffer,
    pub(super) lhs: Storage,
    pub(super) a_stride: Dim,
    pub(super) b: Buffer,
    pub(super) rhs: RightSide,
    /// The prologue: an RMS norm of the rows with this epsilon.
    pub(super) rms_norm: Option<f32>,
    pub(super) skinny: bool,
    /// The product's own label: what follows in its epilogue does not name the weights.
    pub(super) label: Arc<str>,
}

impl Anchor {
    /// The accumulator of one part: all columns, or one half of them.
    pub fn accumulator(&self, part: u32) -> Lazy {
        let mut shape = self.rows.clone();
        shape.push((self.n / self.parts).into());
        Lazy { shape, insts: vec![Inst { op: ElementOp::Given(part), dtype: DType::F32 }], leaves: vec![] }
    }
}
