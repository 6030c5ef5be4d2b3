//! The text format: what tests, dumps and bug reports are written in. `specs/ir.md` gives the grammar.
//!
//! ```text
//! sym s in 1..=512
//!
//! entry @double(%0: f32[s, 4] input "x") {
//!   %1: f32[s, 4] = add %0, %0
//!   return "y" %1
//! }
//! ```
//!
//! Printing is deterministic, and [`parse`] gives back the same module (without source lines).

mod attributes;
mod parse;
mod print;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use attributes::attributes;
pub use parse::parse;
pub use print::print;
pub use split::split;
