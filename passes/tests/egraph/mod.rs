//! Rewriting.

mod ablation;
mod block;
mod cases;
mod depth;
mod laws;
mod numeric;
mod oracle;
mod unsound;
