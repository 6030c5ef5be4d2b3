//! Models from a hub on localhost, and onto it.

use crate::support::gguf_writer::{Meta, tiny_model};
use crate::support::hub_server::{Asked, COMMIT, HubServer, PUSHED, serve, sha256};
use crate::support::{assert_says, folder, golden, safetensors_bytes};
use kiln_models::source::{
    HubOptions, ModelFiles, Progress, PushOptions, TOKENIZER, TOKENIZER_CONFIG, Transfer, push_to_hub,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub fn options(endpoint: &str, cache: &Path) -> HubOptions {
    HubOptions {
        revision: None,
        gguf_file: None,
        endpoint: endpoint.to_string(),
        cache_dir: cache.to_path_buf(),
        token: None,
        local_files_only: false,
        retries: 0,
        progress: Progress::default(),
    }
}

pub fn golden_files(names: &[&'static str]) -> BTreeMap<&'static str, Vec<u8>> {
    names.iter().map(|name| (*name, std::fs::read(golden("llama").join(name)).unwrap())).collect()
}

/// `kiln/tiny`: config and weights.
pub fn tiny() -> HubServer {
    serve("kiln/tiny", golden_files(&["config.json", "model.safetensors"]))
}

/// Whether the cache is as `huggingface_hub` keeps it: links that lead to whole blobs.
pub fn assert_sound(cache: &Path) {
    let repo = cache.join("models--kiln--tiny");
    let names = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    for snapshot in names(&repo.join("snapshots")) {
        for link in names(&snapshot) {
            let target = std::fs::read_link(&link).unwrap();
            assert!(target.starts_with("../../blobs"), "{target:?}");
            assert!(link.exists(), "{link:?} leads to {target:?}, which is not there");
        }
    }
    for blob in names(&repo.join("blobs")) {
        let name = blob.file_name().unwrap().to_str().unwrap();
        if name.len() == 64 {
            assert_eq!(sha256(&std::fs::read(&blob).unwrap()), name);
        }
    }
}

fn paths(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|a| format!("{} {}", a.method, a.path)).collect()
}

#[test]
fn the_modules_of_sentence_transformers_come_along() {
    let cache = folder();
    let mut files = golden_files(&["config.json", "model.safetensors"]);
    let modules = json!([{ "path": "", "type": "T.Transformer" }, { "path": "1_Pooling", "type": "T.Pooling" }]);
    files.insert("1_Pooling/config.json", br#"{"pooling_mode":"cls"}"#.to_vec());
    files.insert("../config.json", b"{}".to_vec());
    let resolved = |files| {
        let server = serve("kiln/tiny", files);
        let model = ModelFiles::resolve_with("kiln/tiny", &options(&server.endpoint, cache.path())).unwrap();
        (model.sentence_transformer, paths(&server.asked()))
    };
    let (without, asked) = resolved(files.clone());
    assert!(without.is_none() && !asked.iter().any(|path| path.contains("Pooling")), "{asked:#?}");
    files.insert("modules.json", modules.to_string().into_bytes());
    let (with, asked) = resolved(files);
    assert_eq!(with.unwrap()[1]["config"]["pooling_mode"], "cls");
    assert!(!asked.iter().any(|path| path.contains("..")), "{asked:#?}");
}

#[test]
fn a_model_comes_from_the_hub_once() {
    let cache = folder();
    let mut files = golden_files(&["config.json", "generation_config.json", "model.safetensors"]);
    files.insert("tokenizer.json", b"{}".to_vec());
    files.insert("preprocessor_config.json", b"{\"size\": 8}".to_vec());
    files.insert("additional_chat_templates/rag.jinja", b"R".to_vec());
    for unneeded in [
        "README.md",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "onnx/preprocessor_config.json",
        "additional_chat_templates/old/rag.jinja",
    ] {
        files.insert(unneeded, b"not needed".to_vec());
    }
    let server = serve("kiln/tiny", files);
    let mut options = options(&server.endpoint, cache.path());
    let first = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!((first.id.as_str(), first.revision.as_deref()), ("kiln/tiny", Some(COMMIT)));
    assert_eq!(first.checkpoint.len(), 21);
    assert_eq!(first.processors.get(TOKENIZER), Some(&b"{}"[..]));
    assert_eq!(first.processors.json(TOKENIZER_CONFIG).unwrap()["chat_template"][0]["name"], "rag");
    assert_eq!(first.processors.get("preprocessor_config.json"), Some(&b"{\"size\": 8}"[..]));
    let refs = cache.path().join("models--kiln--tiny/refs/main");
    assert_eq!(std::fs::read_to_string(refs).unwrap(), COMMIT);
    let asked = paths(&server.asked());
    assert_eq!(asked.len(), 1 + 6 * 2 + 1, "a listing, six files, one of them redirected: {asked:#?}");
    for unneeded in ["README", ".bin", "onnx", "old"] {
        assert!(!asked.iter().any(|path| path.contains(unneeded)), "{asked:#?}");
    }

    let listing = ["GET /api/models/kiln/tiny/revision/main"];
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(paths(&server.asked()), listing);
    options.local_files_only = true;
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert!(server.asked().is_empty());
    options.local_files_only = false;
    options.endpoint = "http://127.0.0.1:9".to_string();
    let unreachable = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(unreachable.revision.as_deref(), Some(COMMIT));
}

#[test]
fn older_files_of_a_tokenizer_come_where_there_is_no_newer_one() {
    let asked = |with: &[&'static str]| {
        let cache = folder();
        let mut files = golden_files(&["config.json", "model.safetensors"]);
        files.extend(with.iter().map(|name| (*name, b"{}".to_vec())));
        let server = serve("kiln/tiny", files);
        ModelFiles::resolve_with("kiln/tiny", &options(&server.endpoint, cache.path())).unwrap();
        let paths = paths(&server.asked());
        with.iter().copied().filter(|name| paths.iter().any(|path| path.ends_with(name))).collect::<Vec<_>>()
    };
    let older = ["added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt", "vocab.txt"];
    assert_eq!(asked(&older), older);
    assert_eq!(asked(&[&older[..], &["tokenizer.json"]].concat()), [&older[..2], &["tokenizer.json"]].concat());
}

#[test]
fn gguf_files_come_from_the_hub_too() {
    let gguf = |layers: u32| tiny_model("llama").set("llama.block_count", Meta::U32(layers)).bytes();
    let cache = folder();
    let mut files = BTreeMap::from([("README.md", b"a model".to_vec()), ("tiny.Q8_0.gguf", gguf(1))]);
    let server = serve("kiln/tiny", files.clone());
    let mut of = options(&server.endpoint, cache.path());
    let resolve = |of: &HubOptions| ModelFiles::resolve_with("kiln/tiny", of);
    let layers = |of: &HubOptions| resolve(of).unwrap().config["num_hidden_layers"].clone();
    assert_eq!(layers(&of), 1, "the only one");
    assert!(!paths(&server.asked()).iter().any(|path| path.contains("README")));
    of.local_files_only = true;
    let cached = resolve(&of).unwrap();
    assert_eq!((cached.id.as_str(), cached.revision.as_deref()), ("kiln/tiny", Some(COMMIT)));
    of.gguf_file = Some("Q4/tiny.gguf".into());
    assert_says(resolve(&of), &["does not hold Q4/tiny.gguf"]);

    // Several, one of them in a folder.
    files.insert("Q4/tiny.gguf", gguf(2));
    let server = serve("kiln/tiny", files.clone());
    let mut of = options(&server.endpoint, cache.path());
    assert_says(resolve(&of), &["`gguf_file`", "Q4/tiny.gguf, tiny.Q8_0.gguf", "found nothing"]);
    of.gguf_file = Some("tiny.gguf".into());
    assert_says(resolve(&of), &["Q4/tiny.gguf, tiny.Q8_0.gguf", "found tiny.gguf"]);
    of.gguf_file = Some("Q4/tiny.gguf".into());
    assert_eq!(layers(&of), 2);
    of.local_files_only = true;
    assert_eq!(layers(&of), 2);
    of.gguf_file = None;
    assert_says(resolve(&of), &["does not hold a single .gguf file"]);

    // safetensors come first, unless a file is asked for.
    files.extend(golden_files(&["config.json", "model.safetensors"]));
    let server = serve("kiln/tiny", files);
    let (cache, mut of) = (folder(), options(&server.endpoint, cache.path()));
    of.cache_dir = cache.path().to_path_buf();
    assert_eq!(resolve(&of).unwrap().checkpoint.len(), 21);
    of.gguf_file = Some("Q4/tiny.gguf".into());
    assert_eq!(layers(&of), 2);
    of.gguf_file = Some("../tiny.gguf".into());
    assert_says(resolve(&of), &["`gguf_file`", "found ../tiny.gguf"]);
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let (cache, server) = (folder(), tiny());
    let options = HubOptions { token: Some("hf_secret".into()), ..options(&server.endpoint, cache.path()) };
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    for asked in server.asked() {
        let token = asked.headers.get("authorization").map(String::as_str);
        let want = (!asked.path.starts_with("/storage/")).then_some("Bearer hf_secret");
        assert_eq!(token, want, "{} {}", asked.method, asked.path);
    }
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let (cache, server) = (folder(), tiny());
    let mut options = options(&server.endpoint, cache.path());
    let reference = |name: &str| cache.path().join("models--kiln--tiny/refs").join(name);
    ModelFiles::resolve_with("kiln/tiny@v1.0", &options).unwrap();
    assert!(reference("v1.0").exists() && !reference("main").exists());
    ModelFiles::resolve_with(&format!("kiln/tiny@{COMMIT}"), &options).unwrap();
    assert!(!reference(COMMIT).exists());
    options.revision = Some("refs/pr/1".to_string());
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert!(reference("refs/pr/1").exists());
    let weights = server.asked().iter().filter(|a| a.path.starts_with("/storage/")).count();
    assert_eq!(weights, 1, "all of them are one commit");

    options.local_files_only = true;
    for revision in ["v1.0", "refs/pr/1", COMMIT] {
        options.revision = Some(revision.to_string());
        let files = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
        assert_eq!(files.revision.as_deref(), Some(COMMIT));
    }
    options.revision = Some("main".to_string());
    assert_says(ModelFiles::resolve_with("kiln/tiny", &options), &["`kiln/tiny` (revision main)", "HF_HUB_OFFLINE"]);
    options.local_files_only = false;
    options.revision = Some("v9".to_string());
    assert_says(ModelFiles::resolve_with("kiln/tiny", &options), &["no revision `v9`", "404"]);
}

fn sharded() -> BTreeMap<&'static str, Vec<u8>> {
    let shard = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        safetensors_bytes(&header, &[7])
    };
    let mut files = golden_files(&["config.json"]);
    let index = r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
    files.insert("model.safetensors.index.json", index.into());
    files.insert("m-1.safetensors", shard("a"));
    files.insert("m-2.safetensors", shard("b"));
    files
}

#[test]
fn shards_come_from_the_hub() {
    let (cache, server) = (folder(), serve("kiln/tiny", sharded()));
    let mut options = options(&server.endpoint, cache.path());
    let model = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(model.checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    let second = cache.path().join("models--kiln--tiny/snapshots").join(COMMIT).join("m-2.safetensors");
    std::fs::remove_file(second).unwrap();
    options.local_files_only = true;
    assert_says(ModelFiles::resolve_with("kiln/tiny", &options), &["does not hold m-2.safetensors"]);

    server.state().files.remove("m-2.safetensors");
    options.local_files_only = false;
    let result = ModelFiles::resolve_with("kiln/tiny", &options);
    assert_says(result, &["`kiln/tiny`", "model.safetensors.index.json lists m-2.safetensors, which it does not hold"]);
}

#[test]
fn pickled_weights_are_taken_where_there_is_nothing_else() {
    let mut files = golden_files(&["config.json"]);
    files.insert("pytorch_model.bin", std::fs::read(golden("pytorch_model.bin")).unwrap());
    let (cache, server) = (folder(), serve("kiln/tiny", files));
    let mut options = options(&server.endpoint, cache.path());
    assert_eq!(ModelFiles::resolve_with("kiln/tiny", &options).unwrap().checkpoint.len(), 5);
    options.local_files_only = true;
    assert_eq!(ModelFiles::resolve_with("kiln/tiny", &options).unwrap().checkpoint.len(), 5);
}

#[test]
fn a_pushed_model_comes_back() {
    for chunk in [None, Some(100_000)] {
        let server = serve("kiln/tiny", BTreeMap::new());
        (server.state().missing, server.state().chunk) = (true, chunk);
        let source = folder();
        for file in ["config.json", "generation_config.json", "model.safetensors"] {
            std::fs::copy(golden("llama").join(file), source.path().join(file)).unwrap();
        }
        for file in ["tokenizer.json", "ignored.txt", "optimizer.pt", ".hidden.json"] {
            std::fs::write(source.path().join(file), "{}").unwrap();
        }
        let cache = folder();
        let options = HubOptions { token: Some("hf_secret".into()), ..options(&server.endpoint, cache.path()) };
        let push = PushOptions { private: true, message: "First \"words\"".to_string() };
        let pushed = push_to_hub(source.path(), "kiln/tiny", &push, &options).unwrap();
        assert_eq!((pushed.commit.as_str(), pushed.url.as_str()), (PUSHED, "http://hub/commit"));
        let asked = server.asked();
        let body = |part: &str| {
            let found = asked.iter().find(|a| a.path.contains(part)).unwrap();
            String::from_utf8(found.body.clone()).unwrap()
        };
        let created: serde_json::Value = serde_json::from_str(&body("/api/repos/create")).unwrap();
        let want = serde_json::json!({ "name": "tiny", "organization": "kiln", "type": "model", "private": true });
        assert_eq!(created, want);
        assert!(body("/commit/main").contains(r#""summary":"First \"words\"""#));
        for asked in asked.iter().filter(|a| a.method == "PUT") {
            assert!(!asked.headers.contains_key("authorization"));
        }

        let names: Vec<String> = server.state().files.keys().cloned().collect();
        let want = ["README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
        assert_eq!(names, want);
        let card = String::from_utf8(server.state().files["README.md"].clone()).unwrap();
        assert!(card.starts_with("---\nlibrary_name: transformers\ntags:\n- llama\n---\n\n# tiny\n"), "{card}");
        let back = ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
        assert_eq!(back.checkpoint.len(), 21);

        // Again: what is there is neither uploaded nor overwritten.
        server.asked();
        server.state().files.insert("README.md".to_string(), b"by hand".to_vec());
        push_to_hub(source.path(), "kiln/tiny", &push, &options).unwrap();
        assert!(!server.asked().iter().any(|a| a.method == "PUT" || a.path == "/api/repos/create"));
        assert_eq!(server.state().files["README.md"], b"by hand");
    }
}

#[test]
fn what_cannot_be_pushed_is_said_to_be() {
    let (cache, server, empty) = (folder(), tiny(), folder());
    let mut options = options(&server.endpoint, cache.path());
    let model = golden("llama");
    let push = |path: &Path, id: &str, options: &HubOptions| push_to_hub(path, id, &PushOptions::default(), options);
    assert_says(push(&model, "kiln/tiny", &options), &["`kiln/tiny`", "set HF_TOKEN"]);
    options.token = Some("hf_secret".to_string());
    assert_says(push(&model, "no id", &options), &["no model `no id`", "pushing needs a hub id"]);
    assert_says(push(empty.path(), "kiln/tiny", &options), &["has no config.json"]);
    assert_says(push(&model, "kiln/tiny@v9", &options), &["announce the files of `kiln/tiny`", "no revision `v9`"]);
    options.local_files_only = true;
    assert_says(push(&model, "kiln/tiny", &options), &["HF_HUB_OFFLINE"]);
}

#[test]
fn downloads_tell_how_far_they_are() {
    #[derive(Clone, Default)]
    struct Watch(Arc<Mutex<Vec<String>>>);
    impl Watch {
        fn note(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }
    }
    struct Watched(Watch, String);
    impl Transfer for Watched {
        fn at(&self, bytes: u64) {
            self.0.note(format!("{} at {bytes}", self.1));
        }
    }
    impl Drop for Watched {
        fn drop(&mut self) {
            self.0.note(format!("{} ends", self.1));
        }
    }
    let (server, cache, watch) = (tiny(), folder(), Watch::default());
    let begin = watch.clone();
    let progress = Progress::new(move |name, bytes| {
        begin.note(format!("{name} of {bytes}"));
        Watched(begin.clone(), name.to_string())
    });
    let options = HubOptions { progress, ..options(&server.endpoint, cache.path()) };
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    let told = watch.0.lock().unwrap().clone();
    for (name, bytes) in golden_files(&["config.json", "model.safetensors"]) {
        let own: Vec<&String> = told.iter().filter(|line| line.starts_with(name)).collect();
        assert_eq!(own.first().unwrap().as_str(), format!("{name} of {}", bytes.len()), "{told:?}");
        assert_eq!(own[1].as_str(), format!("{name} at 0"), "{told:?}");
        assert_eq!(own.last().unwrap().as_str(), format!("{name} ends"), "{told:?}");
    }
    // What is there already is no transfer.
    ModelFiles::resolve_with("kiln/tiny", &options).unwrap();
    assert_eq!(watch.0.lock().unwrap().len(), told.len());
}
