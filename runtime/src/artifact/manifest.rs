//! What an artifact says about itself.

use crate::MemoryReport;
use kiln_core::TargetSpec;
use serde::{Deserialize, Serialize};

/// Where an artifact comes from, and what it was built for. Stored as JSON; the same input with the
/// same compiler gives the same manifest, so it holds no time, no path and no host name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What was built, for one target each.
    pub builds: Vec<Build>,
}

/// The program for one target: its number in [`Manifest::builds`] says which sections are its own
/// ([`Section::of_build`](super::Section::of_build)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// The machine that its code is for.
    pub target: TargetSpec,
    /// Hash of its optimised IR.
    #[serde(default)]
    pub ir_sha256: String,
    /// What running it takes, at the upper bounds of its sizes.
    #[serde(default)]
    pub memory: MemoryReport,
}

impl Build {
    /// A build of which nothing but its target is said.
    pub fn for_target(target: TargetSpec) -> Self {
        Build { target, ir_sha256: String::new(), memory: MemoryReport::default() }
    }
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
