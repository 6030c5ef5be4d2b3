//! From a config to a traced model: the registry, options, and what does not fit.

use crate::support::decoder::*;
use kiln_frontend::{DType, ParamSource, Storage};
use kiln_ir::interp::relative_error;
use kiln_ir::{ArgKind, AttentionAttrs, Op};
use kiln_models::Task;
use kiln_models::auto::{TraceOptions, register, supported, trace};
use kiln_models::families::llama::LlamaConfig;
use serde_json::{Value, json};

#[test]
fn dynamic_rope_takes_its_base_from_the_longest_sequence() {
    let inputs = golden("llama");
    let dynamic = json!({ "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.5 });
    let options = TraceOptions { max_seq: Some(64), ..TraceOptions::default() };
    let stretched = |context: usize| {
        Model::changed("llama", &options, |c| {
            c["rope_parameters"] = dynamic.clone();
            c["max_position_embeddings"] = context.into();
        })
    };
    let fixed = |theta: f64| Model::changed("llama", &options, |c| c["rope_parameters"]["rope_theta"] = theta.into());
    let (ids, mask) = (&inputs["in.input_ids"], &inputs["in.attention_mask"]);

    let within = stretched(17).forward(ids, mask);
    assert_eq!(within.to_f32_vec(), fixed(10000.0).forward(ids, mask).to_f32_vec());

    let beyond = stretched(8);
    let config = LlamaConfig::from_json(&beyond.config).expect("sound");
    let theta = config.rope_parameters.dynamic_theta(16, Some(17));
    let (got, want) = (beyond.forward(ids, mask), fixed(theta).forward(ids, mask));
    let error = relative_error(&got, &want);
    assert!(error < 1e-5, "{error:e}");

    // A step turns by the length that it is told: here the 17 tokens of row 0.
    let rows = rows_of(ids);
    let got = beyond.step(&rows, &[0, 1], &[0, -5], &mut beyond.empty_cache(2, 17));
    let fixed = fixed(theta);
    let want = fixed.step(&rows, &[0, 1], &[0, -5], &mut fixed.empty_cache(2, 17));
    assert!(relative_error(&got, &want) < 1e-5);

    // A prompt that several steps read is turned as a whole, and each row by its own length.
    let mut cache = beyond.empty_cache(2, 17);
    let parts = |from: usize, to: usize| -> Vec<Vec<i64>> { rows.iter().map(|row| row[from..to].to_vec()).collect() };
    beyond.part(&parts(0, 9), &[0, 1], &[0, -5], &[17, 17], &mut cache);
    let parted = beyond.part(&parts(9, 17), &[0, 1], &[9, 4], &[17, 17], &mut cache);
    assert!(relative_error(&parted, &want) < 1e-5);
    let own = beyond.part(&rows, &[0, 1], &[0, -5], &[17, 12], &mut beyond.empty_cache(2, 17));
    let alone = beyond.step(&[rows[1][5..].to_vec()], &[0], &[0], &mut beyond.empty_cache(1, 17));
    let (own, alone) = (own.to_f32_vec(), alone.to_f32_vec());
    assert_eq!(own[own.len() - alone.len()..], alone[..]);
}

/// A checkpoint of any size: what a Llama of that config has, in bf16.
struct Sized {
    hidden: usize,
    kv: usize,
    ffn: usize,
    vocab: usize,
}

impl ParamSource for Sized {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let Sized { hidden, kv, ffn, vocab } = *self;
        let parts: Vec<&str> = name.split('.').rev().collect();
        let shape = match (parts[0], parts[1]) {
            ("bias", _) => return None,
            (_, "embed_tokens" | "lm_head") => vec![vocab, hidden],
            (_, "k_proj" | "v_proj") => vec![kv, hidden],
            (_, "gate_proj" | "up_proj") => vec![ffn, hidden],
            (_, "down_proj") => vec![hidden, ffn],
            (_, "q_proj" | "o_proj") => vec![hidden, hidden],
            _ => vec![hidden],
        };
        Some((DType::BF16.into(), shape))
    }
}

/// SmolLM2-135M.
fn small() -> (Value, Sized) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192,
        "rope_theta": 100000, "tie_word_embeddings": true
    });
    (config, Sized { hidden: 576, kv: 192, ffn: 1536, vocab: 49152 })
}

