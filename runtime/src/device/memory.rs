//! Memory of a device, and where in it something lies.

use crate::{Error, Result};
use memmap2::{Advice, MmapOptions};
use std::any::Any;

/// Memory begins at a multiple of this at least.
const ALIGN: usize = 64;
/// From this size on memory asks for huge pages: faulting in half a gigabyte by 4 KiB takes longer than reading it.
const HUGE: u64 = 4 << 20;

/// How memory is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// All of it, soon.
    Wholly,
    /// Perhaps only in part: pages count only once they are written.
    Lazily,
}

/// A part of a device's memory.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its address as kernels see it. Only the device knows whether the program can reach it, too.
    pub at: *mut u8,
    /// Its length.
    pub bytes: u64,
}

/// Of no bytes.
pub const NOWHERE: Span = Span { at: std::ptr::null_mut(), bytes: 0 };

/// Memory of a device, let go when it is dropped.
pub struct Memory {
    base: *mut u8,
    len: u64,
    /// Whether the program reads and writes it by its addresses.
    reachable: bool,
    _owner: Option<Box<dyn Any + Send + Sync>>,
}

// SAFETY: memory owns what it points to, or is promised that it stays, and hands out only raw pointers; who dereferences them sees
// to their use.
unsafe impl Send for Memory {}
// SAFETY: as above; no method writes.
unsafe impl Sync for Memory {}

impl Memory {
    /// Memory at an address of a device; `owner` frees it when it is dropped. `reachable` says whether the program itself can use the
    /// address.
    pub fn new(span: Span, reachable: bool, owner: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Memory { base: span.at, len: span.bytes, reachable, _owner: owner }
    }

    /// Zeroed memory of the program's own, page aligned. `what` it is for is said where there is none.
    ///
    /// # Errors
    /// When memory is short.
    pub fn of_the_program(bytes: u64, touched: Touched, what: &'static str) -> Result<Self> {
        if bytes == 0 {
            let at = std::ptr::without_provenance_mut(ALIGN);
            return Ok(Self::new(Span { at, bytes }, true, None));
        }
        let failed = |source| Error::Memory { what, bytes, source };
        let len = usize::try_from(bytes)
            .ok()
            .filter(|n| isize::try_from(*n).is_ok())
            .ok_or_else(|| failed(std::io::ErrorKind::OutOfMemory.into()))?;
        let mut options = MmapOptions::new();
        options.len(len);
        if touched == Touched::Lazily {
            options.no_reserve_swap();
        }
        let mut map = options.map_anon().map_err(failed)?;
        if bytes >= HUGE && touched == Touched::Wholly {
            // Only advice: where the system knows no huge pages, small ones do.
            #[cfg(target_os = "linux")]
            let _ = map.advise(Advice::HugePage);
        }
        Ok(Self::new(Span { at: map.as_mut_ptr(), bytes }, true, Some(Box::new(map))))
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the program reads and writes it by its addresses.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// A part of it; the caller sees to it that there is such a one.
    pub fn span(&self, offset: u64, bytes: u64) -> Span {
        debug_assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= self.len),
            "{offset} + {bytes} of {}",
            self.len
        );
        Span { at: self.base.wrapping_add(offset as usize), bytes }
    }
}
