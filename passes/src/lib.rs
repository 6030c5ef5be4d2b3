//! Graph to plan: what is computed becomes how it is computed.
//!
//! In order: [`egraph`] rewrites each function by the laws of [`rules`]; [`simplify`](simplify::simplify) removes duplicate and dead nodes of
//! the inlined entry; `widen` makes it compute in f32 what is written in f16 or bf16; `lower` splits off what depends on static parameters only (`prepare`), fuses the rest into
//! kernels and orders them; `memory` gives every intermediate a place. [`compile`] runs them all.

pub mod egraph;
mod error;
mod lower;
mod memory;
mod minimal;
pub mod rules;
pub mod simplify;
mod variants;
mod widen;

pub use error::PassError;
pub use lower::{Compiled, ConstantData, FusedGroup, FusedStep, Fusion, fusion};
pub use minimal::minimal;

use kiln_core::TargetSpec;
use kiln_ir::Module;

/// What a compilation is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rewrite with the e-graph; without it, the graph is lowered as it was written.
    pub rewrite: bool,
    /// Run the verifier after every pass.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { rewrite: true, verify: cfg!(debug_assertions) }
    }
}

/// Compiles a module to a plan without code: kernels are specs that `kiln-codegen` turns into machine code.
///
/// # Errors
/// A graph that the verifier rejects, or an op and element type that no kernel template computes, by name.
pub fn compile(module: &Module, target: &TargetSpec, options: &Options) -> Result<Compiled, PassError> {
    kiln_ir::verify(module)?;
    let rewritten;
    let module = if options.rewrite {
        rewritten = egraph::optimize(module, target, &egraph::Options::default())?.0;
        if options.verify {
            kiln_ir::verify(&rewritten)?;
        }
        &rewritten
    } else {
        module
    };
    lower::lower(module, target)
}
