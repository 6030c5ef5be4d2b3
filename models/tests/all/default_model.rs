//! SmolLM2 itself, from its GGUF. These tests need the file (98 MB): they fetch it where it is not in the cache.

use crate::support::golden;
use kiln_models::config::LlamaConfig;
use kiln_models::source::{ModelFiles, fetch_default_model};
use kiln_models::weights::Checkpoint;
use serde_json::Value;
use tokenizers::Tokenizer;

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden("smollm2-135m-instruct.json")).unwrap()).unwrap()
}

fn model() -> ModelFiles {
    ModelFiles::resolve(&fetch_default_model().unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
#[ignore = "downloads the default model"]
fn config_and_names() {
    let model = model();
    let config = LlamaConfig::from_json(&model.config).unwrap();
    assert_eq!((config.hidden_size, config.intermediate_size, config.num_hidden_layers), (576, 1536, 30));
    assert_eq!((config.num_attention_heads, config.num_key_value_heads, config.head_dim), (9, 3, 64));
    assert_eq!((config.vocab_size, config.max_position_embeddings, config.rms_norm_eps), (49152, 8192, 1e-5));
    assert_eq!((config.rope_parameters.rope_theta, config.tie_word_embeddings), (100000.0, true));
    assert_eq!((config.bos_token_id, config.eos_token_id, config.pad_token_id), (Some(1), vec![2], Some(2)));
    assert_eq!(model.checkpoint.len(), 272);
    model.checkpoint.require("model.layers.29.self_attn.k_proj.weight", &[192, 576]).unwrap();
    model.checkpoint.require("model.layers.0.mlp.down_proj.weight", &[576, 1536]).unwrap();
}

#[test]
#[ignore = "downloads the default model"]
fn token_ids_are_those_of_the_original_tokenizer() {
    let expected = expected();
    let tokenizer = Tokenizer::from_bytes(model().tokenizer_json.unwrap()).unwrap();
    let encode = |text: &Value| tokenizer.encode(text.as_str().unwrap(), true).unwrap().get_ids().to_vec();
    for case in expected["tokenizer_cases"].as_array().unwrap() {
        assert_eq!(encode(&case["text"]), ids(&case["ids"]), "{}", case["text"]);
    }
    for case in expected["cases"].as_array().unwrap() {
        assert_eq!(encode(&case["prompt"]), ids(&case["input_ids"]), "{}", case["prompt"]);
        let text = tokenizer.decode(&ids(&case["new_ids"]), false).unwrap();
        assert_eq!(text, case["new_text"].as_str().unwrap());
    }
    assert_eq!(encode(&expected["chat"]["rendered"]), ids(&expected["chat"]["input_ids"]));
}

#[test]
#[ignore = "downloads the default model"]
fn the_embedding_dequantises_to_the_first_hidden_state() {
    let model = model();
    let golden = Checkpoint::open(golden("smollm2-135m-instruct.safetensors")).unwrap();
    let hidden = golden.to_f32("cake.hidden.0").unwrap();
    let embedding = model.checkpoint.to_f32("model.embed_tokens.weight").unwrap();
    for (row, id) in golden.to_f32("cake.input_ids").unwrap().into_iter().enumerate() {
        let at = id as usize * 576;
        assert_eq!(embedding[at..at + 576], hidden[row * 576..(row + 1) * 576]);
    }
}
