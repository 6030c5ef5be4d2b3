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

/// Copies a golden with its tensors renamed by the rule; `None` leaves one out.
fn renamed(name: &str, rename: impl Fn(&str) -> Vec<String>) -> tempfile::TempDir {
    let folder = crate::support::folder();
    std::fs::copy(golden(name).join("config.json"), folder.path().join("config.json")).unwrap();
    let bytes = std::fs::read(golden(name).join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors.tensors();
    let written = all.iter().flat_map(|(name, view)| rename(name).into_iter().map(move |name| (name, view)));
    let bytes = safetensors::serialize(written, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

fn opened(folder: &std::path::Path) -> kiln_models::Result<()> {
    let files = ModelFiles::open_folder(folder).unwrap();
    trace(None, &files.config, &files.checkpoint, &TraceOptions::default()).map(|_| ())
}

#[test]
fn tensors_of_a_quantisation_library_are_known() {
    let instead = |ends: &'static [&'static str]| {
        move |name: &str| match name.strip_suffix(".weight").filter(|name| name.contains("_proj")) {
            Some(module) => ends.iter().map(|end| format!("{module}{end}")).collect(),
            None => vec![name.to_string()],
        }
    };
    for (ends, method) in [
        (&[".qweight", ".qzeros", ".scales", ".g_idx"][..], "gptq, "),
        (&[".qweight", ".qzeros", ".scales"], "gptq or awq, "),
        (&[".weight_packed", ".weight_scale", ".weight_shape"], "compressed-tensors, "),
        (&[".weight.absmax", ".weight.quant_map", ".weight.quant_state.bitsandbytes__nf4"], "bitsandbytes (4 bits), "),
        (&[".SCB", ".weight_format"], "bitsandbytes (8 bits), "),
        (&[".weight_scale", ".weight_scale_2", ".input_scale"], "modelopt, "),
        (&[".weight_scale_inv"], "fp8, "),
    ] {
        let folder = renamed("llama", instead(ends));
        assert_says(opened(folder.path()), &[&format!("quantised by {method}"), "model.layers.0.", "GGUF"]);
    }
    // Such a tensor beside all of the model's own is of no use, and does no harm.
    let extra = |name: &str| vec![name.to_string(), name.replace(".weight", ".weight_scale")];
    opened(renamed("llama", extra).path()).unwrap();
    // What is missing for another reason is said to be missing.
    let lacking = |name: &str| if name.contains("q_proj") { vec![] } else { vec![name.to_string()] };
    assert_says(opened(renamed("llama", lacking).path()), &["q_proj.weight"]);
}

#[test]
fn files_of_a_quantisation_library_say_the_method() {
    let packed = |name: &str| vec![name.replace("_proj.weight", "_proj.qweight")];
    for (file, text, method) in [
        ("quantize_config.json", r#"{"bits": 4, "group_size": 128, "desc_act": false}"#, "gptq (4 bits)"),
        ("quantize_config.json", r#"{"bits": 8, "quant_method": "gptq_v2"}"#, "gptq_v2 (8 bits)"),
        ("quant_config.json", r#"{"zero_point": true, "q_group_size": 128, "w_bit": 4}"#, "awq (4 bits)"),
        (
            "hf_quant_config.json",
            r#"{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}"#,
            "modelopt (FP8)",
        ),
        ("hf_quant_config.json", r#"{"quantization": {"quant_algo": "NVFP4"}}"#, "modelopt (NVFP4)"),
        ("quant_config.json", "[]", "awq"),
    ] {
        let folder = renamed("llama", packed);
        std::fs::write(folder.path().join(file), text).unwrap();
        assert_says(opened(folder.path()), &[&format!("quantised by {method}, which kiln does not read"), "GGUF"]);
        // One that is left over from another form of the model.
        let whole = renamed("llama", |name| vec![name.to_string()]);
        std::fs::write(whole.path().join(file), text).unwrap();
        opened(whole.path()).unwrap();
    }
}
