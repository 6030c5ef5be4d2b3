//! Graph to plan: what is computed becomes how it is computed.
//!
//! Of an entry that trains, [`autodiff`](autodiff::autodiff) makes the gradients first. Then, in order: [`egraph`] rewrites each function by the laws of [`rules`]; entries are inlined, and what no kernel computes is written out;
//! `widen` makes an entry compute in f32 what is written in f16 or bf16; [`simplify`](simplify::simplify) removes duplicate and dead nodes; `lower` splits off what
//! depends on static parameters only (`prepare`), fuses the rest into kernels and orders them; `memory` gives every intermediate a place.
//! [`pipeline`] has these passes by name, and [`compile`] runs them all.

pub mod autodiff;
pub mod egraph;
mod error;
mod lower;
mod memory;
pub mod metrics;
mod minimal;
pub mod pipeline;
pub mod rules;
pub mod simplify;
mod variants;
mod widen;

pub use error::PassError;
pub use lower::{CACHE_SHARE, Compiled, ConstantData, FusedGroup, FusedStep, Fusion, fusion};
pub use minimal::minimal;
pub use pipeline::Pipeline;

use kiln_core::TargetSpec;
use kiln_ir::Module;

/// What a compilation is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rewrite with the e-graph; without it, the graph is lowered as it was written.
    pub rewrite: bool,
    /// The classes of laws that are admitted: this one and those that change less.
    pub numerics: egraph::Numerics,
    /// Tables and laws that are left out, by name.
    pub without: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { rewrite: true, numerics: egraph::Numerics::default(), without: vec![] }
    }
}

impl Options {
    /// What rewriting is asked for.
    pub fn rewriting(&self) -> egraph::Options {
        egraph::Options { numerics: self.numerics, without: self.without.clone(), ..egraph::Options::default() }
    }

    /// The laws that a compilation admits, as text, one a line; empty without rewriting. An artifact's manifest holds its hash.
    pub fn rules(&self) -> String {
        if self.rewrite { rules::listing(&self.rewriting()) } else { String::new() }
    }
}

/// Compiles a module to a plan without code: kernels are specs that `kiln-codegen` turns into machine code. The verifier runs after
/// every pass.
///
/// # Errors
/// A graph that the verifier rejects, or an op and element type that no kernel template computes, by name.
pub fn compile(module: &Module, target: &TargetSpec, options: &Options) -> Result<Compiled, PassError> {
    let mut module = module.clone();
    if options.rewrite {
        module = Pipeline::rewriting(options.rewriting()).run(module, target)?.module;
    }
    let flat = Pipeline::flattening().run(module.clone(), target)?.module;
    Ok(Compiled { module, ..lower::lower(&flat, target)? })
}
