//! Sentence embeddings, against what sentence-transformers computes with all-MiniLM-L6-v2.

use crate::support::traced::{Model, Tensors, i64s, recorded, tensors_in};
use crate::support::{assert_says, folder, golden};
use kiln_frontend::{DType, dims};
use kiln_ir::interp::{Tensor, relative_error, run};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::sentence::{Pooling, SentenceEmbedding};
use kiln_models::source::ModelFiles;
use serde_json::{Value, json};
use std::path::Path;

/// What `embedding` makes of hidden states and a mask.
fn embed(embedding: &SentenceEmbedding, hidden: &Tensor, mask: &Tensor) -> Tensor {
    let &[batch, seq, width] = hidden.shape() else { panic!("[batch, seq, hidden]") };
    let module = kiln_frontend::trace(|cx| {
        cx.entry("main", |cx| {
            let hidden = cx.input("hidden", DType::F32, dims![batch, seq, width]);
            let mask = cx.input("mask", DType::I64, dims![batch, seq]).ne(0);
            cx.output("y", &embedding.forward(&hidden, &mask));
        });
    });
    run(&module.expect("traces"), "main", &[hidden.clone(), mask.clone()], &[]).expect("evaluates").remove(0)
}

fn mean_of_two(normalize: bool, pooling: &[Pooling]) -> Vec<f32> {
    let hidden = Tensor::from_f32([1, 3, 2], &[3.0, 0.0, 0.0, 4.0, 9.0, 9.0]).unwrap();
    embed(&SentenceEmbedding { pooling: pooling.to_vec(), normalize }, &hidden, &i64s([1, 3], &[1, 1, 0])).to_f32_vec()
}

#[test]
fn pooling_looks_at_what_is_no_padding() {
    let root = 2f32.sqrt();
    assert_eq!(mean_of_two(false, &[Pooling::Cls]), [3.0, 0.0]);
    assert_eq!(mean_of_two(false, &[Pooling::Max]), [3.0, 4.0]);
    assert_eq!(mean_of_two(false, &[Pooling::Mean]), [1.5, 2.0]);
    assert_eq!(mean_of_two(false, &[Pooling::MeanSqrtLen]), [3.0 / root, 4.0 / root]);
    assert_eq!(mean_of_two(true, &[Pooling::Max]), [0.6, 0.8]);
    assert_eq!(mean_of_two(false, &[Pooling::Cls, Pooling::Mean]), [3.0, 0.0, 1.5, 2.0]);
}

#[test]
fn a_text_of_padding_alone_gives_zeros() {
    let hidden = Tensor::from_f32([1, 2, 2], &[1.0; 4]).unwrap();
    let embedding = SentenceEmbedding { pooling: vec![Pooling::Mean], normalize: true };
    assert_eq!(embed(&embedding, &hidden, &i64s([1, 2], &[0, 0])).to_f32_vec(), [0.0, 0.0]);
}

#[test]
fn minilm_embeddings_follow_from_its_hidden_states() {
    let want = tensors_in(&golden("minilm-l6-v2.safetensors"));
    let embedding = SentenceEmbedding { pooling: vec![Pooling::Mean], normalize: true };
    let got = embed(&embedding, &want["last_hidden_state"], &want["attention_mask"]);
    let error = relative_error(&got, &want["embeddings"]);
    assert!(error < 1e-6, "{error:e}");
}

/// A golden's files in a folder with the modules of sentence-transformers.
fn sentence_transformer(to: &Path, modules: &Value, pooling: Option<Value>) {
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("bert-classify").join(file), to.join(file)).unwrap();
    }
    std::fs::write(to.join("modules.json"), modules.to_string()).unwrap();
    if let Some(pooling) = pooling {
        std::fs::create_dir(to.join("1_Pooling")).unwrap();
        std::fs::write(to.join("1_Pooling/config.json"), pooling.to_string()).unwrap();
    }
}

fn modules(types: &[&str]) -> Value {
    let path = |i: usize, kind: &str| if i == 0 { String::new() } else { format!("{i}_{kind}") };
    let module = |(i, kind): (usize, &&str)| json!({ "idx": i, "name": i.to_string(), "path": path(i, kind), "type": format!("sentence_transformers.models.{kind}") });
    types.iter().enumerate().map(module).collect()
}

