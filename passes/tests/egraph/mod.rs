//! Rewriting.

mod block;
mod laws;
mod numeric;
mod oracle;
mod unsound;
