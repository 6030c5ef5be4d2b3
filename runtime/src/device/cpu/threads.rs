//! How many threads compute.

use crate::{Error, Result};

/// The most threads that may be asked for, unless the machine has more.
const MOST_THREADS: usize = 1024;

/// As many threads as this process may run at once.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads a request means: by default, and where it is 0, as many as the machine has.
///
/// # Errors
/// When it is more than any machine has.
pub fn threads(asked: Option<usize>) -> Result<usize> {
    let own = default_threads();
    match asked.unwrap_or(0) {
        0 => Ok(own),
        wanted if wanted <= MOST_THREADS.max(own) => Ok(wanted),
        wanted => Err(Error::Threads { wanted, most: MOST_THREADS.max(own), own }),
    }
}
