//! all-MiniLM-L6-v2 through the whole road, against what sentence-transformers computes with it.

use crate::{golden, options};
use kiln::ir::interp::relative_error;
use kiln::models::Task;
use kiln::{AutoModel, CompileOptions, ModelFiles, compile, verify};
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
    let ids = |ids: &Value| ids.as_array().expect("ids").iter().map(|i| i.as_u64().expect("an id") as u32).collect();
    for case in expected["tokenizer_cases"].as_array().expect("cases") {
        let want: Vec<u32> = ids(&case["ids"]);
        assert_eq!(tokenizer.encode(case["text"].as_str().expect("a text"), true).expect("encodes"), want, "{case}");
    }
    for (sentence, row) in
        expected["sentences"].as_array().expect("sentences").iter().zip(expected["input_ids"].as_array().expect("rows"))
    {
        let mut want: Vec<u32> = ids(row);
        want.truncate(want.iter().position(|id| *id == 0).unwrap_or(want.len()));
        assert_eq!(tokenizer.encode(sentence.as_str().expect("a text"), true).expect("encodes"), want, "{sentence}");
    }

    let tensors = verify::read_tensors(&golden("minilm-l6-v2.safetensors"), "").expect("tensors");
    let tensor = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t).expect(name);
    let (input_ids, mask) = (tensor("input_ids"), tensor("attention_mask"));
    let view = |t: &kiln::ir::interp::Tensor| (t.shape().to_vec(), t.to_i64_vec());
    let ((shape, ids), (_, mask)) = (view(input_ids), view(mask));
    let inputs =
        [("input_ids", kiln::TensorView::new(&shape, &ids)), ("attention_mask", kiln::TensorView::new(&shape, &mask))];
    let output = model.forward(&inputs).expect("runs");
    for (field, want) in [("last_hidden_state", "last_hidden_state"), ("sentence_embedding", "embeddings")] {
        let error = relative_error(output.get(field).expect(field), tensor(want));
        assert!(error < 1e-4, "{field} is off by {error:.2e}");
    }
}
