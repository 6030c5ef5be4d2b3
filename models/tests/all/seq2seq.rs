//! The encoder-decoders, traced and evaluated by the interpreter, against what transformers computes and generates.

use crate::support::traced::{Model, Tensors, i64s, named, recorded, renamed, rows_of};
use crate::support::{assert_says, folder, golden};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_ir::{ArgKind, DType, Dim};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::source::ModelFiles;
use serde_json::{Value, json};

const GOLDENS: [&str; 2] = ["t5", "bart"];
/// Those with an output projection of their own: tests/goldens/heads.py.
const UNTIED: [&str; 2] = ["mt5", "t5-v1_1"];

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    let error = relative_error(got, want);
    assert!(error < 1e-4, "{what}: {error:e}");
}

/// Empty states: rows of `t` tokens, and of `src` for the encoder's.
fn empty_states(model: &Model, rows: usize, t: usize, src: usize) -> Tensors {
    let size = |dim: &Dim| match dim.as_symbol().map(|s| &**s) {
        Some("rows") => rows,
        Some("t") => t,
        Some("src") => src,
        _ => dim.as_const().expect("a size") as usize,
    };
    let step = model.traced.module.find("step").expect("step").1;
    let states = step.args.iter().filter(|arg| arg.kind == ArgKind::State);
    let empty = |ty: &kiln_ir::TensorType| {
        Tensor::zeros(ty.dtype().expect("dense"), ty.shape.iter().map(size).collect::<Vec<_>>()).expect("fits")
    };
    states.map(|arg| (arg.name.to_string(), empty(&arg.ty))).collect()
}

fn encode(model: &Model, ids: &Tensor, mask: &Tensor, slots: &[i64], states: &mut Tensors) {
    let slots = i64s([slots.len()], slots);
    let inputs = named([("input_ids", ids.clone()), ("attention_mask", mask.clone()), ("slots", slots)]);
    assert!(model.run("encode", &inputs, states).is_empty(), "encode leaves states only");
}

/// The logits of each row's last token.
fn step(model: &Model, rows: &[Vec<i64>], slots: &[i64], starts: &[i64], states: &mut Tensors) -> Tensor {
    let inputs = [
        ("input_ids", i64s([rows.len(), rows[0].len()], &rows.concat())),
        ("slots", i64s([rows.len()], slots)),
        ("starts", i64s([rows.len()], starts)),
    ];
    model.run("step", &named(inputs), states).remove("logits").expect("logits")
}

#[test]
fn forward_gives_transformers_logits() {
    for name in GOLDENS.into_iter().chain(UNTIED) {
        let model = Model::golden(name);
        assert_eq!(model.traced.unused_tensors, [""; 0], "{name}");
        let got = model.forward(&recorded(name, "in."));
        assert_close(&got["logits"], &recorded(name, "out.")["logits"], name);
    }
}

#[test]
fn encode_and_step_generate_what_transformers_generates() {
    for name in GOLDENS.into_iter().chain(UNTIED) {
        let (model, inputs) = (Model::golden(name), recorded(name, "in."));
        let expected: Value =
            serde_json::from_slice(&std::fs::read(golden(name).join("golden.json")).unwrap()).unwrap();
        let id = |field: &str| model.config[field].as_i64().unwrap();
        let (eos, pad) = (id("eos_token_id"), id("pad_token_id"));
        let slots = [2, 0];
        let mut states = empty_states(&model, 3, 24, 11);
        encode(&model, &inputs["input_ids"], &inputs["attention_mask"], &slots, &mut states);
        let mut sequences = vec![vec![id("decoder_start_token_id")]; 2];
        let mut done = [false; 2];
        for start in 0..24 {
            let last: Vec<Vec<i64>> = sequences.iter().map(|ids| ids[ids.len() - 1..].to_vec()).collect();
            let logits = step(&model, &last, &slots, &[start, start], &mut states);
            for (row, logits) in logits.to_f32_vec().chunks(logits.shape()[1]).enumerate() {
                let best = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
                let next = if done[row] { pad } else { (0..logits.len()).fold(0, best) as i64 };
                done[row] |= next == eos;
                sequences[row].push(next);
            }
        }
        assert_eq!(json!(sequences), expected["greedy"], "{name}");
    }
}

