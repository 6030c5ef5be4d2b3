//! Processes that are forked off: they have the memory of their parent and none of its threads.

use crate::toy;
use kiln_runtime::{LoadOptions, Pool, Session, SessionOptions, TensorView, Workers};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: i32) -> !;
}

/// Whether `work` comes to its end, without a panic, in a process that is forked off.
fn succeeds_in_a_fork(work: impl FnOnce()) -> bool {
    // SAFETY: the child does what the parent could, but for what other threads hold, which is what this is about; it leaves by
    // `_exit`, or by the alarm where it hangs.
    unsafe {
        let child = fork();
        assert!(child >= 0);
        if child == 0 {
            alarm(30);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            _exit(i32::from(result.is_err()));
        }
        let mut status = 0;
        assert_eq!(waitpid(child, &mut status, 0), child);
        status == 0
    }
}

/// Launches of which every chunk has to run once.
fn launches(pool: &Pool) {
    for chunks in 0..200 {
        let count = AtomicU32::new(0);
        pool.run(chunks, &|_| _ = count.fetch_add(1, Relaxed));
        assert_eq!(count.into_inner(), chunks);
    }
}

#[test]
fn a_child_has_workers_of_its_own_whatever_the_others_did() {
    let pool = Arc::new(Pool::new(3).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let (pool, stop) = (pool.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    pool.during_call(&mut || pool.run(100, &|_| _ = std::hint::black_box(0)));
                }
            })
        })
        .collect();
    for child in 0..24 {
        let succeeds = succeeds_in_a_fork(|| {
            launches(&pool);
            pool.during_call(&mut || launches(&pool));
            let all = Barrier::new(3);
            pool.run(3, &|_| _ = all.wait());
            // Dropped though threads of the parent have it: they are not here.
            for _ in 0..Arc::strong_count(&pool) {
                // SAFETY: this process ends before anything else looks at it.
                drop(unsafe { std::ptr::read(&pool) });
            }
        });
        assert!(succeeds, "child {child}");
    }
    stop.store(true, Relaxed);
    others.into_iter().for_each(|other| other.join().unwrap());
    launches(&pool);
}

#[test]
fn an_idle_pool_is_dropped_in_a_child() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).unwrap();
        launches(&pool);
        // SAFETY: as above.
        assert!(succeeds_in_a_fork(|| drop(unsafe { std::ptr::read(&pool) })), "{threads} threads");
        // A grandchild has a crew of its own too.
        assert!(succeeds_in_a_fork(|| {
            launches(&pool);
            assert!(succeeds_in_a_fork(|| launches(&pool)));
        }));
        launches(&pool);
    }
}

#[test]
fn a_model_answers_in_a_child() {
    let model = toy::load(toy::plan(), &LoadOptions { threads: Some(2), ..LoadOptions::default() }).unwrap();
    let answer = || {
        let mut session = Session::new(&model, &SessionOptions { sizes: vec![("rows".into(), 3)] }).unwrap();
        let (shape, ids) = ([2, 3], [1i64, 2, 3, 4, 5, 6]);
        let outputs = session.call("step", &[("input_ids", TensorView::new(&shape, &ids))]).unwrap();
        outputs.get("logits").unwrap().as_slice::<f32>().unwrap().to_vec()
    };
    let here = answer();
    assert!(succeeds_in_a_fork(|| assert_eq!(answer(), here)));
}
