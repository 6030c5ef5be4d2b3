//! The threads that run the chunks of a step.
//!
//! Starting a step must cost well under a microsecond, for a decoder takes hundreds of steps per token. So idle workers spin for a
//! moment before they sleep, a launch is published by one atomic store, and chunks are claimed one at a time by whichever
//! thread is free. While workers spin, a launch makes no system call, takes no lock and allocates nothing.
//!
//! Several callers share a pool's threads: each takes a seat for a call, as many at once as the pool has threads, and computes on its
//! own thread; the workers that are left over help them all. So the machine has never more to do than it was given threads for.

use super::board::Board;
use super::fork;
use super::seats::Seats;
use crate::{Error, Result};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

    /// Whether [`run`](Self::run) sees to it that other threads than the caller's compute in the usual floating-point environment: to
    /// nearest, tiny numbers as they are, no traps. Where it does not, each chunk looks for itself.
    fn in_usual_environment(&self) -> bool {
        false
    }
}

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// A bounded pool: the caller and `threads - 1` workers, which spin briefly and then sleep. Nothing is pinned.
///
/// Calls of several sessions run side by side, as many as there are threads; more wait for their turn, in the order in which they
/// came. A pool of one thread has no workers, and its callers, each on its own thread, never wait.
///
/// In a process that was forked off, a pool starts workers of its own with the first launch.
pub struct Pool {
    threads: usize,
    /// Owned. Replaced in a forked process, where the old one stays: its threads and who holds its locks are not there.
    crew: AtomicPtr<Crew>,
}

/// The workers of one process.
struct Crew {
    /// The count of forks that they were started after.
    forks: u32,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    seats: Seats,
    /// For each seat.
    boards: Vec<Board>,
    /// For each worker, whether it sleeps, or is about to.
    asleep: Vec<AtomicBool>,
    sleepers: AtomicUsize,
    stop: AtomicBool,
}

thread_local! {
    /// The seat that this thread has, and of which crew.
    static SEAT: Cell<Option<(*const Shared, usize)>> = const { Cell::new(None) };
}

impl Pool {
    /// Starts `threads - 1` workers; 0 is for as many threads as the machine has.
    ///
    /// # Errors
    /// When that are more than any machine has, or the system gives no more threads.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = super::threads(Some(threads))?;
        let mut crew = Crew::new(threads);
        crew.start(threads)?;
        Ok(Pool { threads, crew: AtomicPtr::new(Box::into_raw(Box::new(crew))) })
    }

    /// The crew of this process.
    fn crew(&self) -> &Crew {
        let found = self.crew.load(Acquire);
        // SAFETY: a crew of this pool, and they are freed only with it.
        let crew = unsafe { &*found };
        if crew.forks == fork::forks() { crew } else { self.replace(found) }
    }

    /// Puts a crew of this process in the place of one that was left behind.
    #[cold]
    fn replace(&self, left_behind: *mut Crew) -> &Crew {
        let mut crew = Crew::new(self.threads);
        if let Err(error) = crew.start(self.threads) {
            // There is nobody to tell, and the caller computes alone as well.
            tracing::warn!(%error, "after a fork");
        }
        let crew = Box::into_raw(Box::new(crew));
        let kept = match self.crew.compare_exchange(left_behind, crew, AcqRel, Acquire) {
            Ok(_) => crew,
            Err(other) => {
                // SAFETY: made above, and shown to nobody.
                drop(unsafe { Box::from_raw(crew) });
                other
            }
        };
        // SAFETY: as in `crew`.
        unsafe { &*kept }
    }
}

impl Workers for Pool {
    fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) {
        if chunks > 1 && self.threads > 1 && self.crew().run(chunks, work) {
            return;
        }
        (0..chunks).for_each(work);
    }

    fn during_call(&self, body: &mut dyn FnMut()) {
        if self.threads == 1 {
            return body();
        }
        let shared = &*self.crew().shared;
        // A call within a call has its seat.
        let _seated = shared.own_seat().is_none().then(|| Seated::new(shared, shared.seats.take()));
        body();
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn in_usual_environment(&self) -> bool {
        true // `Board::take_part`
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool owns it, and nobody uses the pool any more.
        let crew = unsafe { Box::from_raw(*self.crew.get_mut()) };
        if crew.forks != fork::forks() {
            // There are no such threads to be joined here.
            std::mem::forget(crew);
        }
    }
}

