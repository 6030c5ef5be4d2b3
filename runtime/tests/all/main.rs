//! What the runtime promises to the programs that embed it.

mod artifact;
mod device;
mod executor;
mod fork;
mod fuzz;
mod pool;
mod toy;
