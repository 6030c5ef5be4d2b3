//! What can be wrong with a graph, with the op, the operands' types and the line that made it.

use std::fmt;

/// The line of a model definition that made a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// Path of the source file.
    pub file: &'static str,
    /// Line number, from 1.
    pub line: u32,
}

impl SourceLine {
    /// The line of the caller of the `#[track_caller]` function that calls this.
    #[track_caller]
    pub fn caller() -> Self {
        let l = std::panic::Location::caller();
        SourceLine { file: l.file(), line: l.line() }
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An error in a graph or in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IrError {
    /// An op that does not accept its operands.
    #[error("`{op}` ({operands}): {reason}")]
    Type {
        /// The op with its attributes.
        op: String,
        /// The operands' types.
        operands: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// An op that cannot be differentiated.
    #[error("`{op}` has no gradient: {reason}")]
    NoGradient {
        /// The op with its attributes.
        op: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A graph that breaks a rule which the later stages rely on.
    #[error("in @{function}, {node}: {reason}")]
    Verify {
        /// The function's name.
        function: String,
        /// The node, with the line that made it.
        node: String,
        /// The broken rule.
        reason: String,
    },
    /// Text that does not parse.
    #[error("line {line}: {reason}")]
    Parse {
        /// Line number, from 1.
        line: usize,
        /// What was expected and what was found.
        reason: String,
    },
    /// Bytes or elements that do not make a tensor.
    #[error("tensor: {reason}")]
    Tensor {
        /// What was expected and what was found.
        reason: String,
    },
    /// The interpreter was given something that it cannot evaluate.
    #[error("evaluating @{function}: {reason}")]
    Eval {
        /// The function's name.
        function: String,
        /// What is wrong.
        reason: String,
    },
}