impl Crew {
    fn new(threads: usize) -> Self {
        let workers = threads - 1;
        let shared = Shared {
            seats: Seats::new(threads),
            boards: (0..threads).map(|_| Board::new()).collect(),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        Crew { forks: fork::watch(), shared: Arc::new(shared), workers: vec![] }
    }

    fn start(&mut self, threads: usize) -> Result<()> {
        for worker in 0..threads - 1 {
            let (shared, number) = (self.shared.clone(), worker + 1);
            let started =
                std::thread::Builder::new().name(format!("kiln-{number}")).spawn(move || shared.serve(worker));
            self.workers.push(started.map_err(|source| Error::Thread { number, wanted: threads - 1, source })?);
        }
        Ok(())
    }

    /// Runs a launch with those workers that are not needed elsewhere; false where there are none.
    fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) -> bool {
        let shared = &*self.shared;
        let (seat, _seated) = match shared.own_seat() {
            Some(seat) => (seat, None),
            None => match shared.seats.try_take() {
                Some(seat) => (seat, Some(Seated::new(shared, seat))),
                None => return false,
            },
        };
        let helpers = self.workers.len().min(shared.boards.len() - shared.seats.taken());
        helpers > 0 && shared.boards[seat].run(chunks, work, || self.wake(helpers))
    }

    /// Wakes those of the first workers that sleep.
    fn wake(&self, helpers: usize) {
        // The others are asleep, or soon will be.
        if self.shared.sleepers.load(SeqCst) + helpers <= self.workers.len() {
            return;
        }
        for (worker, asleep) in self.workers[..helpers].iter().zip(&self.shared.asleep) {
            if asleep.load(SeqCst) && asleep.swap(false, SeqCst) {
                self.shared.sleepers.fetch_sub(1, SeqCst);
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of what it runs, so it has nothing to report.
            let _ = worker.join();
        }
    }
}

/// A thread that has a seat, and no more when this is dropped.
struct Seated<'a> {
    shared: &'a Shared,
    seat: usize,
    /// The seat in another pool, of a call within a call.
    before: Option<(*const Shared, usize)>,
}

impl<'a> Seated<'a> {
    fn new(shared: &'a Shared, seat: usize) -> Self {
        Seated { shared, seat, before: SEAT.replace(Some((std::ptr::from_ref(shared), seat))) }
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        SEAT.set(self.before);
        self.shared.seats.give_back(self.seat);
    }
}

impl Shared {
    /// This thread's seat.
    fn own_seat(&self) -> Option<usize> {
        SEAT.get().filter(|(shared, _)| std::ptr::eq(*shared, self)).map(|(_, seat)| seat)
    }

    /// Whether a worker is wanted: the callers leave threads for it.
    fn is_wanted(&self, worker: usize) -> bool {
        worker + self.seats.taken() < self.boards.len()
    }

    /// The boards that may hold a launch.
    fn boards(&self) -> &[Board] {
        &self.boards[..self.seats.end()]
    }

    fn has_work(&self, worker: usize) -> bool {
        self.is_wanted(worker) && self.boards().iter().any(Board::has_work)
    }

    /// A worker's life.
    fn serve(&self, worker: usize) {
        let mut idle_since = Instant::now();
        loop {
            // Workers begin with different callers.
            let boards = self.boards();
            let first = worker % boards.len().max(1);
            let ran: u32 =
                boards[first..].iter().chain(&boards[..first]).map(|b| b.take_part(|| self.is_wanted(worker))).sum();
            if ran > 0 {
                idle_since = Instant::now();
            }
            for _ in 0..64 {
                if self.has_work(worker) {
                    break;
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Relaxed) {
                return;
            }
            if idle_since.elapsed() > SPIN {
                self.sleep(worker);
                idle_since = Instant::now();
            }
        }
    }

    fn sleep(&self, worker: usize) {
        let asleep = &self.asleep[worker];
        asleep.store(true, SeqCst);
        self.sleepers.fetch_add(1, SeqCst);
        while !self.stop.load(SeqCst) && asleep.load(SeqCst) {
            if self.has_work(worker) {
                break;
            }
            std::thread::park();
        }
        if asleep.swap(false, SeqCst) {
            self.sleepers.fetch_sub(1, SeqCst);
        }
    }
}
