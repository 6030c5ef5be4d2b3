//! Goldens written as llama.cpp's converter would write them, and read back: config, tensors and outputs are those of the golden.

use crate::support::gguf_writer::*;
use crate::support::traced::{Model, recorded};
use crate::support::{assert_says, folder, golden};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::gguf::{self, Gguf};
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;
use kiln_models::{Result, Task};
use serde_json::{Value, json};

/// Each golden with llama.cpp's architecture.
const DECODERS: [(&str, &str); 12] = [
    ("llama", "llama"),
    ("mistral-window", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("smollm3", "smollm3"),
    ("olmo2", "olmo2"),
    ("phi3", "phi3"),
    ("gemma2", "gemma2"),
    ("gemma3-text", "gemma3"),
    ("gpt-neox", "gptneox"),
    ("gpt2", "gpt2"),
    ("t5", "t5"),
];
/// The same for encoders, of which the body alone is there.
const ENCODERS: [(&str, &str); 4] =
    [("bert-mlm", "bert"), ("roberta-qa", "bert"), ("distilbert-classify", "bert"), ("modernbert-mlm", "modern-bert")];

/// What llama.cpp calls the tensors of a golden, by their names there; those that its converter leaves out are not among them.
/// tests/goldens/gguf_names.py has asked llama.cpp's own package.
fn names(name: &str) -> Vec<(String, String)> {
    let all: Value = serde_json::from_slice(&std::fs::read(golden("gguf_names.json")).unwrap()).unwrap();
    let pairs = all[name].as_object().expect(name).iter();
    pairs.filter_map(|(from, to)| Some((from.clone(), to.as_str()?.to_string()))).collect()
}

/// llama.cpp's keys, each with the names of the field that it comes from.
const SIZES: [(&str, &[&str]); 9] = [
    ("block_count", &["num_hidden_layers", "n_layer", "n_layers", "num_layers"]),
    ("context_length", &["max_position_embeddings", "n_positions"]),
    ("embedding_length", &["hidden_size", "n_embd", "dim", "d_model"]),
    ("feed_forward_length", &["intermediate_size", "hidden_dim", "d_ff"]),
    ("attention.head_count", &["num_attention_heads", "n_head", "n_heads", "num_heads"]),
    ("attention.head_count_kv", &["num_key_value_heads"]),
    ("attention.key_length", &["head_dim", "d_kv"]),
    ("attention.sliding_window", &["sliding_window", "local_attention"]),
    ("attention.relative_buckets_count", &["relative_attention_num_buckets"]),
];
const NUMBERS: [(&str, &[&str]); 6] = [
    ("attention.layer_norm_rms_epsilon", &["/rms_norm_eps", "/layer_norm_epsilon"]),
    ("attention.layer_norm_epsilon", &["/layer_norm_eps", "/layer_norm_epsilon", "/norm_eps"]),
    ("rope.freq_base", &["/rope_parameters/rope_theta", "/rope_parameters/full_attention/rope_theta"]),
    ("rope.freq_base_swa", &["/rope_parameters/sliding_attention/rope_theta"]),
    ("attn_logit_softcapping", &["/attn_logit_softcapping"]),
    ("final_logit_softcapping", &["/final_logit_softcapping"]),
];

/// The golden as a GGUF file.
fn converted(name: &str, architecture: &str) -> GgufWriter {
    let files = ModelFiles::open_folder(&golden(name)).expect(name);
    let config = &files.config;
    let mut writer = GgufWriter::new(architecture);
    for (key, fields) in SIZES {
        if let Some(value) = fields.iter().find_map(|field| config[field].as_u64()) {
            writer = writer.meta(&format!("{architecture}.{key}"), Meta::U32(value as u32));
        }
    }
    for (key, fields) in NUMBERS {
        if let Some(value) = fields.iter().find_map(|field| config.pointer(field)?.as_f64()) {
            writer = writer.meta(&format!("{architecture}.{key}"), Meta::F32(value as f32));
        }
    }
    writer = match name {
        "gpt-neox" => writer
            .meta("gptneox.rope.dimension_count", Meta::U32(4))
            .meta("gptneox.use_parallel_residual", Meta::Bool(true)),
        "phi3" => writer.meta("phi3.attention.sliding_window", Meta::U32(0)),
        // Every second layer has no window; the converter writes this where it is not every sixth.
        "gemma3-text" => writer.meta("gemma3.attention.sliding_window_pattern", Meta::U32(2)),
        "gpt2" => writer.meta("gpt2.feed_forward_length", Meta::U32(256)),
        "distilbert-classify" => writer.meta("bert.attention.layer_norm_epsilon", Meta::F32(1e-12)),
        "modernbert-mlm" => writer.meta("modern-bert.attention.sliding_window_pattern", Meta::U32(3)),
        "t5" => writer
            .meta("t5.context_length", Meta::U32(512))
            .meta("t5.decoder_block_count", Meta::U32(2))
            .meta("t5.decoder_start_token_id", Meta::U32(0)),
        _ => writer,
    };
    for (tensor, renamed) in names(name) {
        let mut shape = files.checkpoint.entry(&tensor).unwrap().shape.clone();
        let values = files.checkpoint.to_f32(&tensor).expect(&tensor);
        let width = shape.get(1).copied().unwrap_or(1);
        let module = tensor.rsplit('.').nth(1);
        let values = match (architecture, module) {
            ("llama" | "smollm3", Some("q_proj" | "k_proj")) => interleave(&values, width, 16),
            ("gptneox", Some("query_key_value")) => parts_first(&values, width, 4),
            ("gpt2", Some("c_attn" | "c_proj" | "c_fc")) if shape.len() == 2 => {
                shape.reverse();
                (0..width).flat_map(|column| values.iter().skip(column).step_by(width).copied()).collect()
            }
            ("gemma2" | "gemma3", _) if tensor.ends_with("norm.weight") => values.iter().map(|x| x + 1.0).collect(),
            // RoBERTa's positions begin after the padding's.
            (_, Some("position_embeddings")) if name == "roberta-qa" => {
                shape[0] -= 2;
                values[2 * width..].to_vec()
            }
            _ => values,
        };
        let dims: Vec<u64> = shape.iter().rev().map(|n| *n as u64).collect();
        writer = writer.f32(&renamed, &dims, &values);
    }
    writer
}

/// What the converter does to the rows of GPT-NeoX's common projection: all queries first, then all keys, then all values.
fn parts_first(rows: &[f32], width: usize, heads: usize) -> Vec<f32> {
    let part = rows.len() / heads / 3;
    assert!(part.is_multiple_of(width));
    let parts = |p: usize| (0..heads).flat_map(move |head| &rows[(3 * head + p) * part..(3 * head + p + 1) * part]);
    (0..3).flat_map(parts).copied().collect()
}

fn opened(writer: &GgufWriter) -> Result<Model> {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    writer.write(&path);
    let ModelFiles { config, checkpoint, .. } = ModelFiles::open_file(&path)?;
    let traced = trace(None, &config, &checkpoint, &TraceOptions::default())?;
    Ok(Model { config, checkpoint, traced })
}

#[test]
fn converted_decoders_give_their_logits() {
    for (name, architecture) in DECODERS {
        let model = opened(&converted(name, architecture)).expect(name);
        assert!(model.traced.unused_tensors.is_empty(), "{name}: {:?}", model.traced.unused_tensors);
        let got = &model.forward(&recorded(name, "in."))["logits"];
        let error = relative_error(got, &recorded(name, "out.")["logits"]);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn converted_encoders_give_their_hidden_states() {
    for (name, architecture) in ENCODERS {
        let model = opened(&converted(name, architecture)).expect(name);
        let inputs = recorded(name, "in.");
        // Of padding RoBERTa makes something else.
        let seen = |model: &Model| {
            let hidden = &model.forward(&inputs)["last_hidden_state"];
            let width = hidden.shape()[2];
            let mask = inputs["attention_mask"].to_f32_vec();
            let rows = hidden.to_f32_vec();
            let kept = rows.chunks(width).zip(&mask).flat_map(|(row, m)| row.iter().map(move |x| x * m));
            Tensor::from_f32(hidden.shape().to_vec(), &kept.collect::<Vec<_>>()).unwrap()
        };
        let want = seen(&Model::changed(name, Some(Task::Base), |_| ()).expect(name));
        let error = relative_error(&seen(&model), &want);
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn the_pooling_of_an_embedding_model_is_told() {
    let inputs = recorded("bert-mlm", "in.");
    for (number, pooling) in [(1, "mean"), (2, "cls")] {
        let folder = folder();
        let path = folder.path().join("model.gguf");
        converted("bert-mlm", "bert").meta("bert.pooling_type", Meta::U32(number)).write(&path);
        let ModelFiles { config, checkpoint, sentence_transformer, .. } = ModelFiles::open_file(&path).unwrap();
        assert_eq!(sentence_transformer.as_ref().unwrap()[1]["config"]["pooling_mode"], pooling);
        let traced =
            trace(None, &config, &checkpoint, &TraceOptions { sentence_transformer, ..TraceOptions::default() });
        let outputs = Model { config, checkpoint, traced: traced.unwrap() }.forward(&inputs);
        assert_eq!(outputs["sentence_embedding"].shape(), [2, 64]);
    }
}

#[test]
fn configs_and_tensors_are_the_goldens_own() {
    // What a file does not say, or says of the body alone.
    let other = ["architectures", "model_type", "rope_parameters", "sliding_window_pattern", "partial_rotary_factor"];
    for (name, architecture) in DECODERS.into_iter().chain(ENCODERS) {
        let writer = converted(name, architecture);
        let model = opened(&writer).expect(name);
        let files = ModelFiles::open_folder(&golden(name)).expect(name);
        let mut compared = 0;
        for (field, value) in model.config.as_object().unwrap() {
            let positions = name == "roberta-qa" && field == "max_position_embeddings";
            let want = &files.config[field];
            if value.is_null() || want.is_null() || other.contains(&field.as_str()) || positions {
                continue;
            }
            compared += 1;
            let same = value == want || value.as_f64().is_some_and(|value| Some(value) == want.as_f64());
            assert!(same, "{name}, {field}: {value}, expected {want}");
        }
        assert!(compared >= 7, "{name}: {compared}");
        let model_type = if name == "roberta-qa" { &json!("bert") } else { &files.config["model_type"] };
        assert_eq!(&model.config["model_type"], model_type);
        for (tensor, _) in names(name) {
            let prefixes = ["bert.", "roberta.", "distilbert.", "model."];
            let bare = prefixes.iter().find_map(|prefix| tensor.strip_prefix(prefix));
            let bare = bare.filter(|_| ENCODERS.iter().any(|(encoder, _)| *encoder == name)).unwrap_or(&tensor);
            let (got, want) = (model.checkpoint.to_f32(bare).unwrap(), files.checkpoint.to_f32(&tensor).unwrap());
            let shapes = (model.checkpoint.entry(bare).unwrap(), files.checkpoint.entry(&tensor).unwrap());
            if name == "roberta-qa" && bare.contains("position_embeddings") {
                assert_eq!(got, want[2 * shapes.1.shape[1]..], "{name} {bare}");
            } else if name == "gpt2" && shapes.1.shape.len() == 2 && bare.contains(".h.") {
                assert_eq!((shapes.0.shape[0], shapes.0.shape[1]), (shapes.1.shape[1], shapes.1.shape[0]));
            } else {
                // Gemma's norms lose what 1 does to their last bits.
                let near =
                    |(a, b): (&f32, &f32)| if bare.ends_with("norm.weight") { (a - b).abs() < 1e-6 } else { a == b };
                assert!(shapes.0.shape == shapes.1.shape && got.iter().zip(&want).all(near), "{name} {bare}");
            }
            let mut streamed = vec![];
            model.checkpoint.write_to(bare, &mut streamed).unwrap();
            assert_eq!(streamed, &*model.checkpoint.bytes(bare).unwrap(), "{name} {bare}");
        }
    }
}

/// Rows in Q8_0.
fn q8_0(values: &[f32]) -> Vec<u8> {
    let block = |block: &[f32]| {
        let d = half::f16::from_f32(block.iter().fold(0f32, |m, x| m.max(x.abs())) / 127.0);
        let code = move |x: &f32| (x / d.to_f32()).round().clamp(-127.0, 127.0) as i8 as u8;
        d.to_le_bytes().into_iter().chain(block.iter().map(code).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    values.chunks(32).flat_map(block).collect()
}

#[test]
fn a_quantised_gpt2_is_read() {
    let mut writer = converted("gpt2", "gpt2");
    for tensor in writer.tensors.iter_mut().filter(|t| t.name.starts_with("blk.") && t.dims.len() == 2) {
        let values: Vec<f32> = tensor.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (tensor.ggml_type, tensor.data) = (Q8_0, q8_0(&values));
    }
    let model = opened(&writer).unwrap();
    assert_eq!(model.checkpoint.entry("transformer.h.0.attn.c_attn.weight").unwrap().storage.to_string(), "q8_0");
    let got = &model.forward(&recorded("gpt2", "in."))["logits"];
    let error = relative_error(got, &recorded("gpt2", "out.")["logits"]);
    assert!(error < 2e-2, "{error:e}");
}

#[test]
fn the_window_of_each_layer_and_the_27b_models_are_told() {
    let gemma =
        |architecture: &str| converted(if architecture == "gemma2" { "gemma2" } else { "gemma3-text" }, architecture);
    let config = |writer: &GgufWriter| {
        let folder = folder();
        let path = folder.path().join("model.gguf");
        writer.write(&path);
        gguf::config_json(&Gguf::open(&path).unwrap())
    };
    let pattern = "gemma3.attention.sliding_window_pattern";
    // An array of two bools.
    let bools = [&7u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[1, 0]].concat();
    let layers = config(&gemma("gemma3").set(pattern, Meta::Raw(9, bools))).unwrap();
    assert_eq!(layers["layer_types"], json!(["sliding_attention", "full_attention"]));
    assert_says(config(&gemma("gemma3").set(pattern, texts(&["a"]))), &[pattern, "array of bools"]);
    for (architecture, layers) in [("gemma2", 46), ("gemma3", 62)] {
        let key = format!("{architecture}.block_count");
        let large = config(
            &gemma(architecture)
                .set(&key, Meta::U32(layers))
                .set(&format!("{architecture}.attention.key_length"), Meta::U32(128)),
        );
        assert_eq!(large.unwrap()["query_pre_attn_scalar"], 16, "{architecture}: hidden size 64, 4 heads");
    }
    let theta = config(&gemma("gemma3").without("gemma3.rope.freq_base").without("gemma3.rope.freq_base_swa")).unwrap();
    assert_eq!(theta["rope_parameters"]["full_attention"]["rope_theta"], 1e6);
    assert_eq!(theta["rope_parameters"]["sliding_attention"]["rope_theta"], 1e4);
    let narrow = gemma("gemma2").tensor("blk.2.attn_norm.weight", &[2], F16, vec![0; 4]);
    assert_says(opened(&narrow).map(|_| ()), &["blk.2.attn_norm.weight", "f16", "expected f32"]);
}

#[test]
fn longrope_comes_from_its_factors() {
    let (short, long) = ([1.0, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0], [1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 24.0, 32.0]);
    let change = |config: &mut Value| {
        config["original_max_position_embeddings"] = json!(8);
        config["rope_parameters"] =
            json!({ "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": short, "long_factor": long });
    };
    let inputs = recorded("phi3", "in.");
    let want = &Model::changed("phi3", None, change).unwrap().forward(&inputs)["logits"];
    let writer = converted("phi3", "phi3")
        .meta("phi3.rope.scaling.original_context_length", Meta::U32(8))
        .f32("rope_factors_short.weight", &[8], &short.map(|x| x as f32))
        .f32("rope_factors_long.weight", &[8], &long.map(|x| x as f32));
    let model = opened(&writer).unwrap();
    let error = relative_error(&model.forward(&inputs)["logits"], want);
    assert!(error < 1e-6, "{error:e}");
    // The converter writes what cosines and sines are multiplied by.
    let sharper = opened(&writer.clone().meta("phi3.rope.scaling.attn_factor", Meta::F32(0.5))).unwrap();
    assert_eq!(sharper.config["rope_parameters"]["attention_factor"], 0.5);
    assert!(relative_error(&sharper.forward(&inputs)["logits"], want) > 1e-2);
    let key = "phi3.rope.scaling.original_context_length";
    assert_says(opened(&writer.without(key)).map(|_| ()), &["lacks the metadata key", key]);
}

#[test]
fn what_is_another_model_is_refused() {
    let opened = |writer: GgufWriter| opened(&writer).map(|_| ());
    let olmo3 = converted("olmo2", "olmo2").meta("olmo2.attention.sliding_window", Meta::U32(8));
    assert_says(opened(olmo3), &["olmo2.attention.sliding_window", "OLMo 3"]);
    let heads = converted("gpt-neox", "gptneox").set("gptneox.attention.head_count", Meta::U32(5));
    assert_says(opened(heads), &["attn_qkv", "192 rows", "5 heads"]);
    let classifier = converted("bert-mlm", "bert").f32("cls.output.weight", &[64, 2], &[0.0; 128]);
    assert_says(opened(classifier), &["cls.output.weight", "no counterpart", "bert"]);
    assert_says(opened(tiny_model("mamba")), &["`mamba`", "gptneox, gpt2, bert, modern-bert, t5"]);
    let cut = |tensor: &str| {
        let mut writer = converted("bert-mlm", "bert");
        writer.tensors.retain(|t| t.name != tensor);
        opened(writer)
    };
    assert_says(cut("position_embd.weight"), &["lacks the tensor `position_embd.weight`"]);
}

#[test]
fn the_checkpoint_alone_is_opened_too() {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    converted("t5", "t5").write(&path);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert!(checkpoint.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight").is_some());
}