fn traced(modules: &Value, pooling: Option<Value>, task: Task) -> kiln_models::Result<Model> {
    let folder = folder();
    sentence_transformer(folder.path(), modules, pooling);
    let ModelFiles { config, checkpoint, sentence_transformer, .. } = ModelFiles::open_folder(folder.path())?;
    let options = TraceOptions { sentence_transformer, ..TraceOptions::default() };
    let traced = trace(Some(task), &config, &checkpoint, &options)?;
    Ok(Model { config, checkpoint, traced })
}

#[test]
fn a_folder_of_sentence_transformers_gives_embeddings() {
    let all = modules(&["Transformer", "Pooling", "Normalize"]);
    let switches = json!({
        "word_embedding_dimension": 64, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": false
    });
    let inputs = recorded("bert-classify", "in.");
    let got: Tensors = traced(&all, Some(switches), Task::Base).unwrap().forward(&inputs);
    assert_eq!(got.keys().collect::<Vec<_>>(), ["last_hidden_state", "pooler_output", "sentence_embedding"]);
    let embedding = SentenceEmbedding { pooling: vec![Pooling::Cls, Pooling::Mean], normalize: true };
    assert_eq!(got["sentence_embedding"], embed(&embedding, &got["last_hidden_state"], &inputs["attention_mask"]));

    let logits = traced(&all, None, Task::SequenceClassification).unwrap().forward(&inputs);
    assert_eq!(logits.keys().collect::<Vec<_>>(), ["logits"], "only a body has embeddings");
}

#[test]
fn both_ways_to_name_pooling_are_read() {
    let read = |config: Value| {
        let mut modules = modules(&["Transformer", "Pooling"]);
        modules[1]["config"] = config;
        SentenceEmbedding::from_json(&modules).map(|embedding| embedding.pooling)
    };
    let off = json!(false);
    assert_eq!(read(json!({})).unwrap(), [Pooling::Mean], "the constructor's default");
    assert_eq!(
        read(json!({ "pooling_mode_mean_tokens": off, "pooling_mode_max_tokens": true })).unwrap(),
        [Pooling::Max]
    );
    assert_eq!(read(json!({ "pooling_mode": "cls" })).unwrap(), [Pooling::Cls]);
    let several = json!({ "pooling_mode": ["mean_sqrt_len_tokens", "max"] });
    assert_eq!(read(several).unwrap(), [Pooling::MeanSqrtLen, Pooling::Max]);
    assert_says(read(json!({ "pooling_mode": "lasttoken" })), &["`pooling_mode`", "cls, max, mean", "lasttoken"]);
    assert_says(read(json!({ "pooling_mode_lasttoken": true })), &["`pooling_mode_lasttoken`", "expected false"]);
    assert_says(read(json!({ "pooling_mode_mean_tokens": off })), &["no way of pooling"]);
    assert_says(read(json!({ "pooling_mode_mean_tokens": 1 })), &["`pooling_mode_mean_tokens`", "true or false"]);
}

#[test]
fn other_modules_are_refused() {
    let refused = |modules: &Value, says: &[&str]| {
        assert_says(traced(modules, Some(json!({})), Task::Base).map(|m| m.traced), says);
    };
    refused(&modules(&["Transformer", "Pooling", "Dense"]), &["modules.json", "Normalize", "Dense"]);
    refused(&modules(&["Transformer"]), &["Transformer, then Pooling"]);
    refused(&json!({}), &["a list of modules", "{}"]);
    assert_says(
        traced(&modules(&["Transformer", "Pooling"]), None, Task::Base).map(|m| m.traced),
        &["sentence-transformers", "a JSON object", "null"],
    );
}

#[test]
fn modules_outside_of_the_folder_are_not_read() {
    let mut modules = modules(&["Transformer", "Pooling"]);
    modules[1]["path"] = json!("../1_Pooling");
    let outer = folder();
    let inner = outer.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    sentence_transformer(&inner, &modules, None);
    std::fs::create_dir(outer.path().join("1_Pooling")).unwrap();
    std::fs::write(outer.path().join("1_Pooling/config.json"), "{}").unwrap();
    let read = ModelFiles::open_folder(&inner).unwrap().sentence_transformer.unwrap();
    assert_eq!(read[1].get("config"), None);
}
