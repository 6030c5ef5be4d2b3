//! What a caller does to the floating-point environment of its thread.

use crate::{golden, options};
use kiln::lab::verify;
use kiln::{LoadOptions, Model, ModelFiles, Session, SessionOptions};
use kiln_runtime::Workers;
use std::arch::asm;
use std::sync::Arc;

/// MXCSR's modes in a new process; its lowest bits note what happened.
const USUAL: u32 = 0x1f80;

fn modes() -> u32 {
    let mut word = 0u32;
    // SAFETY: writes the register to `word`.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut word, options(nostack)) };
    word & 0xffc0
}

fn set_modes(word: u32) {
    // SAFETY: callers give modes that the processor has, and nothing else is computed before they are set back.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack)) };
}

/// The bytes of a golden's outputs, computed under these modes of this thread, which come back.
fn outputs(model: &Arc<Model>, word: u32) -> Vec<Vec<u8>> {
    let inputs = verify::read_tensors(&golden("llama").join("golden.safetensors"), "in.").expect("inputs");
    let mut session = Session::new(model, &SessionOptions::default()).expect("a session");
    set_modes(word);
    let outputs = verify::call(&mut session, "forward", &inputs);
    let after = modes();
    set_modes(USUAL);
    assert_eq!(after, word, "the caller's modes come back");
    outputs.expect("runs").into_iter().map(|(_, tensor)| tensor.bytes().to_vec()).collect()
}

/// A program's own threads, each with these modes.
struct Own(u32);

impl Workers for Own {
    fn run(&self, chunks: u32, work: &(dyn Fn(u32) + Sync)) {
        std::thread::scope(|scope| {
            for half in [0..chunks / 2, chunks / 2..chunks] {
                scope.spawn(move || {
                    set_modes(self.0);
                    half.for_each(work);
                    let after = modes();
                    set_modes(USUAL);
                    assert_eq!(after, self.0, "the thread's modes come back");
                });
            }
        });
    }

    fn threads(&self) -> usize {
        2
    }
}

#[test]
fn results_do_not_depend_on_the_callers_modes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.kiln");
    let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
    kiln::compile(&files, &path, &options()).expect("compiles");
    let model = |threads| Model::open(&path, &LoadOptions { threads: Some(threads), ..LoadOptions::default() });
    let want = outputs(&model(1).expect("loads"), USUAL);
    // Up, down, to zero; tiny numbers as zero, going in and coming out.
    for word in [0x5f80, 0x3f80, 0x7f80, 0x9fc0] {
        for threads in [1, 2, 3] {
            // Weights are prepared, and workers started, under the caller's modes too.
            set_modes(word);
            let model = model(threads);
            set_modes(USUAL);
            let model = model.expect("loads");
            for _ in 0..5 {
                assert_eq!(outputs(&model, word), want, "{threads} threads, MXCSR {word:x}");
            }
        }
        let own = LoadOptions { workers: Some(Arc::new(Own(word))), ..LoadOptions::default() };
        let model = Model::open(&path, &own).expect("loads");
        assert_eq!(outputs(&model, USUAL), want, "threads of the program's, MXCSR {word:x}");
    }
}
