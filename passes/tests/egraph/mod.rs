//! Rewriting.

mod block;
mod explain;
mod laws;
mod numeric;
mod oracle;
mod unsound;
