//! Rewriting.

mod block;
mod cases;
mod laws;
mod numeric;
mod oracle;
mod random;
mod unsound;