#[test]
fn the_heads_of_bart_give_what_transformers_gives() {
    for (name, outputs) in [("bart-classify", &["logits"][..]), ("bart-qa", &["end_logits", "start_logits"])] {
        let model = Model::golden(name);
        assert_eq!(model.traced.unused_tensors, [""; 0], "{name}");
        let (got, want) = (model.forward(&recorded(name, "in.")), recorded(name, "out."));
        assert_eq!(got.keys().collect::<Vec<_>>(), outputs);
        outputs.iter().for_each(|output| assert_close(&got[*output], &want[*output], name));
    }
    assert_eq!(Model::golden("bart-classify").forward(&recorded("bart-classify", "in."))["logits"].shape(), [2, 4]);
    let task = Some(Task::SequenceClassification);
    let error = Model::changed("bart-qa", task, |_| ()).map(|_| ());
    assert_says(error, &["no head for sequence classification", "classification_head.dense.weight"]);
    // Without labels in the config there are three, as transformers has it.
    let fewer = Model::changed("bart-classify", task, |config| config["id2label"] = Value::Null).map(|_| ());
    assert_says(fewer, &["classification_head.out_proj.weight", "[3, 32]", "[4, 32]"]);
}

#[test]
fn a_step_of_several_tokens_agrees_with_forward() {
    for name in GOLDENS {
        let (model, inputs) = (Model::golden(name), recorded(name, "in."));
        let mut states = empty_states(&model, 2, 9, 16);
        encode(&model, &inputs["input_ids"], &inputs["attention_mask"], &[0, 1], &mut states);
        let rows = rows_of(&inputs["decoder_input_ids"]);
        let part = |range: std::ops::Range<usize>| rows.iter().map(|r| r[range.clone()].to_vec()).collect::<Vec<_>>();
        step(&model, &part(0..2), &[0, 1], &[0, 0], &mut states);
        let got = step(&model, &part(2..5), &[0, 1], &[2, 2], &mut states);
        let all = recorded(name, "out.")["logits"].to_f32_vec();
        let last: Vec<f32> = all.chunks(5 * 384).flat_map(|row| row[4 * 384..].to_vec()).collect();
        assert_close(&got, &Tensor::from_f32([2, 384], &last).unwrap(), name);
    }
}

#[test]
fn a_slot_forgets_the_longer_source_that_it_had() {
    for name in GOLDENS {
        let model = Model::golden(name);
        let first_token = |states: &mut Tensors| step(&model, &[vec![2]], &[0], &[0], states);
        let source = |ids: &[i64], states: &mut Tensors| {
            encode(&model, &i64s([1, ids.len()], ids), &i64s([1, ids.len()], &vec![1; ids.len()]), &[0], states);
        };
        let (mut fresh, mut used) = (empty_states(&model, 1, 4, 8), empty_states(&model, 1, 4, 8));
        source(&[5, 6, 7], &mut fresh);
        source(&[30, 31, 32, 33, 34, 35], &mut used);
        let other = first_token(&mut used);
        source(&[5, 6, 7], &mut used);
        assert_eq!(first_token(&mut used), first_token(&mut fresh), "{name}");
        assert_ne!(other, first_token(&mut fresh), "{name}");
    }
}

#[test]
fn padding_of_the_source_is_not_seen() {
    for name in GOLDENS {
        let model = Model::golden(name);
        let inputs = |ids: &[i64], mask: &[i64]| {
            named([
                ("input_ids", i64s([1, ids.len()], ids)),
                ("attention_mask", i64s([1, mask.len()], mask)),
                ("decoder_input_ids", i64s([1, 2], &[2, 9])),
            ])
        };
        let alone = model.forward(&inputs(&[5, 6, 7], &[1, 1, 1]));
        let padded = model.forward(&inputs(&[5, 6, 7, 0, 0], &[1, 1, 1, 0, 0]));
        assert_close(&padded["logits"], &alone["logits"], name);
    }
}

#[test]
fn layers_are_one_function_of_each_kind() {
    let names = |name: &str| -> Vec<String> {
        Model::golden(name).traced.module.functions.iter().map(|f| f.name.to_string()).collect()
    };
    for (name, part) in [("t5", "block"), ("bart", "layer")] {
        let expected = [
            format!("forward.encoder_{part}"),
            format!("forward.decoder_{part}"),
            "forward".to_string(),
            format!("encode.encoder_{part}"),
            "encode".to_string(),
            format!("step.decoder_{part}"),
            "step".to_string(),
        ];
        assert_eq!(names(name), expected);
    }
}

