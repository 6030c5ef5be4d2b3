//! What makes another key, and what does not.

use super::*;
use crate::compile::trace;
use kiln_core::{CpuSpec, DType, TargetSpec};
use kiln_models::Task;
use kiln_passes::egraph::Numerics;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{copy, read, write};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// A copy of a golden's files in a folder of that name.
fn model(inside: &Path, name: &str, from: &str) -> PathBuf {
    let folder = inside.join(name);
    std::fs::create_dir(&folder).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        copy(golden(from).join(file), folder.join(file)).expect("copies");
    }
    folder
}

fn key_with(folder: &Path, options: &CompileOptions) -> String {
    key_of(&ModelFiles::open_folder(folder).expect("opens"), options)
}

fn key_of(files: &ModelFiles, options: &CompileOptions) -> String {
    let traced = trace(files, options).expect("traces");
    of(files, options, &traced, &Contents::remembered_in(None))
}

fn key(folder: &Path) -> String {
    key_with(folder, &CompileOptions::default())
}

/// Changes fields of a JSON file, which is made if it is not there.
fn edit(file: &Path, fields: &Value) {
    let mut json: Value = read(file).map_or(json!({}), |text| serde_json::from_slice(&text).expect("JSON"));
    for (name, value) in fields.as_object().expect("fields") {
        json[name] = value.clone();
    }
    write(file, json.to_string()).expect("writes");
}

/// Each change gives a key that was not there before.
#[test]
fn whatever_is_read_is_part_of_it() {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = model(temp.path(), "m", "llama");
    let at = |name: &str| folder.join(name);
    let mut seen = BTreeSet::from([key(&folder)]);
    let mut new = |what: &str| assert!(seen.insert(key(&folder)), "{what} is no part of the key");

    // What the program does not depend on, but generating, pipelines and Auto classes do.
    for fields in [
        json!({"eos_token_id": 7}),
        json!({"eos_token_id": [7, 8]}),
        json!({"bos_token_id": 3}),
        json!({"id2label": {"0": "BAD", "1": "GOOD"}}),
        json!({"problem_type": "multi_label_classification"}),
        json!({"task_specific_params": {"summarization": {"prefix": "summarize: "}}}),
        json!({"temperature": 0.5}),
        json!({"architectures": ["LlamaForCausalLM", "LlamaModel"]}),
        json!({"rms_norm_eps": 1e-3}),
        json!({"rope_theta": 5000.0}),
    ] {
        edit(&at("config.json"), &fields);
        new(&fields.to_string());
    }
    for (file, fields) in [
        ("generation_config.json", json!({"max_new_tokens": 3})),
        ("generation_config.json", json!({"max_new_tokens": 4})),
        ("tokenizer_config.json", json!({"model_max_length": 5})),
        ("tokenizer_config.json", json!({"chat_template": "one"})),
        ("special_tokens_map.json", json!({"mask_token": "<mask>"})),
        ("chat_template.json", json!({"chat_template": "two"})),
        ("preprocessor_config.json", json!({"size": 224})),
        ("preprocessor_config.json", json!({"size": 225})),
    ] {
        edit(&at(file), &fields);
        new(file);
    }
    std::fs::create_dir(at("additional_chat_templates")).expect("a folder");
    for (file, text) in [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "{ }"),
        ("chat_template.jinja", "three"),
        ("chat_template.jinja", "four!"),
        ("additional_chat_templates/tools.jinja", "five"),
        ("additional_chat_templates/tools.jinja", "six!"),
    ] {
        write(at(file), text).expect("writes");
        new(file);
    }
    std::fs::remove_file(at("chat_template.jinja")).expect("removes");
    new("a template that is gone");

    // One value of the weights, in place and in a file of its own, with an equal time.
    let weights = at("model.safetensors");
    let mut bytes = read(&weights).expect("reads");
    for (i, replaced) in [(1, false), (2, true), (200, false)] {
        let last = bytes.len() - i;
        bytes[last] ^= 0x10;
        if replaced {
            std::fs::remove_file(&weights).expect("removes");
        }
        write(&weights, &bytes).expect("writes");
        let file = std::fs::File::options().write(true).open(&weights).expect("opens");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("sets the time");
        new("a value of the weights");
    }
}

