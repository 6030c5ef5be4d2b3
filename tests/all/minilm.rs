//! all-MiniLM-L6-v2 through the whole road, against what sentence-transformers computes with it.

use crate::{golden, options};
use kiln::Task;
use kiln::lab::verify;
use kiln::{AutoModel, CompileOptions, ModelFiles, Session, SessionOptions, compile};
use kiln_ir::interp::relative_error;
use serde_json::Value;
use std::path::PathBuf;

#[test]
fn minilm_embeds_sentences_as_sentence_transformers_does() {
    let folder = std::env::var_os("KILN_MINILM").map(PathBuf::from);
    let folder = folder.expect("KILN_MINILM names the model's folder: `make test` fetches it and says where it is");
    let files = ModelFiles::open_folder(&folder).expect("opens");
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("minilm.kiln");
    compile(&files, &path, &CompileOptions { task: Some(Task::Base), ..options() }).expect("compiles");
    let model = AutoModel::from_pretrained(path.to_str().expect("UTF-8")).expect("loads");

    let text = std::fs::read(golden("minilm-l6-v2.json")).expect("the golden");
    let expected: Value = serde_json::from_slice(&text).expect("JSON");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let ids = |ids: &Value| -> Vec<u32> {
        ids.as_array().expect("ids").iter().map(|i| i.as_u64().expect("an id") as u32).collect()
    };
    let encode = |text: &Value| tokenizer.encode(text.as_str().expect("a text"), true).expect("encodes");
    for case in expected["tokenizer_cases"].as_array().expect("cases") {
        assert_eq!(encode(&case["text"]), ids(&case["ids"]), "{case}");
    }
    for (sentence, row) in
        expected["sentences"].as_array().expect("sentences").iter().zip(expected["input_ids"].as_array().expect("rows"))
    {
        let mut want = ids(row);
        want.truncate(want.iter().position(|id| *id == 0).unwrap_or(want.len()));
        assert_eq!(encode(sentence), want, "{sentence}");
    }

    let tensors = verify::read_tensors(&golden("minilm-l6-v2.safetensors"), "").expect("tensors");
    let tensor = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t).expect(name);
    let inputs = ["input_ids", "attention_mask"].map(|name| (name.to_string(), tensor(name).clone()));
    let mut session = Session::new(model.model(), &SessionOptions::default()).expect("a session");
    let got = verify::call(&mut session, "forward", &inputs).expect("runs");
    for (field, want) in [("last_hidden_state", "last_hidden_state"), ("sentence_embedding", "embeddings")] {
        let got = got.iter().find(|(name, _)| name == field).map(|(_, t)| t).expect(field);
        let error = relative_error(got, tensor(want));
        assert!(error < 1e-4, "{field} is off by {error:.2e}");
    }
}