#[test]
fn thirty_layers_are_one_function_per_entry() {
    let (config, source) = small();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let options = TraceOptions { dtype, max_seq: Some(300), ..TraceOptions::default() };
        let traced = trace(None, &config, &source, &options).expect("traces");
        let names: Vec<&str> = traced.module.functions.iter().map(|f| &*f.name).collect();
        assert_eq!(names, ["forward.layer", "forward", "step.layer", "step"], "{dtype}");
        let step = traced.module.find("step").expect("there").1;
        assert_eq!(step.nodes().filter(|(_, n)| matches!(n.op, Op::Call(_))).count(), 30);
        assert_eq!(step.args.iter().filter(|a| matches!(a.kind, ArgKind::Param { .. })).count(), 272);
        let bounds: Vec<(&str, i64)> = traced.module.symbols.iter().map(|(name, b)| (&**name, b.max)).collect();
        assert_eq!(bounds, [("b", 64), ("batch", 64), ("rows", 64), ("s", 300), ("seq", 300), ("t", 300)]);
    }
}

#[test]
fn qwen2_gives_later_layers_their_window() {
    let model = Model::changed("qwen2", &TraceOptions::default(), |c| {
        c["use_sliding_window"] = true.into();
        c["sliding_window"] = 4.into();
        c["layer_types"] = json!(["full_attention", "sliding_attention"]);
    });
    let layers = model.traced.module.functions.iter().filter(|f| f.name.starts_with("step.layer"));
    let windows: Vec<Option<i64>> = layers
        .flat_map(|f| f.nodes())
        .filter_map(|(_, n)| match &n.op {
            Op::Attention(AttentionAttrs { window, .. }) => Some(*window),
            _ => None,
        })
        .collect();
    assert_eq!(windows, [None, Some(4)]);
}

fn error_of(config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> String {
    trace(None, config, source, options).expect_err("does not fit").to_string()
}

#[test]
fn what_does_not_fit_is_named() {
    let (config, source) = small();
    let options = TraceOptions::default();
    let with = |field: &str, value: Value| {
        let mut config = config.clone();
        config[field] = value;
        config
    };
    let bias = error_of(&with("mlp_bias", true.into()), &source, &options);
    assert!(bias.contains("the checkpoint lacks `model.layers.0.mlp.gate_proj.bias`"), "{bias}");
    assert!(bias.contains("and 82 more"), "{bias}");
    let heads = error_of(&with("num_key_value_heads", 9.into()), &source, &options);
    let expected =
        "tensor `model.layers.0.self_attn.k_proj.weight`: the config says [576, 576], the checkpoint has [192, 576]";
    assert!(heads.contains(expected), "{heads}");
    let unknown = error_of(&with("model_type", "mamba".into()), &source, &options);
    assert!(unknown.starts_with("unknown architecture model_type `mamba`: expected one of "), "{unknown}");
    assert!(unknown.contains("llama, "), "{unknown}");
    let task = trace(Some(Task::MaskedLm), &config, &source, &options).expect_err("no such head").to_string();
    assert!(
        task.contains("AutoModelForMaskedLM") && task.contains("expected one of AutoModel, AutoModelForCausalLM"),
        "{task}"
    );
    let nothing = error_of(&json!({}), &source, &options);
    assert!(nothing.contains("model_type"), "{nothing}");
    for max_seq in [0, 1 << 40] {
        let message = error_of(&config, &source, &TraceOptions { max_seq: Some(max_seq), ..options.clone() });
        assert!(message.contains("option `max_seq`: expected a length from 1"), "{message}");
    }
}

#[test]
fn leftover_tensors_are_told() {
    let tied = Model::changed("llama", &TraceOptions::default(), |c| c["tie_word_embeddings"] = true.into());
    assert!(tied.traced.unused_tensors.is_empty(), "a tied model ignores its lm_head, as transformers does");
    let shorter = Model::changed("llama", &TraceOptions::default(), |c| c["num_hidden_layers"] = 1.into());
    assert_eq!(shorter.traced.unused_tensors.len(), 9);
    assert!(shorter.traced.unused_tensors[0].starts_with("model.layers.1."));
}

#[test]
fn users_register_their_own() {
    register("custom", &[Task::CausalLm], kiln_models::families::llama::trace);
    let (mut config, source) = small();
    config["model_type"] = "custom".into();
    config["architectures"] = json!(["CustomForCausalLM"]);
    assert!(trace(None, &config, &source, &TraceOptions::default()).is_ok());
    assert_eq!(supported()["custom"], [Task::CausalLm]);
}
