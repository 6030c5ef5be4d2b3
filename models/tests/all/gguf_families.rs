//! Goldens written as llama.cpp's converter would write them, and read back: the logits are those of the golden.

use crate::support::decoder::*;
use crate::support::gguf_writer::*;
use crate::support::{assert_says, folder};
use kiln_ir::interp::relative_error;
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::gguf::{self, Gguf};
use kiln_models::source::ModelFiles;
use serde_json::Value;

/// Modules of a Hugging Face checkpoint, and what llama.cpp calls them.
const LLAMA: [(&str, &str); 17] = [
    ("model.embed_tokens.", "token_embd."),
    ("model.norm.", "output_norm."),
    ("lm_head.", "output."),
    ("model.layers.", "blk."),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];
const OLMO2: [(&str, &str); 2] =
    [("post_attention_layernorm", "post_attention_norm"), ("post_feedforward_layernorm", "post_ffw_norm")];
const NEOX: [(&str, &str); 10] = [
    ("gpt_neox.embed_in.", "token_embd."),
    ("gpt_neox.final_layer_norm.", "output_norm."),
    ("embed_out.", "output."),
    ("gpt_neox.layers.", "blk."),
    ("attention.query_key_value", "attn_qkv"),
    ("attention.dense", "attn_output"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];

/// What the converter does to the rows of GPT-NeoX's common projection: all queries first, then all keys, then all values.
fn parts_first(rows: &[f32], width: usize, heads: usize) -> Vec<f32> {
    let part = rows.len() / heads / 3;
    assert!(part.is_multiple_of(width));
    let parts = |p: usize| (0..heads).flat_map(move |head| &rows[(3 * head + p) * part..(3 * head + p + 1) * part]);
    (0..3).flat_map(parts).copied().collect()
}

/// The golden as a GGUF file.
fn converted(name: &str, architecture: &str) -> GgufWriter {
    let files = ModelFiles::open_folder(&crate::support::golden(name)).expect(name);
    let config = &files.config;
    let mut writer = GgufWriter::new(architecture);
    let size = |config: &Value, field: &str| config[field].as_u64().map(|n| Meta::U32(n as u32));
    let sizes = [
        ("num_hidden_layers", "block_count"),
        ("max_position_embeddings", "context_length"),
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count_kv"),
        ("head_dim", "attention.key_length"),
    ];
    for (field, key) in sizes {
        if let Some(value) = size(config, field) {
            writer = writer.meta(&format!("{architecture}.{key}"), value);
        }
    }
    let numbers = [
        (&config["rms_norm_eps"], "attention.layer_norm_rms_epsilon"),
        (&config["layer_norm_eps"], "attention.layer_norm_epsilon"),
        (&config["rope_parameters"]["rope_theta"], "rope.freq_base"),
    ];
    for (value, key) in numbers {
        if let Some(value) = value.as_f64() {
            writer = writer.meta(&format!("{architecture}.{key}"), Meta::F32(value as f32));
        }
    }
    match architecture {
        "gptneox" => {
            writer = writer
                .meta("gptneox.rope.dimension_count", Meta::U32(4))
                .meta("gptneox.use_parallel_residual", Meta::Bool(true));
        }
        "phi3" => writer = writer.meta("phi3.attention.sliding_window", Meta::U32(0)),
        _ => {}
    }
    for (tensor, entry) in files.checkpoint.iter() {
        let names: Vec<_> = match architecture {
            "gptneox" => NEOX.to_vec(),
            "olmo2" => [&OLMO2[..], &LLAMA].concat(),
            _ => LLAMA.to_vec(),
        };
        let renamed = names.iter().fold(tensor.to_string(), |name, (from, to)| name.replace(from, to));
        let values = files.checkpoint.to_f32(tensor).expect(tensor);
        let width = entry.shape.get(1).copied().unwrap_or(1);
        let values = match tensor.rsplit('.').nth(1) {
            Some("q_proj" | "k_proj") if matches!(architecture, "llama" | "smollm3") => interleave(&values, width, 16),
            Some("query_key_value") => parts_first(&values, width, 4),
            _ => values,
        };
        let dims: Vec<u64> = entry.shape.iter().rev().map(|n| *n as u64).collect();
        writer = writer.f32(&renamed, &dims, &values);
    }
    writer
}

#[test]
fn converted_goldens_give_their_logits() {
    let cases = [
        ("llama", "llama"),
        ("qwen2", "qwen2"),
        ("qwen3", "qwen3"),
        ("smollm3", "smollm3"),
        ("olmo2", "olmo2"),
        ("phi3", "phi3"),
        ("gpt-neox", "gptneox"),
    ];
    for (name, architecture) in cases {
        let folder = folder();
        let path = folder.path().join("model.gguf");
        converted(name, architecture).write(&path);
        let ModelFiles { config, checkpoint, .. } = ModelFiles::open_file(&path).expect(name);
        let traced = trace(None, &config, &checkpoint, &TraceOptions::default()).expect(name);
        assert!(traced.unused_tensors.is_empty(), "{name}: {:?}", traced.unused_tensors);
        let (model, golden) = (Model { config, checkpoint, traced }, golden(name));
        let got = model.forward(&golden["in.input_ids"], &golden["in.attention_mask"]);
        let error = relative_error(&got, &golden["out.logits"]);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn what_is_another_model_is_refused() {
    let opened = |writer: GgufWriter| {
        let folder = folder();
        let path = folder.path().join("model.gguf");
        writer.write(&path);
        let gguf = Gguf::open(&path).expect("opens");
        gguf::config_json(&gguf).and_then(|_| gguf::checkpoint(&gguf).map(|_| ()))
    };
    let olmo3 = converted("olmo2", "olmo2").meta("olmo2.attention.sliding_window", Meta::U32(8));
    assert_says(opened(olmo3), &["olmo2.attention.sliding_window", "OLMo 3"]);
    let longrope = converted("phi3", "phi3").f32("rope_factors_long.weight", &[8], &[1.0; 8]);
    assert_says(opened(longrope), &["rope_factors_long.weight", "phi3"]);
    let heads = converted("gpt-neox", "gptneox").set("gptneox.attention.head_count", Meta::U32(5));
    assert_says(opened(heads), &["attn_qkv", "192 rows", "5 heads"]);
    assert_says(opened(tiny_model("mamba")), &["`mamba`", "smollm3, olmo2, phi3, gptneox"]);
}
