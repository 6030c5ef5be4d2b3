//! A launch for whoever has time: published by one atomic store, its chunks claimed one at a time.

use super::Usual;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Mutex, PoisonError};

/// One launch, on the stack of its caller.
struct Launch<'a> {
    work: &'a (dyn Fn(u32) + Sync),
    chunks: u32,
}

#[repr(align(128))]
struct Line<T>(T);

/// Where one caller publishes its launches, one after the other.
pub(super) struct Board {
    /// Launch number (high half) and chunks not claimed yet (low half). Claiming is a compare-and-swap that takes one.
    ticket: Line<AtomicU64>,
    /// Chunks of this launch that have returned.
    done: Line<AtomicU32>,
    /// The launch that the ticket speaks of; dereferenced only by who holds a claim, and a launch outlives its claims.
    launch: AtomicPtr<Launch<'static>>,
    /// Held during a launch.
    busy: AtomicBool,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

const UNCLAIMED: u64 = u32::MAX as u64;

impl Board {
    pub fn new() -> Self {
        Board {
            ticket: Line(AtomicU64::new(0)),
            done: Line(AtomicU32::new(0)),
            launch: AtomicPtr::new(std::ptr::null_mut()),
            busy: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// Whether there is a chunk to claim.
    pub fn has_work(&self) -> bool {
        self.ticket.0.load(SeqCst) & UNCLAIMED != 0
    }

    /// Runs a launch: publishes it, calls `published`, and takes part until all chunks have returned. False, and nothing, where the board
    /// holds another launch: one that this one was called from.
    pub fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync), published: impl FnOnce()) -> bool {
        if self.busy.swap(true, Acquire) {
            return false;
        }
        struct Busy<'a>(&'a AtomicBool);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.store(false, Release);
            }
        }
        let _busy = Busy(&self.busy);
        let launch = Launch { work, chunks };
        self.done.0.store(0, Relaxed);
        self.launch.store(std::ptr::from_ref(&launch).cast_mut().cast(), Relaxed);
        let number = (self.ticket.0.load(Relaxed) >> 32).wrapping_add(1);
        // Sequentially consistent, against the worker that announces its sleep and then looks at the ticket once more.
        self.ticket.0.store(number << 32 | u64::from(chunks), SeqCst);
        published();
        self.take_part(|| true);
        let mut spins = 0u32;
        while self.done.0.load(Acquire) != chunks {
            spins += 1;
            if spins < 2000 {
                std::hint::spin_loop();
            } else {
                // More threads than cores, or a chunk much longer than ours: let others run.
                std::thread::yield_now();
            }
        }
        // A panic of `work` goes on only here, when no thread looks at the launch any more.
        if self.panicked.swap(false, Relaxed)
            && let Some(panic) = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            resume_unwind(panic);
        }
        true
    }

    /// Claims and runs chunks of the current launch until none is left, or `may` says no; how many. They run in the usual
    /// floating-point environment, whatever chunks of another launch have left this thread with.
    pub fn take_part(&self, may: impl Fn() -> bool) -> u32 {
        let mut finished = 0;
        let mut usual = None;
        let mut ticket = self.ticket.0.load(Acquire);
        while ticket & UNCLAIMED != 0 && may() {
            let launch = self.launch.load(Relaxed);
            match self.ticket.0.compare_exchange_weak(ticket, ticket - 1, AcqRel, Acquire) {
                Err(now) => ticket = now,
                Ok(_) => {
                    // SAFETY: the swap succeeded, so this launch has a chunk, ours, that is not done. Its caller returns only
                    // after all of its chunks are done, and only then is the pointer replaced: what was read before the swap is
                    // this launch, and it is alive.
                    let launch = unsafe { &*launch };
                    let chunk = launch.chunks - (ticket & UNCLAIMED) as u32;
                    usual.get_or_insert_with(Usual::set);
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (launch.work)(chunk))) {
                        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                        self.panicked.store(true, Relaxed);
                    }
                    finished += 1;
                    ticket = self.ticket.0.load(Acquire);
                }
            }
        }
        if finished > 0 {
            self.done.0.fetch_add(finished, Release);
        }
        finished
    }
}
