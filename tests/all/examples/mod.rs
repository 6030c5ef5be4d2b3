//! The programs in `examples/`, with tiny checkpoints.

mod embed;
mod own_architecture;
