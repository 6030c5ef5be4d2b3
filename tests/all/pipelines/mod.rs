//! Pipelines, tokenizers and Auto classes against transformers, on goldens that get small tokenizers: `goldens/pipelines.py` says what
//! was asked.

mod auto;
mod command;
mod examples;
mod tokenizers;

use crate::{golden, options};
use kiln::Task;
use kiln::{CompileOptions, ModelFiles, Pipeline, PipelineOptions, PretrainedOptions, Result, compile, pipeline};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// What transformers gives.
fn goldens() -> Value {
    let json = std::fs::read(golden("pipelines.json")).expect("pipelines.json");
    serde_json::from_slice(&json).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// A model of the goldens with its tokenizer, as a folder and as an artifact.
struct Fixture {
    folder: tempfile::TempDir,
    artifact: String,
}

impl Fixture {
    fn new(goldens: &Value, name: &str, task: Task) -> Self {
        let folder = Self::folder(&goldens["models"][name], name);
        let files = ModelFiles::open_folder(folder.path()).expect("opens");
        let artifact = folder.path().join("model.kiln");
        compile(&files, &artifact, &CompileOptions { task: Some(task), ..options() }).expect("compiles");
        Fixture { artifact: text(&artifact), folder }
    }

    /// The checkpoint and the tokenizer in one folder, with what goes over their configs.
    fn folder(model: &Value, name: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoint = golden(model["checkpoint"].as_str().unwrap_or(name));
        let tokenizer = golden("tokenizers").join(model["tokenizer"].as_str().expect("a tokenizer"));
        for source in [checkpoint, tokenizer] {
            for file in std::fs::read_dir(source).expect("reads").flatten() {
                std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copies");
            }
        }
        for part in ["config", "tokenizer_config"] {
            let path = folder.path().join(format!("{part}.json"));
            let json = std::fs::read(&path).expect("reads");
            let mut fields: Map<String, Value> = serde_json::from_slice(&json).expect("JSON");
            fields.extend(model[part].as_object().cloned().unwrap_or_default());
            std::fs::write(&path, json!(fields).to_string()).expect("writes");
        }
        folder
    }

    fn pipeline(&self, task: &str) -> Pipeline {
        pipeline(task, &self.artifact).expect("loads")
    }
}

/// The options of a case. What transformers takes beside its own options is the tokenizer's.
fn pipeline_options(options: &Value) -> PipelineOptions {
    let mut options = options.as_object().expect("options").clone();
    for name in ["truncation", "max_length"] {
        if let Some(value) = options.remove(name) {
            let kwargs = options.entry("tokenizer_kwargs").or_insert_with(|| json!({}));
            kwargs[name] = value;
        }
    }
    serde_json::from_value(options.into()).expect("options")
}

/// Numbers with fractions within 1e-4, everything else equal.
fn check(got: &Value, want: &Value, place: &str) {
    match (got, want) {
        (Value::Number(got), Value::Number(want)) if want.is_f64() => {
            let (got, want) = (got.as_f64().expect("f64"), want.as_f64().expect("f64"));
            assert!((got - want).abs() < 1e-4, "{place}: {got}, expected {want}");
        }
        (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
            got.iter().zip(want).enumerate().for_each(|(i, (got, want))| check(got, want, &format!("{place}[{i}]")));
        }
        (Value::Object(got), Value::Object(want)) if got.keys().eq(want.keys()) => {
            got.iter().zip(want).for_each(|((key, got), (_, want))| check(got, want, &format!("{place}.{key}")));
        }
        _ => assert_eq!(got, want, "{place}"),
    }
}

/// All cases of the tasks that a head is for. Each model is compiled once.
fn cases(tasks: &[&str], head: Task) {
    let goldens = goldens();
    let cases = |task: &str| list(&goldens["pipelines"][task]);
    let all = tasks.iter().flat_map(|task| cases(task));
    let models: BTreeSet<&str> = all.map(|case| case["model"].as_str().expect("a model")).collect();
    for model in models {
        let fixture = Fixture::new(&goldens, model, head);
        for task in tasks {
            assert!(!cases(task).is_empty(), "{task}");
            let mut of_model = cases(task).iter().filter(|case| case["model"] == model).peekable();
            let Some(_) = of_model.peek() else { continue };
            let run = fixture.pipeline(task);
            for case in of_model {
                let place = format!("{task}, {model}, {} with {}", case["input"], case["options"]);
                let got = run.run(&case["input"], &pipeline_options(&case["options"]));
                check(&got.unwrap_or_else(|e| panic!("{place}: {e}")), &case["output"], &place);
            }
        }
    }
}

macro_rules! as_transformers {
    ($($test:ident = [$($task:literal),+], $head:ident;)+) => {
        $(#[test]
        fn $test() {
            cases(&[$($task),+], Task::$head);
        })+

        #[test]
        fn all_tasks_are_tested() {
            let goldens = goldens();
            let found: BTreeSet<&str> = goldens["pipelines"].as_object().expect("tasks").keys().map(String::as_str).collect();
            assert_eq!(found, BTreeSet::from([$($($task),+),+]));
        }
    };
}

as_transformers! {
    sequence_classification = ["text-classification", "zero-shot-classification"], SequenceClassification;
    token_classification = ["token-classification"], TokenClassification;
    fill_mask = ["fill-mask"], MaskedLm;
    feature_extraction = ["feature-extraction"], Base;
    question_answering = ["question-answering"], QuestionAnswering;
    text_generation = ["text-generation"], CausalLm;
    text2text = ["text2text-generation", "summarization", "translation", "translation_en_to_fr"], Seq2SeqLm;
}

/// Each kind of pipeline writes a folder that it reads again, and then says what it said before.
#[test]
fn what_pipelines_save_they_read() {
    let goldens = goldens();
    for task in [
        "text-classification",
        "token-classification",
        "fill-mask",
        "question-answering",
        "feature-extraction",
        "zero-shot-classification",
        "text-generation",
        "summarization",
    ] {
        let case = &goldens["pipelines"][task][0];
        let name = case["model"].as_str().expect("a model");
        let folder = Fixture::folder(&goldens["models"][name], name);
        let artifacts_dir = Some(folder.path().join("artifacts"));
        let load = PretrainedOptions { emit: options().emit, artifacts_dir, ..PretrainedOptions::default() };
        let saved = folder.path().join("saved");
        Pipeline::from_pretrained(task, &text(folder.path()), &load)
            .expect("loads")
            .save_pretrained(&saved)
            .expect("saves");
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            assert!(saved.join(file).is_file(), "{task}: {file}");
        }
        let again = Pipeline::from_pretrained(task, &text(&saved), &load).expect("loads");
        let got = again.run(&case["input"], &pipeline_options(&case["options"]));
        check(&got.expect("runs"), &case["output"], task);
    }
    let fixture = Fixture::new(&goldens, "bert-token", Task::TokenClassification);
    let unsaved = message(fixture.pipeline("ner").save_pretrained(fixture.folder.path().join("saved")));
    assert!(unsaved.contains("is an artifact"), "{unsaved}");
}

