//! Parameters that are one in most models: what a checkpoint may hold of them, and which tensor each one then is, as transformers'
//! `tie_weights` has it.

use crate::support::traced::{F32s, Model, Tensors, edited, i64s, named, recorded};
use crate::support::{assert_says, decoder, folder};
use kiln_ir::ArgKind;
use kiln_ir::interp::{Tensor, relative_error};
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::source::ModelFiles;
use kiln_models::{Result, Task};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A golden with other tensors and another config.
fn opened(name: &str, task: Option<Task>, config: Value, edit: impl FnOnce(&mut F32s)) -> Result<Model> {
    let folder = folder();
    edited(name, folder.path(), edit);
    let mut files = ModelFiles::open_folder(folder.path())?;
    files.config.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    let traced = trace(task, &files.config, &files.checkpoint, &TraceOptions::default())?;
    Ok(Model { config: files.config, checkpoint: files.checkpoint, traced })
}

fn tied(on: bool) -> Value {
    json!({ "tie_word_embeddings": on })
}

/// Another matrix of the same shape.
fn other(tensor: &(Vec<usize>, Vec<f32>), seed: usize) -> (Vec<usize>, Vec<f32>) {
    let values = (0..tensor.1.len()).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 250.0 - 0.2);
    (tensor.0.clone(), values.collect())
}

fn rename(tensors: &mut F32s, from: &str, to: &str) {
    let tensor = tensors.remove(from).expect(from);
    tensors.insert(to.to_string(), tensor);
}

/// The parameters of all entries.
fn parameters(model: &Model) -> BTreeSet<String> {
    let args = model.traced.module.functions.iter().flat_map(|f| &f.args);
    args.filter(|a| matches!(a.kind, ArgKind::Param { .. })).map(|a| a.name.to_string()).collect()
}

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    let error = relative_error(got, want);
    assert!(error < 1e-4, "{what}: {error:e}");
}

/// The logits of the golden's input.
fn logits(model: &Model, name: &str) -> Tensor {
    model.forward(&recorded(name, "in.")).remove("logits").expect("logits")
}

/// Families whose head is another matrix: the golden's name, the head's, and the embedding's.
const DECODERS: [(&str, &str, &str); 8] = [
    ("llama", "lm_head.weight", "model.embed_tokens.weight"),
    ("qwen2", "lm_head.weight", "model.embed_tokens.weight"),
    ("phi3", "lm_head.weight", "model.embed_tokens.weight"),
    ("olmo2", "lm_head.weight", "model.embed_tokens.weight"),
    ("gemma2", "lm_head.weight", "model.embed_tokens.weight"),
    ("smollm3", "lm_head.weight", "model.embed_tokens.weight"),
    ("gpt2", "lm_head.weight", "transformer.wte.weight"),
    ("gpt-neox", "embed_out.weight", "gpt_neox.embed_in.weight"),
];

#[test]
fn a_head_that_differs_from_the_embedding_stays_whatever_the_config_says() {
    for (name, head, embedding) in DECODERS {
        let own = |on: bool| {
            let model = opened(name, None, tied(on), |tensors| {
                let matrix = other(&tensors[embedding], 5);
                tensors.insert(head.to_string(), matrix);
            });
            model.expect(name)
        };
        let (with, without) = (own(true), own(false));
        assert_eq!(with.traced.unused_tensors, [""; 0], "{name}");
        assert_eq!(logits(&with, name), logits(&without, name), "{name}");
        assert!(parameters(&with).contains(head), "{name}");
        assert!(relative_error(&logits(&with, name), &decoder::golden(name)["out.logits"]) > 0.1, "{name}");
    }
    // The logits of transformers, which its config calls untied.
    let llama = opened("llama", None, tied(true), |_| ()).unwrap();
    assert_close(&logits(&llama, "llama"), &decoder::golden("llama")["out.logits"], "llama");
}

#[test]
fn a_head_that_equals_the_embedding_is_the_embedding() {
    for (name, head, embedding) in DECODERS {
        let twice = |on: bool| {
            let model = opened(name, None, tied(on), |tensors| {
                let matrix = tensors[embedding].clone();
                tensors.insert(head.to_string(), matrix);
            });
            model.expect(name)
        };
        let (one, two) = (twice(true), twice(false));
        assert_eq!(one.traced.unused_tensors, [""; 0], "{name}: it is there again");
        assert_eq!((parameters(&one).contains(head), parameters(&two).contains(head)), (false, true), "{name}");
        assert_eq!(logits(&one, name), logits(&two, name), "{name}");
    }
}

