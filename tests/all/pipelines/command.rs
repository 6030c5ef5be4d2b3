//! `kiln pipeline`.

use super::{Fixture, check, goldens, text};
use kiln::Task;
use serde_json::{Value, json};

fn kiln(folder: &std::path::Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = crate::kiln(folder).arg("pipeline").args(args).output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"), errors)
}

#[test]
fn texts_come_from_flags_and_files() {
    let goldens = goldens();
    let source = Fixture::folder(&goldens["models"]["bert-classify"], "bert-classify");
    let (model, folder) = (text(source.path()), source.path());
    let (film, cat) = ("I love this film, it is wonderful!", "The cat sat on the mat.");
    let cases = goldens["pipelines"]["text-classification"].as_array().expect("cases");
    let three =
        cases.iter().find(|c| c["model"] == "bert-classify" && c["input"].as_array().is_some_and(|i| i.len() == 3));
    let three = three.expect("a case of three");
    let want = json!([three["output"][0], three["output"][2]]);

    let args = ["text-classification", "--model", &model, "--input", film, "--input", cat, "--json"];
    let (code, out, errors) = kiln(folder, &args);
    assert_eq!(code, Some(0), "{errors}");
    check(&serde_json::from_str(&out).expect("one JSON value"), &want, "--json");

    let lines = folder.join("inputs.jsonl");
    std::fs::write(&lines, format!("{}\n\n{}\n", json!(film), json!({"text": cat}))).expect("writes");
    let args = ["text-classification", "--model", &model, "--file", &text(&lines), "--batch-size", "1", "--no-mmap"];
    let (code, out, errors) = kiln(folder, &args);
    assert_eq!(code, Some(0), "{errors}");
    let each: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    check(&json!(each), &want, "one on a line");

    let one = ["text-classification", "--model", &model, "--input", film, "--json", "--top-k", "all"];
    let (code, out, errors) = kiln(folder, &one);
    assert_eq!(code, Some(0), "{errors}");
    let all: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    let options = [&one[..5], &["--options", r#"{"top_k": null}"#, "--json"]].concat();
    assert_eq!(kiln(folder, &options).1, out, "the same as JSON");

    for (args, code, says) in [
        (["tell-fortunes", "--model", &model, "--input", "me"], 1, "no pipeline `tell-fortunes`"),
        (["fill-mask", "--model", &model, "--input", "the [MASK]"], 1, "no head for masked language modelling"),
        (["question-answering", "--model", &model, "--question", "Who?"], 2, "--context"),
        (["text-classification", "--model", &model, "--options", "{}"], 2, "--input"),
    ] {
        let (found, _, errors) = kiln(folder, &args);
        assert_eq!(found, Some(code), "{args:?}: {errors}");
        assert!(errors.contains(says), "{args:?}: {errors}");
    }
    let unknown = ["text-classification", "--model", &model, "--input", "a", "--options", r#"{"topk": 1}"#];
    let (code, _, errors) = kiln(folder, &unknown);
    assert!(code == Some(1) && errors.contains("--options: unknown field `topk`"), "{errors}");
}

#[test]
fn questions_have_flags() {
    let goldens = goldens();
    let fixture = Fixture::new(&goldens, "roberta-qa", Task::QuestionAnswering);
    let case = &goldens["pipelines"]["question-answering"][0];
    let field = |name: &str| case["input"][name].as_str().expect(name);
    let args = [
        "question-answering",
        "--model",
        &fixture.artifact,
        "--question",
        field("question"),
        "--context",
        field("context"),
        "--json",
    ];
    let (code, out, errors) = kiln(fixture.folder.path(), &args);
    assert_eq!(code, Some(0), "{errors}");
    check(&serde_json::from_str(&out).expect("JSON"), &case["output"], "an answer");
}
