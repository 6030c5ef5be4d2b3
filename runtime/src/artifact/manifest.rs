//! What an artifact says about itself.

use crate::MemoryReport;
use kiln_core::TargetSpec;
use serde::{Deserialize, Serialize};

/// Where an artifact comes from, what it was built for and how much memory it takes. Stored as JSON; the same input with the
/// same compiler gives the same manifest, so it holds no time, no path and no host name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of kiln.
    pub kiln: String,
    /// Versions of what kiln compiles with, as `name version`, in a fixed order.
    #[serde(default)]
    pub compilers: Vec<String>,
    /// The model.
    #[serde(default)]
    pub model: ModelInfo,
    /// Hash of the rewrite rules that were admitted.
    #[serde(default)]
    pub rules_sha256: String,
    /// Hash of the optimised IR in the `ir` section.
    #[serde(default)]
    pub ir_sha256: String,
    /// The machine that the kernel image is for.
    pub target: TargetSpec,
    /// What running it takes, at the upper bounds of its sizes.
    #[serde(default)]
    pub memory: MemoryReport,
}

/// The model that was compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its hub id, or its folder's or file's name.
    #[serde(default)]
    pub id: String,
    /// The revision, where it is known.
    #[serde(default)]
    pub revision: Option<String>,
    /// `model_type` of its config.
    #[serde(default)]
    pub architecture: String,
    /// The Auto class that loads it: `AutoModelForCausalLM`. Empty where that is not known.
    #[serde(default)]
    pub auto_class: String,
    /// Hash of its config.
    #[serde(default)]
    pub config_sha256: String,
    /// How long a sequence may become on what a generation's cache holds, in tokens; one that grows beyond it is read anew, once. None
    /// for most models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_limit: Option<usize>,
}
