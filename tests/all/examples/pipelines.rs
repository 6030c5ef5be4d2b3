//! A program for each pipeline: how many results it prints, and their fields.

use crate::pipelines::{Fixture, entailing};
use kiln::models::Task;
use serde_json::{Value, json};

macro_rules! programs {
    ($($name:ident = $file:literal;)+) => {
        $(#[path = $file]
        mod $name;)+
    };
}

programs! {
    feature_extraction = "../../../examples/pipelines/src/bin/feature_extraction.rs";
    fill_mask = "../../../examples/pipelines/src/bin/fill_mask.rs";
    text_classification = "../../../examples/pipelines/src/bin/text_classification.rs";
    text_generation = "../../../examples/pipelines/src/bin/text_generation.rs";
    token_classification = "../../../examples/pipelines/src/bin/token_classification.rs";
    zero_shot_classification = "../../../examples/pipelines/src/bin/zero_shot_classification.rs";
}

#[track_caller]
fn assert_fields(results: &Value, count: usize, fields: &[&str]) {
    let results = results.as_array().expect("a list");
    assert_eq!(results.len(), count, "{results:?}");
    for result in results {
        let found: Vec<&str> = result.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(found, fields, "{result}");
    }
}

#[test]
fn those_that_classify() {
    let fixture = Fixture::of(entailing(), Task::SequenceClassification);
    assert_fields(&text_classification::run(&fixture.artifact).expect("runs"), 2, &["label", "score"]);
    let labels = zero_shot_classification::run(&fixture.artifact).expect("runs");
    assert_fields(&json!([labels]), 1, &["labels", "scores", "sequence"]);
}

#[test]
fn those_that_look_at_tokens() {
    let fixture = Fixture::new("bert-mlm", Task::MaskedLm);
    let fields = ["score", "sequence", "token", "token_str"];
    assert_fields(&fill_mask::run(&fixture.artifact).expect("runs"), 3, &fields);
    let fixture = Fixture::new("bert-token", Task::TokenClassification);
    for entity in token_classification::run(&fixture.artifact).expect("runs").as_array().expect("a list") {
        assert!(entity["entity_group"].is_string() && entity["word"].is_string(), "{entity}");
    }
    let fixture = Fixture::new("bert-mlm", Task::Base);
    let states = feature_extraction::run(&fixture.artifact).expect("runs");
    assert_eq!(states[0][0].as_array().map(Vec::len), Some(64), "[1, tokens, hidden]");
}

#[test]
fn the_one_that_answers() {
    let folder = Fixture::folder("llama");
    let template = json!({"chat_template": "{{ messages[0].content }}"});
    std::fs::write(folder.path().join("tokenizer_config.json"), template.to_string()).expect("writes");
    let fixture = Fixture::of(folder, Task::CausalLm);
    assert_fields(&text_generation::run(&fixture.artifact).expect("runs"), 1, &["generated_text"]);
}