#[test]
fn an_embedding_may_be_there_under_the_heads_name_alone() {
    for (name, head, embedding) in DECODERS {
        let embedding_only = |tensors: &mut F32s| drop(tensors.remove(head));
        let want = opened(name, None, tied(true), embedding_only).expect(name);
        let got = opened(name, None, tied(true), |tensors| {
            tensors.remove(head);
            rename(tensors, embedding, head);
        });
        let got = got.expect(name);
        assert_eq!(logits(&got, name), logits(&want, name), "{name}");
        // Untied, or without both, something is missing, and the message says what.
        let alone = opened(name, None, tied(false), |tensors| {
            tensors.remove(head);
            rename(tensors, embedding, head);
        });
        assert_says(alone.map(|m| m.traced), &["the checkpoint lacks", embedding]);
        assert_says(opened(name, None, tied(false), embedding_only).map(|m| m.traced), &["lacks", head]);
        let neither = opened(name, None, tied(true), |tensors| {
            tensors.remove(head);
            tensors.remove(embedding);
        });
        assert_says(neither.map(|m| m.traced), &[&format!("the checkpoint lacks `{embedding}`")]);
    }
    // What transformers calls GPT-NeoX's head by now.
    let neox = opened("gpt-neox", None, tied(false), |t| rename(t, "embed_out.weight", "lm_head.weight")).unwrap();
    assert_close(&logits(&neox, "gpt-neox"), &decoder::golden("gpt-neox")["out.logits"], "gpt-neox");
    // A body without prefix beside the head.
    let bare = opened("gpt2", None, tied(true), |tensors| {
        let names: Vec<String> = tensors.keys().cloned().collect();
        names.iter().for_each(|name| rename(tensors, name, name.strip_prefix("transformer.").unwrap_or(name)));
        rename(tensors, "wte.weight", "lm_head.weight");
    });
    assert_close(&logits(&bare.unwrap(), "gpt2"), &decoder::golden("gpt2")["out.logits"], "gpt2");
}

/// A head for masked words over a golden: the names of its tensors but the output projection's weight, with their shapes.
type Head = &'static [(&'static str, &'static [usize])];

