//! A kernel's code, and its name.

use kiln_core::KernelSpec;
use serde::{Deserialize, Serialize};

/// One kernel as a relocatable object with one global function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledKernel {
    /// The function's name.
    pub symbol: String,
    /// ELF bytes.
    pub object: Vec<u8>,
}

/// The symbol of a kernel: its template, and a number within its batch.
pub(super) fn symbol(index: usize, spec: &KernelSpec) -> String {
    format!("kiln_{}_{index}", spec.template())
}
