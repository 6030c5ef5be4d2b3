//! What the code of an artifact is: which kernels it holds, and for which plan it was compiled.

use super::checksum;
use kiln_core::KernelEntry;
use serde::{Deserialize, Serialize};

/// The section `kernels`. It belongs to the code: the plan, which calls it, is held against what stands here.
#[derive(Serialize, Deserialize)]
pub(super) struct Kernels {
    /// [`plan_digest`] of the section `plan`.
    pub plan: String,
    /// The kernels, by the numbers that steps name them by.
    pub kernels: Vec<KernelEntry>,
}

/// By what the code knows its plan. It tells another plan, not who wrote it.
#[doc(hidden)]
pub fn plan_digest(section: &[u8]) -> String {
    format!("{:016x}", checksum::of(section))
}
