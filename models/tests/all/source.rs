//! Resolving MODEL: folders, files and a hub on localhost.

use crate::support::gguf_writer::tiny_model;
use crate::support::hub_server::{COMMIT, serve};
use crate::support::{assert_says, folder, golden, safetensors_bytes};
use kiln_models::source::{HubOptions, ModelFiles};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn options(endpoint: &str, cache: &Path) -> HubOptions {
    HubOptions { endpoint: endpoint.to_string(), cache: cache.to_path_buf(), token: None, offline: false }
}

#[test]
fn a_folder_is_opened() {
    let path = golden("qwen2");
    let files = ModelFiles::resolve(path.to_str().unwrap()).unwrap();
    assert_eq!((files.id.as_str(), files.revision), ("qwen2", None));
    assert_eq!(files.config["model_type"], "qwen2");
    assert_eq!(files.generation_config.unwrap()["eos_token_id"], 2);
    assert!(files.tokenizer_json.is_none() && files.chat_template.is_none());
    assert_eq!(files.checkpoint.len(), 26);
}

#[test]
fn a_gguf_file_is_opened() {
    let folder = folder();
    let path = folder.path().join("tiny.gguf");
    tiny_model("llama").write(&path);
    let files = ModelFiles::resolve(path.to_str().unwrap()).unwrap();
    assert_eq!((files.id.as_str(), &files.config["hidden_size"]), ("tiny", &serde_json::json!(32)));
    assert!(files.tokenizer_json.is_none());
    assert_eq!(files.checkpoint.len(), 12);
}

#[test]
fn chat_templates_are_found_where_transformers_looks() {
    let folder = folder();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(file), folder.path().join(file)).unwrap();
    }
    let template = || ModelFiles::open_folder(folder.path()).unwrap().chat_template;
    assert_eq!(template(), None);
    let named = r#"{"chat_template":[{"name":"tools","template":"T"},{"name":"default","template":"D"}]}"#;
    for (file, text, want) in [
        ("tokenizer_config.json", r#"{"chat_template":"one"}"#, "one"),
        ("tokenizer_config.json", named, "D"),
        ("chat_template.jinja", "own file", "own file"),
    ] {
        std::fs::write(folder.path().join(file), text).unwrap();
        assert_eq!(template().as_deref(), Some(want));
    }
    // Named ones in files of their own join those of the config.
    let more = folder.path().join("additional_chat_templates");
    std::fs::create_dir(&more).unwrap();
    for (file, text) in [("tools.jinja", "T2"), ("rag.jinja", "R"), ("notes.txt", "N")] {
        std::fs::write(more.join(file), text).unwrap();
    }
    let named = |config: Option<Value>| config.unwrap()["chat_template"].clone();
    let both = json!([
        {"name": "default", "template": "D"}, {"name": "rag", "template": "R"}, {"name": "tools", "template": "T2"}
    ]);
    assert_eq!(named(ModelFiles::open_folder(folder.path()).unwrap().tokenizer_config), both);
    assert_eq!(template().as_deref(), Some("own file"));
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let alone = json!([{"name": "rag", "template": "R"}, {"name": "tools", "template": "T2"}]);
    assert_eq!(named(ModelFiles::open_folder(folder.path()).unwrap().tokenizer_config), alone);
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
    std::fs::write(empty.path().join("config.json"), "{}").unwrap();
    assert_says(ModelFiles::open_folder(empty.path()), &["has no model.safetensors"]);
}

fn golden_files(names: &[&'static str]) -> BTreeMap<&'static str, Vec<u8>> {
    names.iter().map(|name| (*name, std::fs::read(golden("llama").join(name)).unwrap())).collect()
}

#[test]
fn a_model_comes_from_the_hub_once() {
    let cache = folder();
    let mut files = golden_files(&["config.json", "generation_config.json", "model.safetensors"]);
    files.insert("tokenizer.json", b"{}".to_vec());
    files.insert("additional_chat_templates/rag.jinja", b"R".to_vec());
    files.insert("additional_chat_templates/old/rag.jinja", b"not needed".to_vec());
    files.insert("README.md", b"not needed".to_vec());
    let server = serve("kiln/tiny", files);
    let mut options = options(&server.endpoint, cache.path());
    let first = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!((first.id.as_str(), first.revision.as_deref()), ("kiln/tiny", Some(COMMIT)));
    assert_eq!(first.checkpoint.len(), 21);
    assert_eq!(first.tokenizer_json.as_deref(), Some(&b"{}"[..]));
    assert_eq!(first.tokenizer_config.unwrap()["chat_template"][0]["name"], "rag");
    let asked = server.asked.lock().unwrap().len();
    assert!(!server.asked.lock().unwrap().iter().any(|path| path.contains("old")));
    assert!(!server.asked.lock().unwrap().iter().any(|path| path.contains("README")));

    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(server.asked.lock().unwrap().len(), asked + 1, "only the listing is asked for again");
    options.offline = true;
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(server.asked.lock().unwrap().len(), asked + 1);
    options.offline = false;
    options.endpoint = "http://127.0.0.1:9".to_string();
    let unreachable = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(unreachable.revision.as_deref(), Some(COMMIT));
}

#[test]
fn shards_come_from_the_hub() {
    let shard = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        safetensors_bytes(&header, &[7])
    };
    let mut files = golden_files(&["config.json"]);
    let index = r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
    files.insert("model.safetensors.index.json", index.into());
    files.insert("m-1.safetensors", shard("a"));
    files.insert("m-2.safetensors", shard("b"));
    let server = serve("kiln/sharded", files.clone());
    let cache = folder();
    let model = ModelFiles::resolve_with("kiln/sharded", &options(&server.endpoint, cache.path())).unwrap();
    assert_eq!(model.checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);

    files.remove("m-2.safetensors");
    let server = serve("kiln/sharded", files);
    let cache = folder();
    let result = ModelFiles::resolve_with("kiln/sharded", &options(&server.endpoint, cache.path()));
    assert_says(result, &["m-2.safetensors of `kiln/sharded`", "404"]);
}

#[test]
fn the_hubs_failures_are_named() {
    let server = serve("kiln/bare", golden_files(&["config.json"]));
    let cache = folder();
    let at = |id: &str| ModelFiles::resolve_with(id, &options(&server.endpoint, cache.path()));
    assert_says(at("kiln/absent"), &["`kiln/absent`", "404", &server.endpoint]);
    assert_says(at("kiln/bare"), &["`kiln/bare`", "neither model.safetensors nor model.safetensors.index.json"]);
    let mut offline = options(&server.endpoint, cache.path());
    offline.offline = true;
    assert_says(ModelFiles::resolve_with("kiln/other", &offline), &["`kiln/other`", "HF_HUB_OFFLINE"]);
    let nobody = options("http://127.0.0.1:9", cache.path());
    assert_says(ModelFiles::resolve_with("kiln/other", &nobody), &["http://127.0.0.1:9", "`kiln/other`"]);
}