/// transformers fails on what is longer than the model takes; here it is cut, if the options do not say otherwise.
#[test]
fn long_texts_are_cut_and_labels_must_fit() {
    let fixture = Fixture::new(&goldens(), "distilbert-classify", Task::SequenceClassification);
    let classify = fixture.pipeline("text-classification");
    let run = |words: usize, options: Value| {
        classify.run(&json!("cat ".repeat(words)), &serde_json::from_value(options).expect("options"))
    };
    let cut = run(400, json!({})).expect("runs");
    check(&cut, &run(254, json!({})).expect("runs"), "254 words and two special tokens");
    let whole = message(run(400, json!({"tokenizer_kwargs": {"truncation": false}})));
    assert!(whole.contains("402 tokens, expected at most 256") && whole.contains("`max_length`"), "{whole}");
    let labels = message(pipeline("zero-shot-classification", &fixture.artifact));
    assert!(labels.contains("LABEL_0, LABEL_1: expected one that begins with `entail`"), "{labels}");
}

/// The text is what transformers gives.
#[test]
fn nothing_goes_on_from_bos() {
    let fixture = Fixture::new(&goldens(), "llama", Task::CausalLm);
    let generate = fixture.pipeline("text-generation");
    let text = "BerB a\u{FFFD}VL\u{FFFD}\u{FFFD}";
    for (input, special, place) in
        [(json!(""), true, "/0"), (json!(""), false, "/0"), (json!(["The cat", ""]), false, "/1/0")]
    {
        let options = json!({
            "add_special_tokens": special, "batch_size": 2, "generation_config": {"max_new_tokens": 8, "do_sample": false},
        });
        let got = generate.run(&input, &serde_json::from_value(options).expect("options")).expect("runs");
        let got = got.pointer(place).expect("a result");
        assert_eq!(got["generated_text"], text, "{input}, special tokens: {special}");
    }
}

#[test]
fn errors_say_what_is_missing() {
    let known = message(pipeline("tell-fortunes", "nowhere"));
    assert!(known.contains("no pipeline `tell-fortunes`") && known.contains("sentiment-analysis"), "{known}");
    let goldens = goldens();
    let default = PipelineOptions::default();

    let fixture = Fixture::new(&goldens, "bert-classify", Task::SequenceClassification);
    let wrong = message(fixture.pipeline("text-classification").run(&json!([7]), &default));
    assert!(wrong.contains("text-classification: expected a text") && wrong.contains("found 7"), "{wrong}");
    let wrong = PipelineOptions {
        candidate_labels: vec!["dog".into()],
        hypothesis_template: Some("on it".into()),
        ..PipelineOptions::default()
    };
    let wrong = message(fixture.pipeline("zero-shot-classification").run(&json!("the cat"), &wrong));
    assert!(wrong.contains("expected `{}` in hypothesis_template") && wrong.contains("`on it`"), "{wrong}");
    std::fs::remove_file(fixture.folder.path().join("tokenizer.json")).expect("removes");
    let mute = fixture.folder.path().join("mute.kiln");
    let files = ModelFiles::open_folder(fixture.folder.path()).expect("opens");
    compile(&files, &mute, &options()).expect("compiles");
    let mute = message(pipeline("text-classification", &text(&mute)));
    assert!(mute.contains("no tokenizer: expected tokenizer.json, vocab.txt"), "{mute}");

    let fixture = Fixture::new(&goldens, "bert-mlm", Task::MaskedLm);
    let wrong = message(fixture.pipeline("fill-mask").run(&json!("the cat"), &default));
    assert!(wrong.contains("fill-mask: expected `[MASK]`") && wrong.contains("the cat"), "{wrong}");

    let fixture = Fixture::new(&goldens, "roberta-qa", Task::QuestionAnswering);
    let answer = fixture.pipeline("question-answering");
    let wrong = message(answer.run(&json!({"question": "Who?", "context": ""}), &default));
    assert!(wrong.contains("expected a context, found an empty text"), "{wrong}");
    let wrong = message(answer.run(&json!("Who?"), &default));
    assert!(wrong.contains("an object with `question` and `context`"), "{wrong}");
    let long = json!({"question": "Who is it that lives there?", "context": "Anna."});
    let short = PipelineOptions { max_seq_len: Some(6), ..PipelineOptions::default() };
    let wrong = message(answer.run(&long, &short));
    assert!(wrong.contains('6') && wrong.contains("cut"), "{wrong}");
}
