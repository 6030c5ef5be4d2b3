//! Checkpoints of quantisation libraries: what they say, before anything is said about their tensors.

use crate::support::{assert_says, golden};
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::source::ModelFiles;
use serde_json::{Value, json};

fn traced(name: &str, field: &str, value: Value) -> kiln_models::Result<()> {
    let mut files = ModelFiles::open_folder(&golden(name)).unwrap();
    files.config[field] = value;
    // As with such a checkpoint, the tensors do not fit.
    files.config["vocab_size"] = json!(385);
    trace(None, &files.config, &files.checkpoint, &TraceOptions::default()).map(|_| ())
}

#[test]
fn a_quantised_checkpoint_says_by_which_method() {
    let cases = [
        (
            json!({ "quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false }),
            "bitsandbytes (4 bits)",
        ),
        (json!({ "load_in_8bit": true, "llm_int8_threshold": 6.0 }), "bitsandbytes (8 bits)"),
        (json!({ "quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false }), "gptq (4 bits)"),
        (json!({ "quant_method": "awq", "w_bit": 4, "q_group_size": 128, "version": "gemm" }), "awq (4 bits)"),
        (json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }), "fp8"),
        (json!({ "quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0 }), "fbgemm_fp8"),
        (json!({ "quant_method": "compressed-tensors", "config_groups": {} }), "compressed-tensors"),
        (json!({ "quant_method": "torchao", "quant_type": {} }), "torchao"),
        (json!({ "quant_method": "a-new-one" }), "a-new-one"),
        (json!({ "group_size": 32 }), "a method that its quantization_config does not name"),
    ];
    for name in ["llama", "bert-mlm", "t5", "gpt2"] {
        for (config, method) in &cases {
            let says = format!("the checkpoint is quantised by {method}, which kiln does not read");
            assert_says(traced(name, "quantization_config", config.clone()), &[&says, "GGUF", "bfloat16"]);
        }
    }
    let nested = json!({ "quantization_config": { "quant_method": "gptq", "bits": 8 } });
    assert_says(traced("llama", "text_config", nested), &["quantised by gptq (8 bits)"]);
    assert_says(traced("llama", "compression_config", json!({ "format": "pack" })), &["is quantised by"]);
}

#[test]
fn an_empty_quantization_config_is_none() {
    for nothing in [Value::Null, json!({}), json!({ "quant_method": null })] {
        let mut files = ModelFiles::open_folder(&golden("llama")).unwrap();
        files.config["quantization_config"] = nothing;
        trace(None, &files.config, &files.checkpoint, &TraceOptions::default()).unwrap();
    }
}
