//! The typed tensor graph: what a model means before any decision of how to compute it.
//!
//! # Meaning
//! A [`Module`] holds functions. A [`Function`] is a list of [`Node`]s in an order where every operand comes before its user;
//! a node applies an [`Op`] to earlier nodes and has one [`Type`] (a tensor, or the tuple that a call returns). Evaluation is pure: a
//! node's value depends on its operands only, so nodes may be evaluated in any order that respects operands, merged when equal, and
//! dropped when unused. The one exception is *state* (the key/value cache): a value of a state argument is linear, each version
//! is consumed at most once, and [`verify()`] rejects a graph that reads a version after it was consumed.
//!
//! Shapes are lists of [`Dim`]s, constants or expressions over the module's symbols. A graph holds for every binding of the symbols
//! within their bounds. Operands of elementwise ops have equal shapes; broadcasting is an op of its own.
//!
//! `f16` and `bf16` values are rounded after every op. Reductions and products of floats have the meaning of exact arithmetic,
//! rounded once; implementations may sum in any fixed order, within the tolerance that `specs/numerics.md` gives.
//!
//! # What is here
//! - [`Op`]: the closed set of primitives and the named composites, each a row of one table.
//! - [`verify()`]: the checks that later stages rely on; it gives what it learnt ([`ModuleInfo`]).
//! - [`text`]: the text format, printed deterministically and parsed back.
//! - [`interp`]: the interpreter, the plain meaning of every op; everything else is tested against it.
//! - [`ranges`]: which values the inputs of an entry may have.
//! - [`compose`]: the decomposition of each composite into primitives.
//! - [`gradient`]: the gradient of each op.

mod builder;
pub mod compose;
mod error;
pub mod gradient;
mod graph;
mod info;
pub mod interp;
mod literal;
mod needs;
mod op;
pub mod ranges;
#[doc(hidden)]
pub mod sample;
pub mod text;
mod types;
pub mod variants;
mod verify;

pub use error::{IrError, SourceLine};
pub use graph::{Arg, ArgKind, FuncId, Function, Module, Node, NodeId, Output};
pub use info::{Binding, FunctionInfo, ModuleInfo};
pub use kiln_core::{
    BinaryOp, BlockFormat, CompareOp, DType, DefaultFill, Dim, DimBounds, ReduceOp, SizeRole, Storage, Symbol, Symbols,
    UnaryOp, ValueRange,
};
pub use literal::Literal;
pub use op::{AttentionAttrs, Attr, Class, ConvAttrs, DotDims, Field, Kind, Op, OpInfo, Real, Source};
pub use types::{TensorType, Type};
pub use variants::SizeRange;
pub use verify::verify;
