//! Programs as they were written.

use crate::PassOptions;
use crate::compile::CompileOptions;

impl CompileOptions {
    /// The same for a module that is compiled as it was written, without rewriting.
    pub(super) fn as_written(&self) -> CompileOptions {
        let passes = PassOptions { rewrite: false, ..self.passes.clone() };
        CompileOptions { passes, ..self.clone() }
    }
}
