//! An image of machine code, mapped.

use memmap2::Mmap;

/// Executable memory.
pub(crate) struct Code {
    pub(super) map: Mmap,
}

impl Code {
    /// The address of a byte of the image.
    pub(crate) fn at(&self, offset: u64) -> Option<*const u8> {
        usize::try_from(offset).ok().and_then(|o| self.map.get(o)).map(std::ptr::from_ref)
    }
}
