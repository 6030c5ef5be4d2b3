//! The programs in `examples/pipelines`, one for each task, on tiny checkpoints.

use super::{Fixture, goldens, list};
use kiln::Result;
use kiln::Task;
use serde_json::Value;

macro_rules! examples {
    ($($name:ident = $file:literal;)+) => {
        $(#[path = $file]
        mod $name;)+
    };
}

examples! {
    feature_extraction = "../../../examples/pipelines/src/bin/feature_extraction.rs";
    fill_mask = "../../../examples/pipelines/src/bin/fill_mask.rs";
    question_answering = "../../../examples/pipelines/src/bin/question_answering.rs";
    summarization = "../../../examples/pipelines/src/bin/summarization.rs";
    text2text_generation = "../../../examples/pipelines/src/bin/text2text_generation.rs";
    text_classification = "../../../examples/pipelines/src/bin/text_classification.rs";
    text_generation = "../../../examples/pipelines/src/bin/text_generation.rs";
    token_classification = "../../../examples/pipelines/src/bin/token_classification.rs";
    translation = "../../../examples/pipelines/src/bin/translation.rs";
    zero_shot_classification = "../../../examples/pipelines/src/bin/zero_shot_classification.rs";
}

type Example = fn(&str) -> Result<Value>;

/// Each example with a model of the goldens: the number of its results, and the fields of each.
#[track_caller]
fn check(model: &str, head: Task, examples: &[(Example, usize, &[&str])]) {
    let fixture = Fixture::new(&goldens(), model, head);
    for (example, count, fields) in examples {
        let results = example(&fixture.artifact).expect("runs");
        let results = if results.is_object() { Value::Array(vec![results]) } else { results };
        assert_eq!(list(&results).len(), *count, "{results}");
        for result in list(&results) {
            let found: Vec<&str> = result.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(found, *fields, "{results}");
        }
    }
}

#[test]
fn those_that_classify() {
    check(
        "bert-classify",
        Task::SequenceClassification,
        &[
            (text_classification::run, 2, &["label", "score"]),
            (zero_shot_classification::run, 1, &["labels", "scores", "sequence"]),
        ],
    );
}

#[test]
fn those_that_look_at_tokens() {
    let fields: &[&str] = &["score", "sequence", "token", "token_str"];
    check("bert-mlm", Task::MaskedLm, &[(fill_mask::run, 3, fields)]);
    check("roberta-qa", Task::QuestionAnswering, &[(question_answering::run, 1, &["answer", "end", "score", "start"])]);

    let fixture = Fixture::new(&goldens(), "bert-token", Task::TokenClassification);
    for entity in list(&token_classification::run(&fixture.artifact).expect("runs")) {
        assert!(entity["entity_group"].is_string() && entity["word"].is_string(), "{entity}");
    }
    let fixture = Fixture::new(&goldens(), "bert-mlm", Task::Base);
    let states = feature_extraction::run(&fixture.artifact).expect("runs");
    assert!(list(&states[0]).len() > 4 && list(&states[0][0]).len() == 64, "[1, tokens, hidden]");
}

#[test]
fn those_that_write() {
    check("llama", Task::CausalLm, &[(text_generation::run, 1, &["generated_text"])]);
    check(
        "t5",
        Task::Seq2SeqLm,
        &[
            (summarization::run, 1, &["summary_text"]),
            (translation::run, 1, &["translation_text"]),
            (text2text_generation::run, 1, &["generated_text"]),
        ],
    );
}