#[test]
fn pooling_is_part_of_it() {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = model(temp.path(), "m", "bert-classify");
    let options = CompileOptions { task: Some(Task::Base), ..CompileOptions::default() };
    let mut seen = BTreeSet::from([key_with(&folder, &options)]);
    let modules = json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]);
    write(folder.join("modules.json"), modules.to_string()).expect("writes");
    std::fs::create_dir(folder.join("1_Pooling")).expect("a folder");
    for mode in ["pooling_mode_mean_tokens", "pooling_mode_cls_token"] {
        let config = json!({"word_embedding_dimension": 64, mode: true});
        write(folder.join("1_Pooling/config.json"), config.to_string()).expect("writes");
        assert!(seen.insert(key_with(&folder, &options)), "{mode} is no part of the key");
    }
}

#[test]
fn shards_are_part_of_it() {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = model(temp.path(), "m", "llama");
    let whole = key(&folder);
    let names: Vec<String> =
        ModelFiles::open_folder(&folder).expect("opens").checkpoint.names().map(str::to_string).collect();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    std::fs::rename(folder.join("model.safetensors"), folder.join(shards[0])).expect("renames");
    let index = |of: &dyn Fn(usize) -> usize| {
        let map: serde_json::Map<String, Value> =
            names.iter().enumerate().map(|(i, name)| (name.clone(), json!(shards[of(i)]))).collect();
        write(folder.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).expect("writes");
    };
    index(&|_| 0);
    let one = key(&folder);
    let mut bytes = read(folder.join(shards[0])).expect("reads");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    write(folder.join(shards[0]), bytes).expect("writes");
    assert_eq!(one, whole, "the same weights under another name");
    assert_ne!(key(&folder), whole);
}

#[test]
fn options_are_part_of_it() {
    let base = CompileOptions::default();
    let passes = |change: &dyn Fn(&mut kiln_passes::Options)| {
        let mut options = base.clone();
        change(&mut options.passes);
        options
    };
    let v4 = CpuSpec::level("x86-64-v4").expect("a level");
    let mut faster = CpuSpec::level("x86-64-v3").expect("a level");
    faster.rates.peak_flops *= 2.0;
    let program = std::env::current_exe().expect("this program");
    let all = [
        base.clone(),
        CompileOptions { dtype: DType::BF16, ..base.clone() },
        CompileOptions { dtype: DType::F16, ..base.clone() },
        CompileOptions { max_seq: Some(32), ..base.clone() },
        CompileOptions { max_seq: Some(33), ..base.clone() },
        CompileOptions { task: Some(Task::Base), ..base.clone() },
        CompileOptions { target: TargetSpec::Cpu(faster), ..base.clone() },
        CompileOptions { more_targets: vec![TargetSpec::Cpu(v4)], ..base.clone() },
        CompileOptions { emit: EmitMode::Worker(program), ..base.clone() },
        CompileOptions { emit: EmitMode::Worker("/bin/sh".into()), ..base.clone() },
        passes(&|p| p.numerics = Numerics::Exact),
        passes(&|p| p.numerics = Numerics::Approximate),
        passes(&|p| p.rewrite = false),
        passes(&|p| p.without = vec!["silu".into()]),
    ];
    let keys: BTreeSet<String> = all.iter().map(|options| key_with(&golden("llama"), options)).collect();
    assert_eq!(keys.len(), all.len());
    for key in &keys {
        assert_eq!(key_in(&Path::new("folder").join(file_of(key))), Some(&**key));
        assert_eq!(key_in(Path::new(key)), None, "an entry's name has an end");
    }
    assert_eq!(key_in(Path::new("README.kiln")), None);
}

#[test]
fn the_revision_and_the_name_are_part_of_it_and_the_place_is_not() {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = model(temp.path(), "m", "llama");
    let files = ModelFiles::open_folder(&folder).expect("opens");
    let options = CompileOptions::default();
    let first = key_of(&files, &options);
    let revision = ModelFiles { revision: Some("a".repeat(40)), ..files.clone() };
    let id = ModelFiles { id: "acme/m".into(), ..files };
    assert_eq!(BTreeSet::from([&first, &key_of(&revision, &options), &key_of(&id, &options)]).len(), 3);

    let moved = temp.path().join("elsewhere");
    std::fs::create_dir(&moved).expect("a folder");
    std::fs::rename(&folder, moved.join("m")).expect("renames");
    assert_eq!(key(&moved.join("m")), first);
    // As the hub's cache has it: each file a link to a blob.
    #[cfg(unix)]
    {
        let linked = temp.path().join("m");
        std::fs::create_dir(&linked).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::os::unix::fs::symlink(moved.join("m").join(file), linked.join(file)).expect("links");
        }
        assert_eq!(key(&linked), first);
    }
}
