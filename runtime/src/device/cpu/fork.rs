//! Whether this process was forked off since.
//!
//! A fork copies memory and the one thread that called it: what other threads held stays held for ever, and threads that are waited for
//! never come. What owns threads keeps the number of forks that it was made after, and makes them anew where it has changed.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};

/// Forks between the first process and this one, since [`watch`].
static FORKS: AtomicU32 = AtomicU32::new(0);

#[cfg(unix)]
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}

/// Begins to count, if that has not begun, and gives the count so far.
pub fn watch() -> u32 {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        extern "C" fn count() {
            FORKS.fetch_add(1, Relaxed);
        }
        // SAFETY: a function of the C library, which calls `count` in each child. It fails only without memory, and then forks are
        // not seen.
        #[cfg(unix)]
        unsafe {
            pthread_atfork(None, None, Some(count));
        }
    }
    forks()
}

/// The count.
pub fn forks() -> u32 {
    FORKS.load(Relaxed)
}
