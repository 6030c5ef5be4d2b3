//! Where kernels run: the CPU check ([`cpu`]), the threads ([`pool`]), and how fast both are ([`rates`]).

pub mod cpu;
pub mod pool;
pub mod rates;

pub use cpu::KernelFn;
pub use pool::{Pool, Workers};

/// As many threads as this process may run at once.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
