//! The threads that run the chunks of a step.
//!
//! Starting a step must cost well under a microsecond, for a decoder takes hundreds of steps per token. So idle workers spin for a
//! moment before they sleep, a launch is published by one atomic store, and chunks are claimed one at a time by whichever
//! thread is free. While workers spin, a launch makes no system call, takes no lock and allocates nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Who runs the chunks of a step. [`Pool`] is the default; a program with threads of its own implements this and passes it in
/// [`LoadOptions::workers`](crate::LoadOptions::workers).
pub trait Workers: Send + Sync {
    /// Calls `work(i)` exactly once for each i in `0..chunks`, in any order and on any threads, and returns when all have
    /// returned.
    fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync));

    /// Calls `body`, which will call [`run`](Self::run) many times: the place to reserve threads for a while.
    fn during_call(&self, body: &mut dyn FnMut()) {
        body();
    }

    /// How many threads take part, the caller among them.
    fn threads(&self) -> usize;
}

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// A bounded pool: the caller and `threads - 1` workers, which spin briefly and then sleep. Nothing is pinned.
///
/// One call at a time has the workers; calls of other sessions wait for their turn.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a call.
    turn: Mutex<()>,
    /// Held during a launch; a launch that finds it taken runs on its own thread alone.
    launching: AtomicBool,
}

/// One launch, on the stack of its caller.
struct Launch<'a> {
    work: &'a (dyn Fn(u32) + Sync),
    chunks: u32,
}

#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// Launch number (high half) and chunks not claimed yet (low half). Claiming is a compare-and-swap that takes one.
    ticket: Line<AtomicU64>,
    /// Chunks of this launch that have returned.
    done: Line<AtomicU32>,
    /// The launch that the ticket speaks of; dereferenced only by who holds a claim, and a launch outlives its claims.
    launch: AtomicPtr<Launch<'static>>,
    sleepers: AtomicU32,
    stop: AtomicBool,
    bed: Mutex<()>,
    wake: Condvar,
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

const UNCLAIMED: u64 = u32::MAX as u64;

impl Pool {
    /// Starts `threads - 1` workers; 0 is for as many threads as the machine has.
    ///
    /// # Errors
    /// When that are more than any machine has, or the system gives no more threads.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = super::threads(Some(threads))?;
        let shared = Arc::new(Shared {
            ticket: Line(AtomicU64::new(0)),
            done: Line(AtomicU32::new(0)),
            launch: AtomicPtr::new(std::ptr::null_mut()),
            sleepers: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            bed: Mutex::new(()),
            wake: Condvar::new(),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut pool = Pool { shared, workers: vec![], turn: Mutex::new(()), launching: AtomicBool::new(false) };
        for number in 1..threads {
            let shared = pool.shared.clone();
            let worker = std::thread::Builder::new()
                .name(format!("kiln-{number}"))
                .spawn(move || shared.serve())
                .map_err(|source| Error::Thread { number, wanted: threads - 1, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    fn launch(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) {
        let launch = Launch { work, chunks };
        let shared = &*self.shared;
        shared.done.0.store(0, Relaxed);
        shared.launch.store(std::ptr::from_ref(&launch).cast_mut().cast(), Relaxed);
        let number = (shared.ticket.0.load(Relaxed) >> 32).wrapping_add(1);
        // Sequentially consistent, against the worker that announces its sleep and then looks at the ticket once more.
        shared.ticket.0.store(number << 32 | u64::from(chunks), SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            // Taking the lock waits for a worker that has looked but does not sleep yet.
            drop(shared.bed.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        shared.take_part();
        let mut spins = 0u32;
        while shared.done.0.load(Acquire) != chunks {
            spins += 1;
            if spins < 2000 {
                std::hint::spin_loop();
            } else {
                // More threads than cores, or a chunk much longer than ours: let others run.
                std::thread::yield_now();
            }
        }
        // A panic of `work` goes on only here, when no thread looks at the launch any more.
        if shared.panicked.swap(false, Relaxed)
            && let Some(panic) = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            resume_unwind(panic);
        }
    }
}

impl Workers for Pool {
    fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) {
        if chunks <= 1 || self.workers.is_empty() || self.launching.swap(true, Acquire) {
            (0..chunks).for_each(work);
            return;
        }
        struct Launched<'a>(&'a AtomicBool);
        impl Drop for Launched<'_> {
            fn drop(&mut self) {
                self.0.store(false, Release);
            }
        }
        let _launched = Launched(&self.launching);
        self.launch(chunks, work);
    }

    fn during_call(&self, body: &mut dyn FnMut()) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        body();
    }

    fn threads(&self) -> usize {
        self.workers.len() + 1
    }
}

impl Shared {
    /// Claims and runs chunks of the current launch until none is left.
    fn take_part(&self) {
        let mut finished = 0;
        let mut ticket = self.ticket.0.load(Acquire);
        while ticket & UNCLAIMED != 0 {
            let launch = self.launch.load(Relaxed);
            match self.ticket.0.compare_exchange_weak(ticket, ticket - 1, AcqRel, Acquire) {
                Err(now) => ticket = now,
                Ok(_) => {
                    // SAFETY: the swap succeeded, so this launch has a chunk, ours, that is not done. Its caller returns only
                    // after all of its chunks are done, and only then is the pointer replaced: what was read before the swap is
                    // this launch, and it is alive.
                    let launch = unsafe { &*launch };
                    let chunk = launch.chunks - (ticket & UNCLAIMED) as u32;
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
    }

    /// A worker's life.
    fn serve(&self) {
        let mut idle_since = Instant::now();
        loop {
            if self.ticket.0.load(Acquire) & UNCLAIMED != 0 {
                self.take_part();
                idle_since = Instant::now();
            }
            for _ in 0..64 {
                if self.ticket.0.load(Relaxed) & UNCLAIMED != 0 {
                    break;
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Relaxed) {
                return;
            }
            if idle_since.elapsed() > SPIN {
                self.sleep();
                idle_since = Instant::now();
            }
        }
    }

    fn sleep(&self) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, SeqCst);
        while self.ticket.0.load(SeqCst) & UNCLAIMED == 0 && !self.stop.load(SeqCst) {
            bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        drop(self.shared.bed.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of what it runs, so it has nothing to report.
            let _ = worker.join();
        }
    }
}
