//! What the runtime promises to the programs that embed it.

mod artifact;
mod executor;
mod pool;
mod speed;
mod toy;
