//! A model's files, saved as a folder and opened again.

use crate::support::gguf_writer::tiny_model;
use crate::support::{folder, golden};
use kiln_core::{DType, Storage};
use kiln_models::source::{ModelFiles, TOKENIZER_CONFIG};
use serde_json::json;

#[test]
fn a_saved_model_opens_as_it_was() {
    let source = folder();
    let write = |name: &str, text: &str| {
        let path = source.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(golden("qwen2").join(file), source.path().join(file)).unwrap();
    }
    write("tokenizer.json", r#"{"some": "tokenizer"}"#);
    write("tokenizer_config.json", r#"{"pad_token": "<pad>", "model_max_length": 8}"#);
    write("special_tokens_map.json", r#"{"pad_token": "<other>", "mask_token": "<mask>"}"#);
    write("chat_template.jinja", "T");
    write("preprocessor_config.json", r#"{"image_mean":  [0.5]}"#);
    write("additional_chat_templates/tools.jinja", "tools");
    write("modules.json", r#"[{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]"#);
    write("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
    let files = ModelFiles::open_folder(source.path()).unwrap();
    let config = files.processors.json(TOKENIZER_CONFIG).unwrap();
    // The map goes over the config, as in transformers.
    assert_eq!((&config["pad_token"], &config["mask_token"]), (&json!("<other>"), &json!("<mask>")));

    let target = folder();
    let target = target.path().join("a/b");
    files.save_pretrained(&target).unwrap();
    let again = ModelFiles::open_folder(&target).unwrap();
    assert_eq!((&again.config, &again.generation_config), (&files.config, &files.generation_config));
    assert_eq!(files.processors.iter().count(), 4);
    assert_eq!((&again.processors, &again.sentence_transformer), (&files.processors, &files.sentence_transformer));
    assert_eq!(again.checkpoint.len(), files.checkpoint.len());
    for (name, entry) in files.checkpoint.iter() {
        let saved = again.checkpoint.get(name).unwrap();
        assert_eq!((saved.storage, &saved.shape), (entry.storage, &entry.shape), "{name}");
        assert_eq!(again.checkpoint.bytes(name).unwrap(), files.checkpoint.bytes(name).unwrap(), "{name}");
    }
    // Over itself, too: the weights that are being read stay until the new ones are whole.
    again.save_pretrained(&target).unwrap();
    assert_eq!(ModelFiles::open_folder(&target).unwrap().checkpoint.len(), files.checkpoint.len());
    let left = std::fs::read_dir(&target).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.starts_with(".kiln-")).count(), 0);

    let file = target.join("config.json");
    let message = files.save_pretrained(&file).unwrap_err().to_string();
    assert!(message.starts_with("cannot create") && message.contains("config.json"), "{message}");
}

/// As the hub's cache has it: each file a link to a blob, whose name is its hash.
#[cfg(unix)]
#[test]
fn links_to_what_is_read_are_not_written_through() {
    let (blobs, snapshot) = (folder(), folder());
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(golden("qwen2").join(file), blobs.path().join(file)).unwrap();
        std::os::unix::fs::symlink(blobs.path().join(file), snapshot.path().join(file)).unwrap();
    }
    let files = ModelFiles::open_folder(snapshot.path()).unwrap();
    let message = files.save_pretrained(snapshot.path()).unwrap_err().to_string();
    assert!(message.contains("model.safetensors") && message.contains("which is read"), "{message}");
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        assert!(snapshot.path().join(file).is_symlink());
        assert!(std::fs::read(blobs.path().join(file)).unwrap() == std::fs::read(golden("qwen2").join(file)).unwrap());
    }
    // A link to something else is the user's, and is written through.
    let target = folder();
    let elsewhere = folder();
    std::os::unix::fs::symlink(elsewhere.path().join("w"), target.path().join("model.safetensors")).unwrap();
    files.save_pretrained(target.path()).unwrap();
    assert!(target.path().join("model.safetensors").is_symlink() && elsewhere.path().join("w").is_file());
    assert_eq!(ModelFiles::open_folder(target.path()).unwrap().checkpoint.len(), files.checkpoint.len());
}

#[test]
fn blocks_are_saved_as_f32() {
    let source = folder();
    let path = source.path().join("tiny.gguf");
    tiny_model("llama").write(&path);
    let files = ModelFiles::open_file(&path).unwrap();
    let target = folder();
    files.save_pretrained(target.path()).unwrap();
    let again = ModelFiles::open_folder(target.path()).unwrap();
    assert_eq!(again.config, files.config);
    for (name, entry) in files.checkpoint.iter() {
        assert_eq!(again.checkpoint.to_f32(name).unwrap(), files.checkpoint.to_f32(name).unwrap(), "{name}");
        if matches!(entry.storage, Storage::Block(_)) {
            assert_eq!(again.checkpoint.get(name).unwrap().storage, Storage::Dense(DType::F32), "{name}");
        }
    }
}
