//! The Rust DSL in which models are written; tracing a model gives [`kiln_ir`]'s graph. Nothing computes while tracing.
//!
//! In goes Rust code over [`Tensor`] handles; out comes a verified [`kiln_ir::Module`]. This crate knows no file format and no
//! architecture: parameters come from a [`ParamSource`], models live in `kiln-models` or in a user's own crate.
//!
//! ```
//! use kiln_frontend::{dims, trace, DType};
//!
//! let module = trace(|cx| {
//!     let s = cx.symbol("s", 1..=512);
//!     cx.entry("forward", |cx| {
//!         let x = cx.input("x", DType::F32, dims![s, 64]);
//!         let gate = x.narrow(-1, 0, 32).silu();
//!         cx.output("y", &(gate * x.narrow(-1, 32, 32) + 1.0));
//!     });
//! })?;
//! assert_eq!(module.entries().count(), 1);
//! # Ok::<(), kiln_frontend::Error>(())
//! ```
//!
//! # What is here
//! - [`trace()`] and [`Context`]: entries, inputs, states, outputs, and repeated blocks, each of which becomes one function.
//! - [`Tensor`]: operators and methods named as in PyTorch; operands broadcast as in numpy.
//! - [`Module`] and `#[derive(Module)]`: plain structs whose field names are the checkpoint's names.
//! - [`nn`]: the layers that transformers are made of.
//! - [`optim`]: AdamW and its like, as entries of a program.
//!
//! # Errors while tracing
//! A model's definition reads like mathematics, so no op returns a `Result`. The first op that does not fit its operands is
//! recorded, with the operands' types and the line of the model that called it, and gives a *poisoned* tensor; every op on a poisoned
//! tensor gives another one, silently. [`trace()`] returns that first error. Nothing panics; code that looks at sizes stays safe through
//! [`Tensor::dims`] and [`Tensor::dim`], which answer 1 for a poisoned tensor.

// `#[derive(Module)]` names this crate by its name, here too.
extern crate self as kiln_frontend;

mod block;
mod builder;
mod context;
mod error;
mod load;
mod module;
pub mod nn;
pub mod optim;
mod param;
mod shape;
mod tensor;
mod trace;

pub use block::Values;
pub use context::Context;
pub use error::{Error, Mismatch, READABLE_WEIGHTS};
pub use kiln_derive::Module;
pub use kiln_ir::{BlockFormat, DType, DefaultFill, Dim, Storage, Symbol, ValueRange};
pub use module::{Module, Path};
pub use param::{LoadOptions, Param, ParamSource};
pub use shape::ToDim;
pub use tensor::{Operand, Tensor};
pub use trace::trace;