#[test]
fn an_output_projection_of_its_own_is_not_scaled() {
    // An embedding times a power of two and an output projection alike, without scaling: the logits of the tied model, times 8.
    let untied = |c: &mut Value| {
        c["tie_word_embeddings"] = false.into();
        c["scale_decoder_outputs"] = Value::Null;
    };
    let both = folder();
    renamed("t5", both.path(), |n| match n {
        "shared.weight" => vec!["shared.weight".to_string(), "lm_head.weight".to_string()],
        _ => vec![n.to_string()],
    });
    let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(both.path()).unwrap();
    untied(&mut config);
    let traced = trace(None, &config, &checkpoint, &TraceOptions::default()).unwrap();
    assert_eq!(traced.unused_tensors, [""; 0]);
    let got = Model { config, checkpoint, traced }.forward(&recorded("t5", "in."))["logits"].to_f32_vec();
    let scaled: Vec<f32> = got.iter().map(|x| x / 8.0).collect();
    assert_close(&Tensor::from_f32([2, 5, 384], &scaled).unwrap(), &recorded("t5", "out.")["logits"], "an eighth");
}

#[test]
fn bart_without_prefix_and_bias_is_read() {
    let bare = folder();
    renamed("bart", bare.path(), |n| n.strip_prefix("model.").map(str::to_string).into_iter().collect());
    let ModelFiles { config, checkpoint, .. } = ModelFiles::open_folder(bare.path()).unwrap();
    let traced = trace(None, &config, &checkpoint, &TraceOptions::default()).unwrap();
    let got = Model { config, checkpoint, traced }.forward(&recorded("bart", "in."))["logits"].to_f32_vec();
    let bias = Model::golden("bart").checkpoint.to_f32("final_logits_bias").unwrap();
    let logits: Vec<f32> = got.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect();
    assert_close(&Tensor::from_f32([2, 5, 384], &logits).unwrap(), &recorded("bart", "out.")["logits"], "bare");
}

#[test]
fn bart_may_scale_its_embedding() {
    // Eight times the embedding in the encoder and the decoder alone is a scale of the root of 64.
    let scaled = Model::changed("bart", None, |c| c["scale_embedding"] = true.into()).unwrap();
    let plain = Model::golden("bart");
    let inputs = recorded("bart", "in.");
    assert_ne!(scaled.forward(&inputs), plain.forward(&inputs));
}

#[test]
fn bad_configs_are_refused() {
    let cases = [
        ("t5", "d_model", Value::Null, &["config of `t5` lacks the field `d_model`"][..]),
        ("t5", "feed_forward_proj", json!("gated-mish"), &["`feed_forward_proj`", "gated-gelu", "gated-mish"]),
        ("t5", "relative_attention_num_buckets", json!(3), &["relative_attention_num_buckets is 3", "at least 4"]),
        ("t5", "relative_attention_max_distance", json!(16), &["relative_attention_max_distance is 16"]),
        ("t5", "num_decoder_layers", json!(3), &["the checkpoint lacks", "decoder.block.2.layer.0"]),
        ("bart", "decoder_attention_heads", json!(5), &["d_model 64 is no multiple of decoder_attention_heads 5"]),
        ("bart", "encoder_ffn_dim", json!(-1), &["`encoder_ffn_dim`", "-1"]),
        ("bart", "tie_word_embeddings", json!(1), &["`tie_word_embeddings`", "true or false"]),
        ("bart", "max_position_embeddings", json!(128), &["embed_positions.weight", "[130, 64]", "[258, 64]"]),
    ];
    for (name, field, value, says) in cases {
        assert_says(Model::changed(name, None, |c| c[field] = value).map(|m| m.traced), says);
    }
    let ModelFiles { config, checkpoint, .. } = ModelFiles::open_folder(&golden("bart")).unwrap();
    let options = TraceOptions { max_seq: Some(257), ..TraceOptions::default() };
    assert_says(trace(None, &config, &checkpoint, &options), &["`max_seq`", "from 1 to 256"]);
}

#[test]
fn states_are_of_the_type_that_is_computed_in() {
    let ModelFiles { config, checkpoint, .. } = ModelFiles::open_folder(&golden("t5")).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let options = TraceOptions { dtype, ..TraceOptions::default() };
        let traced = trace(None, &config, &checkpoint, &options).unwrap();
        let step = traced.module.find("step").unwrap().1;
        let states = step.args.iter().filter(|a| a.kind == ArgKind::State && a.name.ends_with(".key"));
        assert_eq!(states.map(|a| a.ty.dtype()).collect::<Vec<_>>(), [Some(dtype); 4]);
    }
}
