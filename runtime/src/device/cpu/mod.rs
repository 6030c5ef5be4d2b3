//! This machine's CPU: whether it runs some code ([`check()`]), the threads that run it ([`Pool`]), and how fast both are ([`rates`]).

mod board;
mod check;
mod float;
mod fork;
mod launches;
mod pool;
pub mod rates;
mod seats;
mod threads;

pub use check::check;
pub(crate) use float::Usual;
pub use pool::{Pool, Workers};
pub use threads::{default_threads, threads};

use super::{Bound, Device, Launches, Memory, Span, Touched};
use crate::artifact::Code;
use crate::{Error, Result};
use kiln_core::KernelEntry;
use kiln_core::call::KernelFn;
use std::sync::Arc;

/// A CPU with kernels.
pub struct Cpu {
    kernels: Vec<KernelFn>,
    workers: Arc<dyn Workers>,
    /// Keeps the kernels mapped.
    _code: Option<Code>,
}

impl Cpu {
    /// With the kernels of an image.
    ///
    /// # Errors
    /// When an entry does not lie in it.
    pub(crate) fn new(kernels: &[KernelEntry], code: Option<Code>, workers: Arc<dyn Workers>) -> Result<Self> {
        let entry = |kernel: &KernelEntry| {
            let address = code.as_ref().and_then(|c| c.at(kernel.entry)).ok_or_else(|| Error::Plan {
                what: format!("kernel `{}`", kernel.symbol),
                expected: "an entry within the image".into(),
                found: kernel.entry.to_string(),
            })?;
            // SAFETY: a function pointer is an address of code, and this one lies in the image, which is mapped executable for as
            // long as the device lives. That it is a kernel's entry is the word of the compiler that wrote the artifact.
            Ok(unsafe { std::mem::transmute::<*const u8, KernelFn>(address) })
        };
        let kernels = kernels.iter().map(entry).collect::<Result<Vec<_>>>()?;
        Ok(Cpu { kernels, workers, _code: code })
    }

    /// With functions of the program's own as kernels: for tests of the runtime alone.
    #[doc(hidden)]
    pub fn with_kernels(kernels: Vec<KernelFn>, workers: Arc<dyn Workers>) -> Self {
        Cpu { kernels, workers, _code: None }
    }
}

impl Device for Cpu {
    fn allocate(&self, bytes: u64, touched: Touched, what: &'static str) -> Result<Memory> {
        Memory::of_the_program(bytes, touched, what)
    }

    unsafe fn share(&self, bytes: &[u8]) -> Result<Memory> {
        Ok(Memory::new(Span { at: bytes.as_ptr().cast_mut(), bytes: bytes.len() as u64 }, true, None))
    }

    unsafe fn write(&self, from: &[u8], to: Span) {
        // SAFETY: as the caller promises; memory of this device is the program's own.
        unsafe { std::ptr::copy(from.as_ptr(), to.at, to.bytes as usize) };
    }

    unsafe fn read(&self, from: Span, to: &mut [u8]) {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from.at, to.as_mut_ptr(), from.bytes as usize) };
    }

    unsafe fn copy(&self, from: Span, to: Span) {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from.at, to.at, from.bytes as usize) };
    }

    fn bind(&self, launches: Launches) -> Result<Box<dyn Bound>> {
        Ok(Box::new(launches::Calls::new(&launches, &self.kernels, self.workers.clone())?))
    }

    fn threads(&self) -> usize {
        self.workers.threads()
    }
}
