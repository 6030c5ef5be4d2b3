//! What the entries of an artifact accept: values that address something lie within what they address, whoever calls.

use crate::{golden, options};
use kiln::Task;
use kiln::lab::{trace, verify};
use kiln::{CompileOptions, LoadOptions, Model, ModelFiles, Session, SessionOptions, compile};
use kiln_ir::interp::Tensor;
use kiln_runtime::TensorView;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn compiled(name: &str) -> Arc<Model> {
    compiled_with(name, &Map::new())
}

/// With fields of its own in the config.
fn compiled_with(name: &str, fields: &Map<String, Value>) -> Arc<Model> {
    let mut files = ModelFiles::open_folder(&golden(name)).expect("opens");
    files.config.as_object_mut().expect("an object").extend(fields.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.kiln");
    compile(&files, &path, &options()).expect("compiles");
    Model::open(&path, &LoadOptions::default()).expect("loads")
}

struct Entries {
    session: Session,
}

impl Entries {
    fn of(name: &str) -> Self {
        let model = compiled(name);
        Entries { session: Session::new(&model, &SessionOptions::default()).expect("a session") }
    }

    fn with_cache(name: &str, sizes: &[(&str, i64)]) -> Self {
        Entries::cached(&compiled(name), sizes)
    }

    fn cached(model: &Arc<Model>, sizes: &[(&str, i64)]) -> Self {
        let sizes = sizes.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        Entries { session: Session::new(model, &SessionOptions { sizes }).expect("a session") }
    }

    fn call(&mut self, entry: &str, inputs: &[(&str, &[usize], &[i64])]) -> Result<(), String> {
        let views: Vec<_> = inputs.iter().map(|(n, shape, values)| (*n, TensorView::new(shape, values))).collect();
        self.session.call(entry, &views).map(|_| ()).map_err(|e| e.to_string())
    }

    fn takes(&mut self, entry: &str, inputs: &[(&str, &[usize], &[i64])]) {
        self.call(entry, inputs).unwrap_or_else(|e| panic!("{inputs:?}: {e}"));
    }

    fn refuses(&mut self, entry: &str, inputs: &[(&str, &[usize], &[i64])], expected: &str) {
        let found = self.call(entry, inputs).expect_err(expected);
        assert!(found.contains(expected), "{inputs:?}: {found}\nshould say {expected}");
    }
}

const EXTREMES: [i64; 5] = [-1, i64::MIN, i64::MAX, 1 << 40, 384];

#[test]
fn an_encoder_refuses_ids_types_and_positions_that_it_has_no_embedding_for() {
    let mut bert = Entries::of("bert-classify");
    bert.takes("forward", &[("input_ids", &[1, 3], &[0, 383, 7])]);
    for id in EXTREMES {
        let expected = format!(
            "signature `forward`, input `input_ids`: expected values from 0 to 383, found {id} at row 1, position 0"
        );
        bert.refuses("forward", &[("input_ids", &[2, 2], &[5, 6, id, 7])], &expected);
        // Where nobody looks at a token it has an embedding all the same, as in transformers.
        let masked: [(&str, &[usize], &[i64]); 2] =
            [("input_ids", &[2, 2], &[5, 6, id, 7]), ("attention_mask", &[2, 2], &[1, 1, 0, 1])];
        bert.refuses("forward", &masked, &expected);
    }
    let ids: (&str, &[usize], &[i64]) = ("input_ids", &[1, 3], &[5, 6, 7]);
    bert.takes("forward", &[ids, ("token_type_ids", &[1, 3], &[0, 1, 1])]);
    let types = "input `token_type_ids`: expected values from 0 to 1, found 2 at row 0, position 2";
    bert.refuses("forward", &[ids, ("token_type_ids", &[1, 3], &[0, 1, 2])], types);
    bert.takes("forward", &[ids, ("position_ids", &[1, 3], &[255, 0, 9])]);
    let positions = "input `position_ids`: expected values from 0 to 255, found 256 at row 0, position 0";
    bert.refuses("forward", &[ids, ("position_ids", &[1, 3], &[256, 0, 9])], positions);
    // A mask may hold anything, as in transformers.
    bert.takes("forward", &[ids, ("attention_mask", &[1, 3], &[7, -1, 0])]);
    let long = vec![5; 257];
    bert.refuses("forward", &[("input_ids", &[1, 257], &long)], "seq in 1..=256, found i64 [1, 257]");
}

#[test]
fn positions_that_only_turn_may_be_any_and_padding_has_its_own() {
    // No table of positions, and no types.
    let mut modernbert = Entries::of("modernbert-mlm");
    modernbert.takes("forward", &[("input_ids", &[1, 2], &[5, 383])]);
    modernbert.refuses("forward", &[("input_ids", &[1, 2], &[5, 384])], "found 384 at row 0, position 1");
    let mut llama = Entries::of("llama");
    let ids: (&str, &[usize], &[i64]) = ("input_ids", &[1, 2], &[5, 6]);
    llama.takes("forward", &[ids, ("position_ids", &[1, 2], &[-3, 100_000])]);
    // Positions are counted from the padding's id on: the longest text reaches the table's last row.
    let mut roberta = Entries::of("roberta-classify");
    let longest = vec![5; 254];
    roberta.takes("forward", &[("input_ids", &[1, 254], &longest)]);
    roberta.takes("forward", &[("input_ids", &[1, 4], &[1, 1, 5, 1])]);
    roberta.refuses("forward", &[("input_ids", &[1, 255], &[5; 255])], "seq in 1..=254, found i64 [1, 255]");
}

#[test]
fn learned_positions_end() {
    let mut gpt2 = Entries::of("gpt2");
    let ids: (&str, &[usize], &[i64]) = ("input_ids", &[1, 2], &[5, 6]);
    gpt2.takes("forward", &[ids, ("position_ids", &[1, 2], &[255, 0])]);
    gpt2.refuses(
        "forward",
        &[ids, ("position_ids", &[1, 2], &[0, 256])],
        "input `position_ids`: expected values from 0 to 255, found 256 at row 0, position 1",
    );
    gpt2.refuses("forward", &[("input_ids", &[1, 257], &[5; 257])], "seq in 1..=256, found i64 [1, 257]");
    let step = |start: i64| -> [(&str, &[usize], Vec<i64>); 3] {
        [("input_ids", &[1, 2], vec![5, 6]), ("slots", &[1], vec![0]), ("starts", &[1], vec![start])]
    };
    for (start, found) in [(254, None), (255, Some("values from -256 (-t) to 254 (t - s), found 255 at row 0"))] {
        let inputs = step(start);
        let inputs = inputs.each_ref().map(|(n, shape, values)| (*n, *shape, &values[..]));
        match found {
            None => gpt2.takes("step", &inputs),
            Some(found) => gpt2.refuses("step", &inputs, found),
        }
    }
}

#[test]
fn a_step_names_rows_of_the_cache_and_leaves_none() {
    let mut llama = Entries::with_cache("llama", &[("rows", 3), ("t", 16)]);
    let ids: (&str, &[usize], &[i64]) = ("input_ids", &[2, 2], &[5, 6, 7, 8]);
    let zeros: (&str, &[usize], &[i64]) = ("starts", &[2], &[0, 0]);
    llama.takes("step", &[ids, ("slots", &[2], &[2, 0]), zeros]);
    for slot in [-7, -1, 3, 1 << 40, i64::MIN, i64::MAX] {
        let expected = format!(
            "signature `step`, input `slots`: expected different values from 0 to 2 (rows - 1), found {slot} at row 1"
        );
        llama.refuses("step", &[ids, ("slots", &[2], &[0, slot]), zeros], &expected);
    }
    // Two rows that write to one slot would overwrite each other.
    llama.refuses("step", &[ids, ("slots", &[2], &[1, 1]), zeros], "found 1 at row 0 and again at row 1");
    let slots: (&str, &[usize], &[i64]) = ("slots", &[2], &[0, 1]);
    for starts in [[14, 0], [-1, 3], [-16, 14]] {
        llama.takes("step", &[ids, slots, ("starts", &[2], &starts)]);
    }
    for start in [15, 1 << 40, i64::MAX, -17, i64::MIN] {
        let expected = format!("input `starts`: expected values from -16 (-t) to 14 (t - s), found {start} at row 1");
        llama.refuses("step", &[ids, slots, ("starts", &[2], &[0, start])], &expected);
    }
    llama.refuses("step", &[("input_ids", &[2, 2], &[5, 6, 7, 384]), slots, zeros], "found 384 at row 1, position 1");
}

/// Where rotary embedding follows the length of the sequence, a length that no sequence can have gives frequencies that mean nothing.
#[test]
fn a_sequence_has_a_length() {
    let dynamic = json!({"type": "dynamic", "factor": 2.0});
    let factors = json!(vec![1.5; 8]);
    let longrope = json!({"type": "longrope", "short_factor": factors, "long_factor": factors});
    for (name, fields) in [
        ("llama", json!({"rope_scaling": dynamic})),
        ("llama", json!({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}})),
        ("phi3", json!({"rope_scaling": longrope, "original_max_position_embeddings": 8})),
    ] {
        let model = compiled_with(name, fields.as_object().expect("fields"));
        let mut entries = Entries::cached(&model, &[("rows", 3), ("t", 16)]);
        let ids: (&str, &[usize], &[i64]) = ("input_ids", &[2, 2], &[5, 6, 7, 8]);
        let (slots, starts): ((_, &[usize], &[i64]), _) = (("slots", &[2], &[2, 0]), ("starts", &[2][..], &[0, 3][..]));
        for lengths in [[5, 5], [2, 5], [16, 1], [32, 32]] {
            entries.takes("step", &[ids, slots, starts, ("lengths", &[2], &lengths)]);
        }
        for length in [0, -7, 33, 1 << 40, i64::MIN, i64::MAX] {
            let expected = format!("input `lengths`: expected values from 1 to 32 (2*t), found {length} at row 1");
            entries.refuses("step", &[ids, slots, starts, ("lengths", &[2], &[5, length])], &expected);
        }
    }
}

