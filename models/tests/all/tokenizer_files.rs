//! Tokenizers of the files that a folder may have, against transformers: tests/goldens/tokenizer_files.py.

use crate::support::{assert_says, folder, golden};
use base64::Engine;
use kiln_models::source::{ModelFiles, TOKENIZER, TOKENIZER_CONFIG};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use tokenizers::Tokenizer;

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(golden("tokenizer_files.json")).unwrap()).unwrap()
}

/// A golden's weights with other files: a text, a JSON value, or bytes.
fn model(model_type: &str, files: &[&Value]) -> TempDir {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("config.json", json!({ "model_type": model_type }).to_string().as_bytes());
    std::fs::copy(golden("llama").join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    for (name, content) in files.iter().flat_map(|files| files.as_object().unwrap()) {
        let base64 = content.get("base64").and_then(Value::as_str);
        match (base64, content.as_str()) {
            (Some(text), _) => write(name, &base64::engine::general_purpose::STANDARD.decode(text).unwrap()),
            (None, Some(text)) => write(name, text.as_bytes()),
            (None, None) => write(name, content.to_string().as_bytes()),
        }
    }
    folder
}

fn open(folder: &Path) -> (Tokenizer, Value) {
    let files = ModelFiles::open_folder(folder).unwrap();
    let json = files.processors.get(TOKENIZER).expect("a tokenizer");
    (Tokenizer::from_bytes(json).unwrap(), files.processors.json(TOKENIZER_CONFIG).unwrap_or_default())
}

fn ids(tokenizer: &Tokenizer, text: &Value) -> Vec<u32> {
    tokenizer.encode(text.as_str().unwrap(), true).unwrap().get_ids().to_vec()
}

#[test]
fn files_make_the_tokenizer_that_transformers_makes() {
    let goldens = goldens();
    let texts = goldens["texts"].as_array().unwrap();
    let pair = goldens["pair"].as_array().unwrap();
    for case in goldens["cases"].as_array().unwrap() {
        let place = format!("{} of {} with {}", case["source"], case["model_type"], case["files"]);
        let source = &goldens["sources"][case["source"].as_str().unwrap()];
        let folder = model(case["model_type"].as_str().unwrap(), &[source, &case["files"]]);
        let check = |folder: &Path, place: &str| {
            let (tokenizer, config) = open(folder);
            for (i, text) in texts.iter().enumerate() {
                let ids = ids(&tokenizer, text);
                assert_eq!(json!(ids), case["ids"][i], "{place}: {text}");
                assert_eq!(json!(tokenizer.decode(&ids, true).unwrap()), case["texts"][i], "{place}: {text}");
            }
            let both = tokenizer.encode((pair[0].as_str().unwrap(), pair[1].as_str().unwrap()), true).unwrap();
            assert_eq!(json!([both.get_ids(), both.get_type_ids()]), case["pair"], "{place}: {pair:?}");
            for (name, token) in case["named"].as_object().unwrap() {
                assert_eq!(&config[name], token, "{place}: {name}");
            }
            let side = config["padding_side"].as_str().unwrap_or("right");
            assert_eq!(side, case["padding_side"], "{place}");
            assert_eq!(config["model_input_names"], case["model_input_names"], "{place}");
        };
        check(folder.path(), &place);
        // What is saved says the same, though it no longer has the other files.
        let saved = folder.path().join("saved");
        ModelFiles::open_folder(folder.path()).unwrap().save_pretrained(&saved).unwrap();
        check(&saved, &format!("{place}, saved"));
    }
}

/// What `tokenizer.json` says of cutting and padding counts for every class; its padding token only for those that name none. The values
/// are those of transformers.
#[test]
fn sides_and_padding_are_those_of_the_tokenizers_file() {
    let goldens = goldens();
    for (source, model_type, class, pad) in [
        ("roberta", "roberta", None, Some("<pad>")),
        ("cased", "bert", None, Some("[PAD]")),
        ("cased", "bert", Some("TokenizersBackend"), Some("the")),
        ("llama", "llama", Some("LlamaTokenizer"), Some("the")),
        ("bpe", "gpt2", None, None),
        ("bpe-bos", "gpt_neox", None, Some("<|padding|>")),
        ("bpe", "qwen2", None, Some("<|endoftext|>")),
        ("bpe", "llama", None, Some("the")),
    ] {
        let mut json: Value =
            serde_json::from_str(goldens["sources"][source]["tokenizer.json"].as_str().unwrap()).unwrap();
        json["truncation"] = json!({"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({
            "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": null, "pad_id": 9, "pad_type_id": 0,
            "pad_token": "the"
        });
        let config = class.map_or(json!({}), |class| json!({ "tokenizer_class": class }));
        let files = json!({"tokenizer.json": json, "tokenizer_config.json": config});
        let folder = model(model_type, &[&files]);
        let check = |folder: &Path| {
            let (_, config) = open(folder);
            let said = ["truncation_side", "padding_side", "pad_token"].map(|name| config[name].as_str());
            assert_eq!(said, [Some("left"), Some("left"), pad], "{source} of {model_type}, {class:?}");
        };
        check(folder.path());
        let saved = folder.path().join("saved");
        ModelFiles::open_folder(folder.path()).unwrap().save_pretrained(&saved).unwrap();
        check(&saved);
    }
}

#[test]
fn what_is_missing_or_broken_is_named() {
    let goldens = goldens();
    let source = |name: &str| goldens["sources"][name].clone();
    let says = |model_type: &str, files: Value, says: &[&str]| {
        let folder = model(model_type, &[&files]);
        assert_says(ModelFiles::open_folder(folder.path()), says);
    };
    let gpt2 = source("gpt2-files");
    says("gpt2", json!({"vocab.json": gpt2["vocab.json"]}), &["has no merges.txt", "tokenizer.json"]);
    let merges = |text: &str| json!({"vocab.json": gpt2["vocab.json"], "merges.txt": text});
    says("gpt2", merges("#version: 0.2\nt h\nthe"), &["merges.txt", "line 3 is \"the\"", "a space between"]);
    says("roberta", merges("t h\nth x"), &["merges.txt", "line 2", "\"thx\"", "vocab.json has not"]);
    says("gpt2", json!({"vocab.json": "{", "merges.txt": ""}), &["vocab.json is not valid JSON"]);
    says("bert", json!({"vocab.txt": {"base64": "/w=="}}), &["vocab.txt", "no UTF-8"]);
    says("bert", json!({"vocab.txt": "a", "tokenizer_config.json": []}), &["tokenizer_config.json", "a JSON object"]);
    for (base64, what) in
        [("Cg==", "cut off"), ("CgUKAWE=", "cut off"), ("EgA=", "no pieces"), ("Dw==", "in the way 7")]
    {
        let files = json!({"spiece.model": {"base64": base64}});
        says("t5", files, &["spiece.model", "SentencePiece model", what]);
    }
}

/// A tokenizer that would be guesswork is none: the model still runs on token ids.
#[test]
fn what_no_class_is_known_for_is_left_out() {
    let goldens = goldens();
    let class = |name: &str| json!({"tokenizer_config.json": {"tokenizer_class": name}});
    for (model_type, source, class, there) in [
        ("bert", "bert-files", class("BertJapaneseTokenizer"), false),
        ("modernbert", "gpt2-files", json!({}), false),
        ("olmo2", "gpt2-files", class("GPT2Tokenizer"), false),
        ("t5", "t5-files", class("ByT5Tokenizer"), false),
        // transformers' general class reads no vocabulary of words; the model's type says what it is.
        ("bert", "bert-files", class("PreTrainedTokenizerFast"), true),
        ("gpt2", "gpt2-files", class("PreTrainedTokenizerFast"), true),
        // A class of another kind of model than the file has.
        ("bert", "llama", class("BertTokenizer"), true),
    ] {
        let folder = model(model_type, &[&goldens["sources"][source], &class]);
        let files = ModelFiles::open_folder(folder.path()).unwrap();
        assert_eq!(files.processors.get(TOKENIZER).is_some(), there, "{model_type} {source} {class}");
    }
}

#[test]
fn a_tokenizer_that_is_whole_stays_as_it_is() {
    let source = &goldens()["sources"]["bpe-bos"];
    let folder =
        model("llama", &[source, &json!({"tokenizer_config.json": {"bos_token": "<s>", "add_bos_token": false}})]);
    let files = ModelFiles::open_folder(folder.path()).unwrap();
    assert_eq!(files.processors.get(TOKENIZER).unwrap(), source["tokenizer.json"].as_str().unwrap().as_bytes());
}
