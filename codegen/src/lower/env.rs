//! What a template is given beside its spec.

use super::builder::{Buf, Builder, Ix};
use super::program::Args;

/// What a template is given.
pub struct Env {
    /// The launch's arguments.
    pub args: Args,
    /// Number of this piece of work.
    pub chunk: Ix,
    /// Pieces in all.
    pub chunks: Ix,
    /// The operands: what is read, then what is written.
    pub buffers: Vec<Buf>,
    /// f32 lanes of a vector.
    pub lanes: usize,
    /// Vector registers.
    pub registers: usize,
}

impl Env {
    /// The half-open range of `items` that this piece covers. Its ends are multiples of `align`, except the very last.
    pub fn piece(&self, b: &Builder<'_>, items: Ix, align: i64) -> (Ix, Ix) {
        let at = |i: Ix| b.idiv(b.imul(i, items), self.chunks);
        let next = b.iadd(self.chunk, Ix::C(1));
        let (begin, end) = (at(self.chunk), at(next));
        if align == 1 {
            return (begin, end);
        }
        let last = b.icompare(kiln_core::CompareOp::Eq, end, items);
        let rounded = b.ix_value(b.round_down(end, align));
        let begin = b.round_down(begin, align);
        // A piece that begins past its end is empty.
        (begin, b.ix(b.select(last, b.ix_value(end), rounded)))
    }
}
