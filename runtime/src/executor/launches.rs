//! A schedule bound to sizes and addresses: a flat list of kernel calls, and the loop that makes them.

use super::spans::{Span, Spans};
use crate::device::{KernelFn, Usual, Workers};
use crate::memory::unsized_buffer;
use crate::{Error, Result};
use kiln_core::{Buffer, Dim, Plan, Schedule, call};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// Everything that the steps of one schedule pass to their kernels.
#[derive(Default)]
pub(super) struct Launches {
    steps: Vec<Launch>,
    operands: Vec<*mut c_void>,
    meta: Vec<u64>,
    /// The two zero words that the calling convention asks for.
    sync: [AtomicU32; 2],
}

struct Launch {
    kernel: KernelFn,
    chunks: u32,
    /// Where its part of `operands` and of `meta` begins.
    operands: usize,
    meta: usize,
}

// SAFETY: the addresses point into regions that outlive the launches (a model's or a session's); `run` is called by their owner.
unsafe impl Send for Launches {}

/// One launch's arguments, for whichever threads run its chunks.
struct Call<'a> {
    launch: &'a Launch,
    operands: *mut *mut c_void,
    meta: *mut u64,
    sync: *mut u32,
}

// SAFETY: kernels read the arguments and write disjoint parts of their outputs chunk by chunk; that is their contract
// (`kiln_core::KernelSpec`).
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    fn run(&self, chunk: u32) {
        assert!(chunk < self.launch.chunks, "`Workers::run` was asked for chunks below {}", self.launch.chunks);
        // SAFETY: the kernel's code is that of this plan, made for this machine (`cpu::check`); `bind` gave as many operands,
        // arguments and words as the calling convention says, and the buffers are as large as `Spans` found the kernel
        // to need.
        unsafe { call::call(self.launch.kernel, self.operands, chunk, self.sync, self.meta) }
    }
}

impl Launches {
    /// Evaluates each step of a checked schedule, and holds what its kernels touch against their buffers. `span` says where a buffer is, and
    /// `results` which buffers must be filled.
    pub(super) fn bind(
        plan: &Plan,
        schedule: &Schedule,
        kernels: &[KernelFn],
        size: &dyn Fn(&str) -> Option<i64>,
        span: &dyn Fn(Buffer) -> Span,
        results: impl Iterator<Item = Buffer>,
    ) -> Result<Self> {
        let mut launches = Launches::default();
        let mut checked = Spans::new(plan, schedule);
        let (mut spans, mut args) = (vec![], vec![]);
        for step in &schedule.steps {
            let eval = |what: &str, dim: &Dim| {
                dim.eval(size).map_err(|e| unsized_buffer(&format!("step `{}`, {what} {dim}", step.label), &e))
            };
            let chunks = eval("chunks", &step.chunks)?;
            args.clear();
            for arg in &step.args {
                args.push(eval("argument", arg)?);
            }
            spans.clear();
            spans.extend(step.operands.iter().map(|b| span(*b)));
            checked.step(step, &args, chunks, &spans)?;
            let launch = Launch {
                kernel: kernels[step.kernel as usize],
                chunks: chunks as u32,
                operands: launches.operands.len(),
                meta: launches.meta.len(),
            };
            launches.operands.extend(spans.iter().map(|s| s.at.cast::<c_void>()));
            launches.meta.extend(call::meta(launch.chunks, &args, step.operands.len()));
            launches.steps.push(launch);
        }
        checked.finish(results.map(|buffer| (buffer, span(buffer).bytes)))?;
        Ok(launches)
    }

    /// Runs the steps in order, in the usual floating-point environment whatever this thread's program made of its own.
    /// `cancel` is looked at before each; `after` is told the number of each that ran, and the nanoseconds it took.
    pub(super) fn run(
        &self,
        workers: &dyn Workers,
        cancel: Option<&AtomicBool>,
        mut after: Option<&mut dyn FnMut(usize, u64)>,
    ) -> Result<()> {
        let _usual = Usual::set();
        for (number, launch) in self.steps.iter().enumerate() {
            if cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                return Err(Error::Cancelled);
            }
            let start = after.is_some().then(Instant::now);
            let call = Call {
                launch,
                operands: self.operands[launch.operands..].as_ptr().cast_mut(),
                meta: self.meta[launch.meta..].as_ptr().cast_mut(),
                sync: self.sync[0].as_ptr(),
            };
            if launch.chunks == 1 {
                call.run(0);
            } else if workers.in_usual_environment() {
                workers.run(launch.chunks, &|chunk| call.run(chunk));
            } else {
                workers.run(launch.chunks, &|chunk| {
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
