//! What can be wrong with a model's definition or with its parameters.

use kiln_ir::{IrError, SourceLine, Storage};
use std::fmt;

/// What to take instead of weights in a type that nothing is computed in.
pub const READABLE_WEIGHTS: &str = "the model in float32, float16 or bfloat16, or a GGUF file with F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, \
                                    Q2_K, Q3_K, Q4_K, Q5_K or Q6_K";

/// An error of tracing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An op that does not accept its operands, or a graph that the verifier rejects.
    #[error(transparent)]
    Graph(#[from] IrError),
    /// A misuse of the DSL: a tensor out of its scope, two inputs of one name …
    #[error("{reason} (at {line})")]
    Definition {
        /// What is wrong and what to do.
        reason: String,
        /// The line of the model's definition.
        line: SourceLine,
    },
    /// Parameters that the checkpoint lacks, or has in another shape.
    #[error("{}", Listing { missing, mismatched })]
    Parameters {
        /// Names that the checkpoint does not have.
        missing: Vec<String>,
        /// Tensors of another shape than the model's.
        mismatched: Vec<Mismatch>,
    },
    /// Parameters that the checkpoint has in types that nothing is computed in.
    #[error("the model needs {}, and kiln computes with no such type; take {}", typed(tensors), READABLE_WEIGHTS)]
    UnsupportedTypes {
        /// Each tensor's name, and its type as the file names it.
        tensors: Vec<(String, String)>,
    },
}

/// A tensor whose shape is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The shape that the config implies.
    pub expected: Vec<usize>,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
    /// How the checkpoint stores it.
    pub storage: Storage,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { name, expected, found, storage } = self;
        if expected == found {
            return write!(f, "tensor `{name}`: a parameter holds floats, the checkpoint has {storage}");
        }
        write!(f, "tensor `{name}`: the config says {expected:?}, the checkpoint has {found:?}")
    }
}

/// How many names of one kind an error message lists.
const LISTED: usize = 8;

/// How many names are not listed.
fn rest(n: usize) -> String {
    if n > LISTED { format!(" and {} more", n - LISTED) } else { String::new() }
}

fn typed(tensors: &[(String, String)]) -> String {
    let listed: Vec<String> = tensors
        .iter()
        .take(LISTED)
        .map(|(name, found)| format!("tensor `{name}`, which is stored as {found}"))
        .collect();
    listed.join(", ") + &rest(tensors.len())
}

struct Listing<'a> {
    missing: &'a [String],
    mismatched: &'a [Mismatch],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("config and checkpoint do not belong together: ")?;
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().take(LISTED).map(|n| format!("`{n}`")).collect();
            write!(f, "the checkpoint lacks {}{}", names.join(", "), rest(self.missing.len()))?;
        }
        if !self.missing.is_empty() && !self.mismatched.is_empty() {
            f.write_str("; ")?;
        }
        let shapes: Vec<String> = self.mismatched.iter().take(LISTED).map(Mismatch::to_string).collect();
        write!(f, "{}{}", shapes.join("; "), rest(self.mismatched.len()))
    }
}
