//! Each chunk exactly once, whatever the threads do.

use kiln_runtime::{Pool, Workers};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Runs a launch and asserts that each chunk ran once.
fn launch(pool: &Pool, chunks: u32, counts: &[AtomicU32]) {
    pool.run(chunks, &|i| {
        counts[i as usize].fetch_add(1, Relaxed);
    });
    for (i, count) in counts.iter().enumerate() {
        assert_eq!(count.swap(0, Relaxed), u32::from(i < chunks as usize), "chunk {i} of {chunks}");
    }
}

fn counts() -> Vec<AtomicU32> {
    (0..64).map(|_| AtomicU32::new(0)).collect()
}

#[test]
fn every_chunk_runs_once_in_a_hundred_thousand_launches() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        let counts = counts();
        for i in 0..100_000 {
            launch(&pool, i * 7 % 9, &counts);
        }
    }
}

#[test]
fn sleeping_workers_wake() {
    let pool = Pool::new(3).unwrap();
    let counts = counts();
    for i in 0..300 {
        std::thread::sleep(Duration::from_micros(i));
        launch(&pool, 64, &counts);
    }
}

#[test]
fn work_reaches_the_other_threads() {
    let pool = Pool::new(2).unwrap();
    let both = std::sync::Barrier::new(2);
    // Neither chunk returns before the other has begun.
    pool.run(2, &|_| {
        both.wait();
    });
}

#[test]
fn callers_on_many_threads_share_a_pool() {
    let pool = Pool::new(2).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let counts = counts();
                for i in 0..3000 {
                    pool.during_call(&mut || launch(&pool, i % 5, &counts));
                    launch(&pool, i % 5, &counts);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(2).unwrap();
    for chunk in 0..8 {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(8, &|i| assert_ne!(i, chunk, "on purpose"));
        }));
        assert!(panic.is_err());
        launch(&pool, 8, &counts());
    }
}

/// Has so many callers in calls of one pool at once; false where they do not meet.
fn meet(pool: &Pool, callers: u32) -> bool {
    let (inside, met) = (Mutex::new(0), Condvar::new());
    std::thread::scope(|scope| {
        let call = || {
            let mut all = false;
            pool.during_call(&mut || {
                let counts = counts();
                launch(pool, 9, &counts);
                let mut inside = inside.lock().unwrap();
                *inside += 1;
                met.notify_all();
                // Only a pool that lets one in at a time waits for this to pass.
                let (_inside, timeout) =
                    met.wait_timeout_while(inside, Duration::from_secs(10), |inside| *inside < callers).unwrap();
                all = !timeout.timed_out();
                launch(pool, 9, &counts);
            });
            all
        };
        let calls: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        calls.into_iter().all(|call| call.join().unwrap())
    })
}

#[test]
fn as_many_callers_as_threads_compute_at_once() {
    for (threads, callers) in [(1, 8), (2, 2), (4, 3), (4, 4)] {
        assert!(meet(&Pool::new(threads).unwrap(), callers), "{callers} callers of {threads} threads");
    }
}

#[test]
fn no_more_callers_than_threads_compute_at_once_and_all_have_their_turn() {
    let pool = Pool::new(2).unwrap();
    let (inside, most, calls) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let counts = counts();
                for i in 0..200 {
                    pool.during_call(&mut || {
                        most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                        // A call within a call needs no seat of its own.
                        pool.during_call(&mut || launch(&pool, i % 20, &counts));
                        calls.fetch_add(1, Relaxed);
                        inside.fetch_sub(1, Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(calls.into_inner(), 1600);
    assert!(most.into_inner() <= 2);
}

#[test]
fn workers_help_again_when_the_other_caller_has_gone() {
    let pool = Pool::new(2).unwrap();
    let (gone, other) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pool.during_call(&mut || {
                other.wait();
                launch(&pool, 8, &counts());
            });
            gone.wait();
        });
        pool.during_call(&mut || {
            other.wait();
            launch(&pool, 8, &counts());
            gone.wait();
            let both = std::sync::Barrier::new(2);
            pool.run(2, &|_| {
                both.wait();
            });
        });
    });
}

#[test]
fn callers_of_a_larger_pool_share_its_workers() {
    let pool = Pool::new(4).unwrap();
    let together = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pool.during_call(&mut || {
                    together.wait();
                    // Two callers leave two workers: each launch has at least its caller, and in time one of them.
                    let counts = counts();
                    for i in 0..5000 {
                        launch(&pool, i % 30, &counts);
                    }
                    together.wait();
                });
            });
        }
    });
}

#[test]
fn more_threads_than_any_machine_has_are_refused_at_once() {
    let error = Pool::new(100_000).err().unwrap().to_string();
    assert!(error.contains("100000 threads, expected at most"), "{error}");
    assert_eq!(Pool::new(0).unwrap().threads(), kiln_runtime::device::default_threads());
}
