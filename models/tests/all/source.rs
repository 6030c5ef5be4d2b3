//! Resolving MODEL: folders and files.

use crate::support::gguf_writer::tiny_model;
use crate::support::{assert_says, folder, golden};
use kiln_models::source::{CHAT_TEMPLATE, HubOptions, ModelFiles, Processors, TOKENIZER_CONFIG};
use serde_json::json;

#[test]
fn a_folder_is_opened() {
    let path = golden("qwen2");
    let files = ModelFiles::resolve(path.to_str().unwrap()).unwrap();
    assert_eq!((files.id.as_str(), files.revision), ("qwen2", None));
    assert_eq!(files.config["model_type"], "qwen2");
    assert_eq!(files.generation_config.unwrap()["eos_token_id"], 2);
    assert_eq!(files.processors, Processors::default());
    assert_eq!(files.checkpoint.len(), 26);
}

#[test]
fn a_gguf_file_is_opened() {
    let folder = folder();
    let path = folder.path().join("tiny.gguf");
    tiny_model("llama").write(&path);
    let files = ModelFiles::resolve(path.to_str().unwrap()).unwrap();
    assert_eq!((files.id.as_str(), &files.config["hidden_size"]), ("tiny", &serde_json::json!(32)));
    assert_eq!(files.processors, Processors::default());
    assert_eq!(files.checkpoint.len(), 12);
}

#[test]
fn chat_templates_are_found_where_transformers_looks() {
    let folder = folder();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(file), folder.path().join(file)).unwrap();
    }
    let template = || ModelFiles::open_folder(folder.path()).unwrap().processors.get(CHAT_TEMPLATE).map(<[u8]>::to_vec);
    assert_eq!(template(), None);
    let named = r#"{"chat_template":[{"name":"tools","template":"T"},{"name":"default","template":"D"}]}"#;
    for (file, text, want) in [
        ("tokenizer_config.json", r#"{"chat_template":"one"}"#, "one"),
        ("tokenizer_config.json", named, "D"),
        ("chat_template.jinja", "own file", "own file"),
    ] {
        std::fs::write(folder.path().join(file), text).unwrap();
        assert_eq!(template().as_deref(), Some(want.as_bytes()));
    }
    // Named ones in files of their own join those of the config.
    let more = folder.path().join("additional_chat_templates");
    std::fs::create_dir(&more).unwrap();
    for (file, text) in [("tools.jinja", "T2"), ("rag.jinja", "R"), ("notes.txt", "N")] {
        std::fs::write(more.join(file), text).unwrap();
    }
    let named = || {
        let files = ModelFiles::open_folder(folder.path()).unwrap();
        files.processors.json(TOKENIZER_CONFIG).unwrap()["chat_template"].clone()
    };
    let both = json!([
        {"name": "default", "template": "D"}, {"name": "rag", "template": "R"}, {"name": "tools", "template": "T2"}
    ]);
    assert_eq!(named(), both);
    assert_eq!(template().as_deref(), Some(&b"own file"[..]));
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let alone = json!([{"name": "rag", "template": "R"}, {"name": "tools", "template": "T2"}]);
    assert_eq!(named(), alone);
}

#[test]
fn configs_of_any_processor_are_taken_as_they_are() {
    let folder = folder();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(file), folder.path().join(file)).unwrap();
    }
    let configs = ["preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"];
    for name in configs {
        std::fs::write(folder.path().join(name), format!(r#"{{"size":  224, "of": "{name}"}}"#)).unwrap();
    }
    std::fs::write(folder.path().join("other_config.json"), "{}").unwrap();
    let files = ModelFiles::open_folder(folder.path()).unwrap();
    assert_eq!(files.processors.iter().map(|(name, _)| name).collect::<Vec<_>>(), configs);
    let first = format!(r#"{{"size":  224, "of": "{}"}}"#, configs[0]);
    assert_eq!(files.processors.get(configs[0]), Some(first.as_bytes()));

    std::fs::write(folder.path().join(configs[1]), "{").unwrap();
    assert_says(ModelFiles::open_folder(folder.path()), &[configs[1]]);
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    for model in ["/nowhere/at/all", "./nothing", "absent.gguf", "a/b/c"] {
        assert_says(ModelFiles::resolve(model), &[&format!("no model `{model}`"), ".gguf file, or a hub id"]);
    }
    let empty = folder();
    let file = empty.path().join("x.bin");
    std::fs::write(&file, "x").unwrap();
    assert_says(ModelFiles::resolve(file.to_str().unwrap()), &["it is a file, but no .gguf"]);
    assert_says(ModelFiles::resolve(empty.path().to_str().unwrap()), &["has no config.json"]);
    std::fs::write(empty.path().join("config.json"), "{\"a\":").unwrap();
    assert_says(ModelFiles::open_folder(empty.path()), &["config.json is not valid JSON"]);
    for (text, found) in [("[]", "a list"), ("null", "null"), ("\"llama\"", "a string")] {
        std::fs::write(empty.path().join("config.json"), text).unwrap();
        let says = format!("config.json: expected a JSON object, found {found}");
        assert_says(ModelFiles::open_folder(empty.path()), &[&says]);
    }
    // What Python writes of numbers that JSON has not is no fault where nobody asks for it.
    std::fs::write(empty.path().join("config.json"), "{\"x\": [NaN, -Infinity]}").unwrap();
    assert_says(ModelFiles::open_folder(empty.path()), &["has no model.safetensors"]);
}

/// What is there by that name is not asked of the hub.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_no_hub_ids() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    symlink("loop", at("loop")).unwrap();
    symlink("pong", at("ping")).unwrap();
    symlink("ping", at("pong")).unwrap();
    symlink("gone/away", at("dangling")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    for (name, says) in [
        ("loop", "a link to loop, which cannot be followed"),
        ("ping", "a link to pong, which cannot be followed"),
        ("dangling", "a link to gone/away, which cannot be followed"),
        ("loop/model.gguf", "cannot be looked at"),
        ("fifo", "neither a folder nor a file"),
    ] {
        assert_says(ModelFiles::resolve(at(name).to_str().unwrap()), &["no model", name, says]);
    }
}

#[test]
fn a_folder_of_gguf_files_is_opened() {
    let folder = folder();
    let model = folder.path().to_str().unwrap();
    tiny_model("llama").write(&folder.path().join("a.gguf"));
    assert_eq!(ModelFiles::resolve(model).unwrap().id, "a");
    tiny_model("qwen2").write(&folder.path().join("b.gguf"));
    assert_says(ModelFiles::resolve(model), &["`gguf_file`", model, "a.gguf, b.gguf", "found nothing"]);
    let options = HubOptions { gguf_file: Some("b.gguf".into()), ..HubOptions::from_env() };
    assert_eq!(ModelFiles::resolve_with(model, &options).unwrap().config["model_type"], "qwen2");
    let options = HubOptions { gguf_file: Some("c.gguf".into()), ..HubOptions::from_env() };
    assert_says(ModelFiles::resolve_with(model, &options), &["found c.gguf"]);
    let none = tempfile::tempdir().unwrap();
    assert_says(ModelFiles::resolve_with(none.path().to_str().unwrap(), &options), &["holds no .gguf file"]);
}
