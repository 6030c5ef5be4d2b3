//! Each chunk exactly once, whatever the threads do.

use kiln_runtime::{Pool, Workers};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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
