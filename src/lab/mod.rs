//! The laboratory: what looks into the compiler, for whoever works on it. The verbs of the command that do so are made of it, and many
//! tests; compiling and running a model needs none of it.
//!
//! - [`build`] and [`trace`] are the road's stations one by one, and a [`Program`] runs without a file ([`Program::load`]).
//! - [`verify`] compares compiled results with the interpreter's and with golden ones. [`bisect`] finds the rewrite rule that makes
//!   them differ.
//! - [`training`] takes steps beside those that torch took of the same batch.
//! - [`bench`](mod@bench) times calls and their steps, [`costs`] holds the cost model against the clock, [`ablation`] says what each
//!   table of rules is worth, and [`calibrate`] measures the machine.
//! - [`graph`] draws blocks before and after rewriting.
//!
//! Graphs and rules are those of `kiln-ir` and `kiln-passes`. This module calls the rest of the crate; only the command calls it.

pub mod ablation;
pub mod bench;
pub mod bisect;
pub mod calibrate;
pub mod costs;
pub mod graph;
pub mod training;
pub mod verify;

pub use crate::compile::{Program, TargetProgram, build, trace};

use crate::{CompileOptions, PassOptions};

impl CompileOptions {
    /// The same for a module that is compiled as it was written, without rewriting.
    fn as_written(&self) -> CompileOptions {
        let passes = PassOptions { rewrite: false, ..self.passes.clone() };
        CompileOptions { passes, ..self.clone() }
    }
}
