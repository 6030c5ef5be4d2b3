//! What can go wrong between graph and plan.

/// An error of a pass.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The graph is not well-formed.
    #[error(transparent)]
    Ir(#[from] kiln_ir::IrError),
    /// An op that no kernel computes on these operands.
    #[error("in @{function}, {node}: {reason}")]
    Unsupported {
        /// The entry.
        function: String,
        /// The node with its op and type.
        node: String,
        /// What is missing.
        reason: String,
    },
    /// Nothing that can be differentiated.
    #[error("autodiff: {reason}")]
    Autodiff {
        /// What was expected and what was found.
        reason: String,
    },
    /// Two entries use one name for different things.
    #[error("`{name}` is {first} in one entry and {second} in another")]
    Conflict {
        /// The parameter or state.
        name: String,
        /// Its first type.
        first: String,
        /// Its second type.
        second: String,
    },
    /// The e-graph found two values of different types equal.
    #[error("rewriting @{function}: {reason}")]
    Rewrite {
        /// The function.
        function: String,
        /// What happened, with the rule's name.
        reason: String,
    },
    /// A pass made a graph that is not well-formed.
    #[error("after the pass `{pass}`: {source}")]
    Broken {
        /// The pass.
        pass: String,
        /// The broken rule.
        source: kiln_ir::IrError,
    },
    /// A list of passes that says nothing.
    #[error("passes: {reason}")]
    Pipeline {
        /// What was expected and what was found.
        reason: String,
    },
    /// A plan is asked for an entry that it doesn't have.
    #[error("there is no entry `{name}`: expected one of {}", known.join(", "))]
    NoEntry {
        /// What was asked for.
        name: String,
        /// The entries there are.
        known: Vec<String>,
    },
    /// A size that cannot be computed.
    #[error(transparent)]
    Dim(#[from] kiln_core::DimError),
}
