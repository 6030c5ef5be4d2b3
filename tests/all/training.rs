//! Training by compiled code, beside what torch made of the same batches.

use crate::{golden, kiln, options};
use kiln::lab::training::{Recipe, train_on_golden};
use kiln::lab::verify::{read_tensors, views};
use kiln::train::{AdamW, Sgd, Trainee, TraineeOptions};
use kiln::{CompileOptions, LoadOptions, ModelFiles, Task};
use kiln_ir::interp::Tensor;
use serde_json::Value;
use std::path::Path;

fn record(name: &str) -> Value {
    let text = std::fs::read(golden(name).join("golden.json")).expect("golden.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn trainee_options(threads: usize) -> TraineeOptions {
    let load = LoadOptions { threads: (threads > 0).then_some(threads), ..LoadOptions::default() };
    TraineeOptions { compile: options(), load, decay_all: true }
}

/// Three steps of AdamW with clipping: the losses, every parameter's first gradient, and the logits afterwards.
fn follows_torch(name: &str) {
    let files = ModelFiles::open_folder(&golden(name)).expect("opens");
    follows(name, &files, &golden(name), &record(name));
}

fn follows(name: &str, files: &ModelFiles, folder: &Path, json: &Value) {
    let recipe = Recipe::of_record(&json["train"]).expect("a recipe");
    let steps = train_on_golden(files, folder, &recipe, &trainee_options(0)).unwrap_or_else(|e| panic!("{name}: {e}"));
    for (got, want) in steps.losses.iter().zip(json["train"]["losses"].as_array().expect("losses")) {
        let want = want.as_f64().expect("a number");
        assert!((f64::from(*got) - want).abs() < 1e-4 * want.abs().max(1.0), "{name}: loss {got}, expected {want}");
    }
    let norms = json["grad_norms"].as_object().expect("norms");
    let all = norms.values().map(|n| n.as_f64().expect("a number").powi(2)).sum::<f64>().sqrt();
    for (parameter, want) in norms {
        let want = want.as_f64().expect("a number");
        let got = f64::from(*steps.grad_norms.get(parameter).unwrap_or_else(|| panic!("{name}: {parameter}")));
        // The norms of key biases are zero in exact arithmetic.
        assert!((got - want).abs() <= 1e-3 * want + 1e-6 * all, "{name}: {parameter}: {got}, expected {want}");
    }
    let error = steps.logits_error.expect("a record of the logits");
    assert!(error < 1e-4, "{name}: the logits are off by {error}");
}

#[test]
fn decoders_follow_torch() {
    for name in ["llama", "llama-rope-llama3", "mistral-window", "gemma2", "gemma3-text", "phi3"] {
        follows_torch(name);
    }
}

#[test]
fn more_decoders_follow_torch() {
    for name in ["qwen2", "qwen3", "gpt2", "gpt-neox", "olmo2", "smollm3"] {
        follows_torch(name);
    }
}

#[test]
fn encoders_follow_torch() {
    for name in
        ["bert-classify", "bert-mlm", "distilbert-classify", "electra-classify", "modernbert-mlm", "roberta-classify"]
    {
        follows_torch(name);
    }
}

/// More tasks, losses and hyperparameters, as `tests/goldens/training.py` recorded them.
#[test]
fn other_tasks_and_recipes_follow_torch() {
    for (name, model, problem_type) in [
        ("t5", "t5", None),
        ("mt5", "mt5", None),
        ("bart", "bart", None),
        ("bart-classify", "bart-classify", None),
        ("bert-token", "bert-token", None),
        ("bert-multi-label", "bert-classify", Some("multi_label_classification")),
        ("distilbert-regression", "distilbert-classify", Some("regression")),
        ("gpt2", "gpt2", None),
        ("llama", "llama", None),
    ] {
        let mut files = ModelFiles::open_folder(&golden(model)).expect("opens");
        if let Some(problem_type) = problem_type {
            files.config["problem_type"] = problem_type.into();
        }
        let folder = golden("training").join(name);
        let json = std::fs::read(folder.join("golden.json")).expect("golden.json");
        follows(name, &files, &folder, &serde_json::from_slice(&json).expect("JSON"));
    }
}

/// The batch of a golden: its inputs and the labels of its training record.
fn batch(name: &str) -> Vec<(String, Tensor)> {
    let file = golden(name).join("golden.safetensors");
    let mut batch = read_tensors(&file, "in.").expect("inputs");
    let labels = read_tensors(&file, "train.").expect("labels").into_iter().find(|(name, _)| name == "labels");
    batch.push(labels.expect("labels"));
    batch
}

/// Every state after two steps.
fn states_after_two_steps(name: &str, threads: usize) -> Vec<Vec<u8>> {
    let files = ModelFiles::open_folder(&golden(name)).expect("opens");
    let mut trainee = Trainee::new(&files, &AdamW::default(), &trainee_options(threads)).expect("compiles");
    let batch = batch(name);
    for _ in 0..2 {
        trainee.accumulate(&views(&batch).expect("dense")).expect("runs");
        trainee.apply(1e-3, 1, 1.0).expect("runs");
    }
    let names: Vec<String> = trainee.session().model().plan().states.iter().map(|s| s.name.clone()).collect();
    names.iter().map(|name| trainee.session().state(name).expect("a state").to_vec()).collect()
}

#[test]
fn threads_change_no_bit() {
    let one = states_after_two_steps("llama", 1);
    assert!(one.len() > 60);
    for threads in [2, 5] {
        assert!(states_after_two_steps("llama", threads) == one, "with {threads} threads");
    }
}

/// Two batches summed and halved are one step by their mean; a plain step of SGD goes down.
#[test]
fn gradients_are_summed_over_batches() {
    let files = ModelFiles::open_folder(&golden("bert-classify")).expect("opens");
    let sgd = Sgd::default();
    let batch = batch("bert-classify");
    let mut trainee = Trainee::new(&files, &sgd, &trainee_options(0)).expect("compiles");
    let mut steps = |batches: usize| {
        trainee.session().reset().expect("memory");
        let losses: Vec<f32> =
            (0..batches).map(|_| trainee.accumulate(&views(&batch).expect("dense")).expect("runs")).collect();
        let report = trainee.apply(0.01, batches, 0.0).expect("runs");
        let after = trainee.accumulate(&views(&batch).expect("dense")).expect("runs");
        assert!(losses.iter().all(|loss| *loss == losses[0] && after < *loss), "{after} after {losses:?}");
        // What was summed counts once.
        let next = trainee.apply(0.01, 1, 0.0).expect("runs");
        assert!(next.grad_norm < 1.5 * report.grad_norm, "{next:?} after {report:?}");
        (report, after)
    };
    assert_eq!(steps(1), steps(2));
}

#[test]
fn what_cannot_be_trained_says_why() {
    let files = ModelFiles::open_folder(&golden("bert-classify")).expect("opens");
    let hidden =
        TraineeOptions { compile: CompileOptions { task: Some(Task::Base), ..options() }, ..trainee_options(0) };
    let error = Trainee::new(&files, &AdamW::default(), &hidden).err().expect("refused").to_string();
    assert!(error.contains("AutoModel (hidden states) has no loss to train by"), "{error}");

    let mut trainee = Trainee::new(&files, &AdamW::default(), &trainee_options(0)).expect("compiles");
    let mut wrong = batch("bert-classify");
    let labels = wrong.last_mut().expect("labels");
    let values = vec![7; labels.1.len()];
    labels.1 = Tensor::from_i64(labels.1.shape(), &values).expect("fits");
    let error = trainee.accumulate(&views(&wrong).expect("dense")).expect_err("refused").to_string();
    assert!(error.contains("`labels`") && error.contains("-100 to 2") && error.contains('7'), "{error}");
    // Nothing was summed: the parameters stay.
    assert_eq!(trainee.apply(1e-3, 1, 0.0).expect("runs").grad_norm, 0.0);
}

#[test]
fn the_command_trains_as_a_record_says() {
    let cache = tempfile::tempdir().expect("a folder");
    let folder = golden("distilbert-classify");
    let run = |more: &[&str]| {
        let mut command = kiln(cache.path());
        command.arg("verify").arg(&folder).arg("--golden").arg(&folder).args(more);
        let output = command.output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let (fine, out, _) = run(&["--train", "--json"]);
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert!(fine && json["losses"].as_array().expect("losses").len() == 3);
    assert!(json["logits_error"].as_f64().expect("an error") < 1e-4);
    assert!(
        json["grad_norms"].as_object().expect("norms").len()
            == record("distilbert-classify")["grad_norms"].as_object().expect("norms").len()
    );
    let (fine, out, _) = run(&["--train", "--json", "--learning-rate", "0.01", "--steps", "5", "--max-grad-norm", "0"]);
    let other: Value = serde_json::from_str(&out).expect("JSON");
    assert!(fine && other["losses"].as_array().expect("losses").len() == 5);
    assert_eq!(other["losses"][0], json["losses"][0]);
    assert_ne!(other["losses"][1], json["losses"][1]);
    let (fine, _, error) = run(&["--steps", "5"]);
    assert!(!fine && String::from_utf8_lossy(&error).contains("--train"));
}
