//! Rewriting.

mod ablation;
mod block;
mod cases;
mod depth;
mod explain;
mod laws;
mod numeric;
mod oracle;
mod random;
mod unsound;
