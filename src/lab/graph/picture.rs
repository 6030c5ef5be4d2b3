//! What is drawn: blocks, their kernels and ops, with numbers.

/// A block, before and after.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The block's name.
    pub block: String,
    /// As it was written, and as it became.
    pub panels: [Panel; 2],
}

/// One form of a block.
#[derive(Clone, Debug)]
pub struct Panel {
    /// `as written`, `rewritten`.
    pub title: &'static str,
    /// Kernels, and inputs as boxes of one op.
    pub boxes: Vec<KernelBox>,
    /// From box to box.
    pub edges: Vec<(usize, usize)>,
    /// Number of steps.
    pub steps: usize,
    /// Bytes that they read and write.
    pub bytes: f64,
    /// Predicted seconds.
    pub seconds: f64,
}

/// The ops of a kernel; an input has no steps.
#[derive(Clone, Debug, Default)]
pub struct KernelBox {
    /// `matmul`; empty for an input.
    pub title: String,
    /// Each step, for people.
    pub details: Vec<String>,
    /// Bytes that it reads and writes.
    pub bytes: f64,
    /// Predicted seconds.
    pub seconds: f64,
    /// Its ops and what it reads of weights.
    pub ops: Vec<OpLabel>,
    /// From op to op, within the box.
    pub edges: Vec<(usize, usize)>,
}

/// An op in a box.
#[derive(Clone, Debug, Default)]
pub struct OpLabel {
    /// `add`.
    pub name: String,
    /// Its type, or the name of a weight.
    pub detail: String,
    /// All of it.
    pub tooltip: String,
    /// Whether it is a weight, a constant, an input or a state.
    pub leaf: bool,
}

impl KernelBox {
    /// Its title with its numbers: `matmul · 12.3 µs · 3.5 MB`.
    pub(super) fn heading(&self) -> String {
        if self.title.is_empty() {
            return String::new();
        }
        format!("{} · {} · {}", self.title, microseconds(self.seconds), kilobytes(self.bytes))
    }
}

/// `3.5 MB`
pub(super) fn kilobytes(bytes: f64) -> String {
    if bytes < 1e6 { format!("{:.1} kB", bytes * 1e-3) } else { format!("{:.1} MB", bytes * 1e-6) }
}

/// `12.3 µs`
pub(super) fn microseconds(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.1} µs", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
}
