//! Rewriting.

mod block;
mod cases;
mod laws;
mod numeric;
mod oracle;
mod unsound;
