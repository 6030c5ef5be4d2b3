//! The fuzzer's check of the text format, on its corpus, the filetests, and random mutations of both.

#[path = "../../../fuzz/checks/ir_text.rs"]
mod check;
#[path = "../../../fuzz/checks/mutate.rs"]
mod mutate;

#[test]
fn no_text_breaks_the_parser_or_the_verifier() {
    let inputs = mutate::inputs(&["fuzz/corpus/ir_text", "tests/filetests"]);
    inputs.iter().for_each(|(_, bytes)| check::ir_text(bytes));
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let (path, bytes) = &inputs[random.usize(..inputs.len())];
        let mutated = mutate::mutate(bytes, &inputs, &mut random);
        if std::panic::catch_unwind(|| check::ir_text(&mutated)).is_err() {
            panic!("a mutation of {}:\n{}", path.display(), String::from_utf8_lossy(&mutated));
        }
    }
}
