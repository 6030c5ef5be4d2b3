//! Memory for inputs and outputs, which the program and the device both read and write.

use super::{Device, Memory, Span, Touched};
use crate::Result;

/// One memory where the program reaches the device's, else one on either side.
pub(crate) struct Staging {
    device: Memory,
    /// The program's side, where it cannot reach the device's.
    program: Option<Memory>,
}

impl Staging {
    pub(crate) fn new(device: &dyn Device, bytes: u64, what: &'static str) -> Result<Self> {
        let memory = device.allocate(bytes, Touched::Wholly, what)?;
        let program = match memory.is_reachable() {
            true => None,
            false => Some(Memory::of_the_program(bytes, Touched::Wholly, what)?),
        };
        Ok(Staging { device: memory, program })
    }

    pub(crate) fn len(&self) -> u64 {
        self.device.len()
    }

    /// As kernels see it.
    pub(crate) fn span(&self, offset: u64, bytes: u64) -> Span {
        self.device.span(offset, bytes)
    }

    /// As the program sees it: what kernels wrote is there after [`fetch`](Self::fetch), and what the program writes is there for kernels after
    /// [`push`](Self::push).
    pub(crate) fn at(&self, offset: u64, bytes: u64) -> *mut u8 {
        self.program.as_ref().unwrap_or(&self.device).span(offset, bytes).at
    }

    /// Makes what the program wrote visible to kernels.
    ///
    /// # Safety
    /// Nobody writes that part meanwhile.
    pub(crate) unsafe fn push(&self, device: &dyn Device, offset: u64, bytes: u64) {
        if self.program.is_some() {
            // SAFETY: the part lies within the program's side, and nobody writes it.
            let from = unsafe { std::slice::from_raw_parts(self.at(offset, bytes), bytes as usize) };
            // SAFETY: the same part of the device's side.
            unsafe { device.write(from, self.span(offset, bytes)) };
        }
    }

    /// Makes what kernels wrote visible to the program.
    ///
    /// # Safety
    /// Nobody uses that part meanwhile.
    pub(crate) unsafe fn fetch(&self, device: &dyn Device, offset: u64, bytes: u64) {
        if self.program.is_some() {
            // SAFETY: the part lies within the program's side, and nobody uses it.
            let to = unsafe { std::slice::from_raw_parts_mut(self.at(offset, bytes), bytes as usize) };
            // SAFETY: the same part of the device's side.
            unsafe { device.read(self.span(offset, bytes), to) };
        }
    }
}