#[test]
fn an_encoder_decoder_checks_both_texts_and_the_slots_of_sources() {
    for name in ["t5", "bart"] {
        let mut model = Entries::with_cache(name, &[("rows", 2), ("src", 4)]);
        let ids: (&str, &[usize], &[i64]) = ("input_ids", &[1, 2], &[5, 6]);
        model.takes("forward", &[ids, ("decoder_input_ids", &[1, 1], &[383])]);
        model.refuses(
            "forward",
            &[ids, ("decoder_input_ids", &[1, 3], &[0, 5, 384])],
            "input `decoder_input_ids`: expected values from 0 to 383, found 384 at row 0, position 2",
        );
        model.refuses("forward", &[("input_ids", &[1, 1], &[-1]), ("decoder_input_ids", &[1, 1], &[0])], "found -1");
        model.takes("encode", &[ids, ("slots", &[1], &[1])]);
        model.refuses("encode", &[ids, ("slots", &[1], &[2])], "from 0 to 1 (rows - 1), found 2 at row 0");
        model.refuses("encode", &[("input_ids", &[1, 2], &[5, 400]), ("slots", &[1], &[1])], "found 400");
        // A source is kept whole or not at all.
        model.refuses("encode", &[("input_ids", &[1, 5], &[5; 5]), ("slots", &[1], &[1])], "src = 4");
        let (slots, starts): ((&str, &[usize], &[i64]), _) = (("slots", &[1], &[2]), ("starts", &[1][..], &[0][..]));
        model.refuses("step", &[ids, slots, starts], "input `slots`");
    }
}

