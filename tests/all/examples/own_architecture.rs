//! An architecture that the example registers, against what transformers computes.

#[path = "../../../examples/own_architecture/src/stablelm.rs"]
mod stablelm;

use crate::{check_outputs, options};
use kiln::lab::verify;
use kiln::{AutoModelForCausalLM, GenerationConfig, LoadOptions, Model, ModelFiles};
use std::path::Path;

#[test]
fn it_compiles_verifies_and_generates() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/own_architecture/golden");
    let files = ModelFiles::open_folder(&golden).expect("opens");
    let folder = tempfile::tempdir().expect("a folder");
    let artifact = folder.path().join("model.kiln");
    let unknown = kiln::compile(&files, &artifact, &options()).expect_err("not registered yet").to_string();
    assert!(unknown.contains("stablelm"), "{unknown}");

    stablelm::register();
    kiln::compile(&files, &artifact, &options()).expect("compiles");
    let model = Model::open(&artifact, &LoadOptions::default()).expect("loads");
    check_outputs(&model, &golden, 1e-4);

    let inputs = verify::read_tensors(&golden.join("golden.safetensors"), "in.").expect("inputs");
    let ids = inputs.iter().find(|(name, _)| name == "input_ids").expect("ids").1.to_i64_vec();
    let prompt: Vec<u32> = ids[..9].iter().map(|id| *id as u32).collect();
    let model = AutoModelForCausalLM::from_pretrained(artifact.to_str().expect("UTF-8")).expect("loads");
    let config = GenerationConfig { max_new_tokens: Some(12), ..model.generation_config().clone() };
    let output = model.generate_ids(&[prompt], &config, |_| ()).expect("generates");
    let json = std::fs::read_to_string(golden.join("golden.json")).expect("reads");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(serde_json::json!(output.rows[0].token_ids), json["greedy"][0]);
}

#[test]
fn what_it_cannot_do_is_named() {
    let config = serde_json::json!({"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                                    "num_attention_heads": 1, "qk_layernorm": true});
    let error = stablelm::StableLmConfig::from_json(&config).expect_err("refused").to_string();
    assert!(error.contains("qk_layernorm") && error.contains("stablelm"), "{error}");
}