/// Encoders: the golden, what its head has beside the golden's tensors, the output projection's weight, the embedding.
const ENCODERS: [(&str, Head, &str, &str); 5] = [
    ("bert-mlm", &[], "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("modernbert-mlm", &[], "decoder.weight", "model.embeddings.tok_embeddings.weight"),
    (
        "roberta-qa",
        &[
            ("lm_head.dense.weight", &[64, 64]),
            ("lm_head.dense.bias", &[64]),
            ("lm_head.layer_norm.weight", &[64]),
            ("lm_head.layer_norm.bias", &[64]),
            ("lm_head.bias", &[384]),
        ],
        "lm_head.decoder.weight",
        "roberta.embeddings.word_embeddings.weight",
    ),
    (
        "distilbert-classify",
        &[
            ("vocab_transform.weight", &[64, 64]),
            ("vocab_transform.bias", &[64]),
            ("vocab_layer_norm.weight", &[64]),
            ("vocab_layer_norm.bias", &[64]),
            ("vocab_projector.bias", &[384]),
        ],
        "vocab_projector.weight",
        "distilbert.embeddings.word_embeddings.weight",
    ),
    (
        "electra-classify",
        &[
            ("generator_predictions.LayerNorm.weight", &[48]),
            ("generator_predictions.LayerNorm.bias", &[48]),
            ("generator_predictions.dense.weight", &[48, 64]),
            ("generator_predictions.dense.bias", &[48]),
            ("generator_lm_head.bias", &[384]),
        ],
        "generator_lm_head.weight",
        "electra.embeddings.word_embeddings.weight",
    ),
];

fn masked(name: &str, head: Head, config: Value, edit: impl FnOnce(&mut F32s)) -> Result<Model> {
    opened(name, Some(Task::MaskedLm), config, |tensors| {
        for (seed, (name, shape)) in head.iter().enumerate() {
            let tensor = (shape.to_vec(), vec![0.0; shape.iter().product()]);
            tensors.insert(name.to_string(), other(&tensor, seed + 20));
        }
        edit(tensors);
    })
}

#[test]
fn encoders_tie_by_values_too() {
    for (name, head, weight, words) in ENCODERS {
        let model = |on: bool, edit: &dyn Fn(&mut F32s)| masked(name, head, tied(on), edit);
        let own = |tensors: &mut F32s| drop(tensors.insert(weight.to_string(), other(&tensors[words], 7)));
        let again = |tensors: &mut F32s| drop(tensors.insert(weight.to_string(), tensors[words].clone()));
        let moved = |tensors: &mut F32s| rename(tensors, words, weight);
        let plain = model(true, &|_| ()).expect(name);
        let (with, without) = (model(true, &own).expect(name), model(false, &own).expect(name));
        assert_eq!(logits(&with, name), logits(&without, name), "{name}");
        assert!(relative_error(&logits(&with, name), &logits(&plain, name)) > 0.1, "{name}: it is another head");
        let (one, two) = (model(true, &again).expect(name), model(false, &again).expect(name));
        assert!(!parameters(&one).contains(weight) && parameters(&two).contains(weight), "{name}");
        assert_eq!(logits(&one, name), logits(&plain, name), "{name}");
        assert_eq!(logits(&two, name), logits(&plain, name), "{name}");
        assert_eq!(logits(&model(true, &moved).expect(name), name), logits(&plain, name), "{name}");
        assert_says(model(false, &moved).map(|m| m.traced), &["the checkpoint lacks", words]);
        assert_says(model(false, &|_| ()).map(|m| m.traced), &["no head for masked language", weight]);
    }
    let bert = opened("bert-mlm", None, tied(true), |_| ()).unwrap();
    assert_close(&logits(&bert, "bert-mlm"), &recorded("bert-mlm", "out.")["logits"], "bert");
}

#[test]
fn the_bias_of_an_output_projection_may_be_its_own() {
    for (name, head, weight, words, own, shared) in [
        (
            ENCODERS[0].0,
            ENCODERS[0].1,
            ENCODERS[0].2,
            ENCODERS[0].3,
            "cls.predictions.decoder.bias",
            "cls.predictions.bias",
        ),
        (ENCODERS[2].0, ENCODERS[2].1, ENCODERS[2].2, ENCODERS[2].3, "lm_head.decoder.bias", "lm_head.bias"),
    ] {
        let model = |on: bool, edit: &dyn Fn(&mut F32s)| {
            let model = masked(name, head, tied(on), |tensors| {
                let matrix = tensors[words].clone();
                tensors.insert(weight.to_string(), matrix);
                edit(tensors);
            });
            model.expect(name)
        };
        let plain = logits(&model(true, &|_| ()), name);
        let both = |tensors: &mut F32s| drop(tensors.insert(own.to_string(), other(&tensors[shared], 3)));
        // The row of sums is what one bias is more than the other.
        let more = |got: &Tensor, bias: &[f32]| {
            let rows = plain.to_f32_vec();
            let sums: Vec<f32> = rows.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect();
            assert_close(got, &Tensor::from_f32(plain.shape(), &sums).unwrap(), name);
        };
        for on in [true, false] {
            let two = model(on, &both);
            let [new, old] = [own, shared].map(|bias| two.checkpoint.to_f32(bias).unwrap());
            let difference: Vec<f32> = new.iter().zip(old).map(|(new, old)| new - old).collect();
            more(&logits(&two, name), &difference);
            assert!(!parameters(&two).contains(shared), "{name}");
            // As transformers 4 saves it, and as it may be called.
            assert_eq!(logits(&model(on, &|_| ()), name), plain, "{name}");
            assert_eq!(logits(&model(on, &|tensors| rename(tensors, shared, own)), name), plain, "{name}");
        }
    }
}

const SHARED: &str = "shared.weight";
const ENCODER: &str = "encoder.embed_tokens.weight";
const DECODER: &str = "decoder.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// T5 with one matrix under some names.
fn t5(golden: &str, names: &[&str], config: Value) -> Result<Model> {
    opened(golden, None, config, |tensors| {
        let matrix = tensors.remove(SHARED).unwrap();
        tensors.extend(names.iter().map(|name| (name.to_string(), matrix.clone())));
    })
}

#[test]
fn t5_takes_the_embedding_that_is_there() {
    let want = &recorded("t5", "out.")["logits"];
    for names in
        [&[SHARED][..], &[ENCODER], &[DECODER], &[HEAD], &[ENCODER, DECODER], &[DECODER, HEAD], &[SHARED, HEAD]]
    {
        let model = t5("t5", names, json!({})).unwrap();
        assert_eq!(model.traced.unused_tensors, [""; 0], "{names:?}");
        assert_close(&logits(&model, "t5"), want, &format!("{names:?}"));
    }
    assert_says(t5("t5", &[], json!({})).map(|m| m.traced), &["the checkpoint lacks `shared.weight`"]);
    // With an output projection of its own, as madlad400 is published.
    for (golden, names) in
        [("mt5", &[DECODER][..]), ("mt5", &[ENCODER]), ("t5-v1_1", &[DECODER]), ("t5-v1_1", &[ENCODER, DECODER])]
    {
        let model = t5(golden, names, json!({})).unwrap();
        assert_close(&logits(&model, golden), &recorded(golden, "out.")["logits"], &format!("{golden} {names:?}"));
    }
}

#[test]
fn matrices_of_t5_that_differ_are_each_used_for_their_own() {
    let three = |tensors: &mut F32s| {
        let shared = tensors[SHARED].clone();
        tensors.extend(
            [(ENCODER, 1), (DECODER, 2), (HEAD, 3)].map(|(name, seed)| (name.to_string(), other(&shared, seed))),
        );
    };
    let all = opened("t5", None, json!({}), three).unwrap();
    let used = parameters(&all);
    assert!([ENCODER, DECODER, HEAD].iter().all(|name| used.contains(*name)) && !used.contains(SHARED), "{used:?}");
    // What the encoder leaves is what it leaves in a model that has its matrix for everything.
    let one = |seed: usize| {
        let model = opened("t5", None, json!({}), |t| drop(t.insert(SHARED.to_string(), other(&t[SHARED], seed))));
        model.unwrap()
    };
    let encoded = |model: &Model| {
        let inputs = recorded("t5", "in.");
        let [rows, seq] = [inputs["input_ids"].shape()[0], inputs["input_ids"].shape()[1]];
        let encode = model.traced.module.find("encode").unwrap().1;
        let state = |arg: &kiln_ir::Arg| {
            let sizes = [rows, seq].into_iter().chain(arg.ty.shape[2..].iter().map(|d| d.as_const().unwrap() as usize));
            Tensor::zeros(arg.ty.dtype().unwrap(), sizes.collect::<Vec<_>>()).unwrap()
        };
        let states = encode.args.iter().filter(|arg| arg.kind == ArgKind::State);
        let mut states: Tensors = states.map(|arg| (arg.name.to_string(), state(arg))).collect();
        let slots = i64s([rows], &(0..rows as i64).collect::<Vec<_>>());
        let inputs = ["input_ids", "attention_mask"].map(|name| (name, inputs[name].clone()));
        let mut inputs = named(inputs);
        inputs.insert("slots".to_string(), slots);
        model.run("encode", &inputs, &mut states);
        states
    };
    assert_eq!(encoded(&all), encoded(&one(1)));
    assert_ne!(encoded(&all), encoded(&one(2)));
}

#[test]
fn bart_takes_the_embedding_that_is_there() {
    let want = &recorded("bart", "out.")["logits"];
    let [shared, encoder, decoder] = [SHARED, ENCODER, DECODER].map(|name| format!("model.{name}"));
    let bart = |names: &[&str], on: bool| {
        opened("bart", None, tied(on), |tensors| {
            let matrix = tensors.remove(&shared).unwrap();
            for name in [&encoder, &decoder, HEAD] {
                tensors.remove(name);
            }
            tensors.extend(names.iter().map(|name| (name.to_string(), matrix.clone())));
        })
    };
    for names in [&[&*shared][..], &[&encoder], &[&decoder], &[HEAD], &[&encoder, &decoder, HEAD]] {
        let model = bart(names, true).unwrap();
        assert_eq!(model.traced.unused_tensors, [""; 0], "{names:?}");
        assert_close(&logits(&model, "bart"), want, &format!("{names:?}"));
    }
    // Untied, the output projection must be there; the stacks may still share their embedding.
    assert_close(&logits(&bart(&[&shared, HEAD], false).unwrap(), "bart"), want, "untied");
    assert_says(bart(&[&shared], false).map(|m| m.traced), &["the checkpoint lacks `lm_head.weight`"]);
    assert_says(bart(&[], true).map(|m| m.traced), &["the checkpoint lacks `model.shared.weight`"]);
    let own = opened("bart", None, tied(true), |t| drop(t.insert(HEAD.to_string(), other(&t[&shared], 4)))).unwrap();
    assert!(relative_error(&logits(&own, "bart"), want) > 0.1, "a head of its own is used");
}
