//! How far transfers are, for whoever shows it.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

/// Who is told of each transfer, by default nobody.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Begin>>);

type Begin = dyn Fn(&str, u64) -> Box<dyn Transfer> + Send + Sync;

/// One transfer, as it is watched; it is dropped when it is over, however it ended.
pub trait Transfer: Send + Sync {
    /// Is called now and then with how many of its bytes are there.
    fn at(&self, bytes: u64);
}

impl Progress {
    /// `begin` is called as a transfer begins, with its name and its number of bytes.
    pub fn new<T: Transfer + 'static>(begin: impl Fn(&str, u64) -> T + Send + Sync + 'static) -> Progress {
        Progress(Some(Arc::new(move |name, bytes| Box::new(begin(name, bytes)))))
    }

    pub(super) fn begin(&self, name: &str, bytes: u64) -> Arc<dyn Transfer> {
        match &self.0 {
            Some(begin) => begin(name, bytes).into(),
            None => Arc::new(Unwatched),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(watched)" } else { "Progress" })
    }
}

/// Whether both tell the same one.
impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Eq for Progress {}

struct Unwatched;

impl Transfer for Unwatched {
    fn at(&self, _: u64) {}
}

/// Bytes that are read from their place in a transfer on.
pub(super) struct Watched<R> {
    pub reader: R,
    pub at: u64,
    pub transfer: Arc<dyn Transfer>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at += count as u64;
        self.transfer.at(self.at);
        Ok(count)
    }
}
