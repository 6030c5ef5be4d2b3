//! Launches as a flat list of kernel calls, and the loop that makes them.

use super::{Usual, Workers};
use crate::device::{Bound, KernelFn, LaunchShape, Launches};
use crate::{Error, Result};
use kiln_core::call;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// Everything that the launches of one schedule pass to their kernels.
pub(super) struct Calls {
    steps: Vec<Step>,
    operands: Vec<*mut c_void>,
    meta: Vec<u64>,
    /// The two zero words that the calling convention asks for.
    sync: [AtomicU32; 2],
    workers: Arc<dyn Workers>,
}

struct Step {
    kernel: KernelFn,
    chunks: u32,
    /// Where its part of `operands` and of `meta` begins.
    operands: usize,
    meta: usize,
}

// SAFETY: the addresses point into memory that outlives the calls, as `run` is promised.
unsafe impl Send for Calls {}

/// One step's arguments, for whichever threads run its chunks.
struct Call<'a> {
    step: &'a Step,
    operands: *mut *mut c_void,
    meta: *mut u64,
    sync: *mut u32,
}

// SAFETY: kernels read the arguments and write disjoint parts of their outputs chunk by chunk; that is their contract
// (`kiln_core::KernelSpec`).
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    fn run(&self, chunk: u32) {
        assert!(chunk < self.step.chunks, "`Workers::run` was asked for chunks below {}", self.step.chunks);
        // SAFETY: `new` gave as many operands, arguments and words as the calling convention says; the rest is what `Calls::run` is
        // promised.
        unsafe { call::call(self.step.kernel, self.operands, chunk, self.sync, self.meta) }
    }
}

impl Calls {
    pub(super) fn new(launches: &Launches, kernels: &[KernelFn], workers: Arc<dyn Workers>) -> Result<Self> {
        let mut calls = Calls { steps: vec![], operands: vec![], meta: vec![], sync: Default::default(), workers };
        for (number, (launch, operands, args)) in launches.iter().enumerate() {
            let LaunchShape::Chunks(chunks) = launch.shape else {
                let (what, expected) = (format!("step {number}"), "chunks, on a CPU".into());
                return Err(Error::Plan { what, expected, found: "a grid".into() });
            };
            let kernel = *kernels.get(launch.kernel).ok_or_else(|| Error::Plan {
                what: format!("step {number}"),
                expected: format!("a kernel below {}", kernels.len()),
                found: launch.kernel.to_string(),
            })?;
            let step = Step { kernel, chunks, operands: calls.operands.len(), meta: calls.meta.len() };
            calls.operands.extend(operands.iter().map(|s| s.at.cast::<c_void>()));
            calls.meta.extend(call::meta(chunks, args, operands.len()));
            calls.steps.push(step);
        }
        Ok(calls)
    }

    fn steps(&self, cancel: Option<&AtomicBool>, mut after: Option<&mut dyn FnMut(usize, u64)>) -> Result<()> {
        let workers = &*self.workers;
        let _usual = Usual::set();
        for (number, step) in self.steps.iter().enumerate() {
            if cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                return Err(Error::Cancelled);
            }
            let start = after.is_some().then(Instant::now);
            let call = Call {
                step,
                operands: self.operands[step.operands..].as_ptr().cast_mut(),
                meta: self.meta[step.meta..].as_ptr().cast_mut(),
                sync: self.sync[0].as_ptr(),
            };
            if step.chunks == 1 {
                call.run(0);
            } else if workers.in_usual_environment() {
                workers.run(step.chunks, &|chunk| call.run(chunk));
            } else {
                workers.run(step.chunks, &|chunk| {
                    let _usual = Usual::set();
                    call.run(chunk);
                });
            }
            if let (Some(after), Some(start)) = (&mut after, start) {
                after(number, start.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }
}

impl Bound for Calls {
    /// In the usual floating-point environment, whatever this thread's program made of its own.
    unsafe fn run(&self, cancel: Option<&AtomicBool>, after: Option<&mut dyn FnMut(usize, u64)>) -> Result<()> {
        let (mut after, mut result) = (after, Ok(()));
        // `during_call` calls this once.
        self.workers.during_call(&mut || result = self.steps(cancel, after.take()));
        result
    }
}
