//! The fuzzer's checks of artifacts and plans, on their corpus and random mutations of it.

#[path = "../../../fuzz/checks/artifact.rs"]
mod check;
#[path = "../../../fuzz/checks/entry.rs"]
pub mod entry;
#[path = "../../../fuzz/checks/mutate.rs"]
mod mutate;

use crate::toy;
use kiln_runtime::LoadOptions;
use std::path::PathBuf;

fn run(mut inputs: Vec<(PathBuf, Vec<u8>)>, more: Vec<u8>, count: usize, check: fn(&[u8])) {
    inputs.push(("the test's own".into(), more));
    inputs.iter().for_each(|(_, bytes)| check(bytes));
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..count {
        let (path, bytes) = &inputs[random.usize(..inputs.len())];
        let mutated = mutate::mutate(bytes, &inputs, &mut random);
        if std::panic::catch_unwind(|| check(&mutated)).is_err() {
            panic!("a mutation of {}:\n{}", path.display(), String::from_utf8_lossy(&mutated));
        }
    }
}

#[test]
fn no_bytes_break_the_loader() {
    run(mutate::inputs(&["fuzz/corpus/artifact"]), toy::artifact(), 5_000, check::artifact);
}

#[test]
fn no_plan_breaks_the_loader() {
    let plan = serde_json::to_vec(&toy::plan()).expect("JSON");
    run(mutate::inputs(&["fuzz/corpus/plan"]), plan, 5_000, check::plan);
}

#[test]
fn no_input_breaks_an_entry() {
    let model = toy::load(entry::with_ranges(toy::plan()), &LoadOptions::default()).expect("loads");
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..5_000 {
        let data: Vec<u8> = (0..random.usize(8..408)).map(|_| random.u8(..)).collect();
        entry::entry(&model, &data);
    }
}

/// The programs of the corpus that are plans of these tests.
#[test]
#[ignore = "writes the corpus"]
fn write_corpus() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let json = |plan| serde_json::to_vec(&plan).expect("JSON");
    std::fs::write(corpus.join("plan/decoder.json"), json(toy::plan())).expect("writes");
    std::fs::write(corpus.join("plan/encoder_decoder.json"), json(toy::encoder_decoder())).expect("writes");
    std::fs::write(corpus.join("artifact/decoder"), toy::artifact()).expect("writes");
}