/// The interpreter says what the artifact says.
#[test]
fn the_interpreter_refuses_what_the_program_refuses() {
    for (name, task, input) in [
        ("bert-classify", Task::SequenceClassification, "token_type_ids"),
        ("t5", Task::Seq2SeqLm, "decoder_input_ids"),
        ("llama", Task::CausalLm, "input_ids"),
    ] {
        let mut session = Session::new(&compiled(name), &SessionOptions::default()).expect("a session");
        let files = ModelFiles::open_folder(&golden(name)).expect("opens");
        let traced = trace(&files, &CompileOptions { task: Some(task), ..options() }).expect("traces");
        let mut inputs = verify::made_up_inputs(&traced.module, 3).expect("ids");
        inputs.retain(|(n, _)| n != input);
        inputs.push((input.into(), Tensor::from_i64([1, 3], &[0, 1, 384]).expect("a tensor")));
        let run = verify::call(&mut session, "forward", &inputs).expect_err(name).to_string();
        let interpreted = verify::interpret(&traced.module, "forward", &files.checkpoint, &inputs, &[]);
        for message in [run, interpreted.expect_err(name).to_string()] {
            assert!(message.contains(&format!("`{input}`: expected values from 0 to")), "{name}: {message}");
            assert!(message.contains("found 384 at row 0, position 2"), "{name}: {message}");
        }
    }
}
