//! What single families do beyond their goldens: older configs, variants, and what is refused.

use crate::support::assert_says;
use crate::support::decoder::*;
use kiln_frontend::{ParamSource, Storage};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_ir::{ArgKind, Op};
use kiln_models::Error;
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::config::{Activation, RopeConfig, RopeType};
use kiln_models::families::gemma2::Gemma2Config;
use kiln_models::families::gemma3::Gemma3TextConfig;
use kiln_models::families::gpt_neox::GptNeoXConfig;
use kiln_models::families::mistral::MistralConfig;
use kiln_models::families::phi3::Phi3Config;
use kiln_models::families::qwen3::Qwen3Config;
use kiln_models::families::smollm3::SmolLm3Config;
use kiln_models::source::ModelFiles;
use kiln_models::weights::Checkpoint;
use serde_json::{Value, json};

/// The config of a golden with some fields changed.
fn config(name: &str, changes: Value) -> Value {
    let text = std::fs::read(crate::support::golden(name).join("config.json")).expect(name);
    let mut config: Value = serde_json::from_slice(&text).expect(name);
    config.as_object_mut().expect(name).extend(changes.as_object().expect("an object").clone());
    config
}

/// The config with some fields taken out.
fn without(mut config: Value, fields: &[&str]) -> Value {
    fields.iter().for_each(|field| drop(config.as_object_mut().expect("an object").remove(*field)));
    config
}

/// What tracing a golden says under a changed config.
fn refused(name: &str, changes: Value, says: &[&str]) {
    let files = ModelFiles::open_folder(&crate::support::golden(name)).expect(name);
    assert_says(trace(None, &config(name, changes), &files.checkpoint, &TraceOptions::default()), says);
}

#[test]
fn a_family_is_a_few_pages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/families");
    let files = std::fs::read_dir(folder).expect("the families").map(|file| file.expect("a file").path());
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).expect("text").lines().count();
    let long: Vec<_> = files.map(|path| (lines(&path), path)).filter(|(lines, _)| *lines >= 400).collect();
    assert!(long.is_empty(), "what several families need belongs in one place: {long:?}");
}

#[test]
fn absurd_sizes_are_refused_by_every_family() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "n_embd",
        "intermediate_size",
        "n_inner",
        "num_hidden_layers",
        "n_layer",
        "num_attention_heads",
        "n_head",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "n_positions",
        "sliding_window",
    ];
    for name in GOLDENS {
        let golden = config(name, json!({}));
        let model_type = golden["model_type"].as_str().expect("a string");
        // A window behind a switch is not read.
        let read = |field: &&&str| {
            golden[**field].is_u64() && !(**field == "sliding_window" && golden["use_sliding_window"].is_boolean())
        };
        let present: Vec<_> = sizes.iter().filter(read).collect();
        assert!(present.len() >= 5, "{name}: {present:?}");
        for field in present {
            for absurd in [json!(0), json!(-1), json!(1_000_000_000_000_000u64), json!(2.5), json!("64")] {
                let says =
                    [&format!("config of `{model_type}`"), &format!("`{field}`"), "from 1 to", &absurd.to_string()];
                refused(name, json!({ *field: absurd }), &says.map(|s: &str| s));
            }
        }
        for field in
            ["hidden_act", "hidden_activation", "activation_function"].iter().filter(|f| golden[**f].is_string())
        {
            refused(name, json!({ *field: "mish" }), &[&format!("`{field}`"), "\"mish\"", "gelu_new"]);
        }
        refused(
            name,
            json!({ "vocab_size": null }),
            &[&format!("config of `{model_type}` lacks the field `vocab_size`")],
        );
        refused(name, json!({ "vocab_size": 385 }), &["[385, 64]", "[384, 64]"]);
    }
}

#[test]
fn contradictions_are_named() {
    refused("gpt2", json!({ "n_head": 3 }), &["n_embd 64", "n_head 3"]);
    refused("gpt2", json!({ "add_cross_attention": true }), &["`add_cross_attention`", "found true"]);
    refused("gpt-neox", json!({ "num_attention_heads": 3 }), &["hidden_size 64", "num_attention_heads 3"]);
    let rope = |factor: f64| json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": factor } });
    refused("gpt-neox", rope(0.2), &["partial_rotary_factor 0.2", "16 elements", "3 elements", "even"]);
    refused("phi3", rope(0.0), &["partial_rotary_factor 0", "even"]);
    refused("llama", rope(0.5), &["`rope_parameters.partial_rotary_factor`", "whole heads"]);
    for name in ["gemma2", "gemma3-text"] {
        refused(name, json!({ "use_bidirectional_attention": true }), &["`use_bidirectional_attention`", "found true"]);
        refused(name, json!({ "sliding_window": null }), &["sliding_attention", "no window"]);
        refused(name, json!({ "query_pre_attn_scalar": 0 }), &["`query_pre_attn_scalar`", "found 0"]);
        refused(name, json!({ "final_logit_softcapping": -1 }), &["`final_logit_softcapping`", "-1"]);
    }
    let flat = json!({ "rope_parameters": { "rope_type": "linear", "factor": 8.0 } });
    refused("gemma3-text", flat, &["lacks the field `rope_parameters.full_attention`"]);
    let list = |list: Value| json!({ "no_rope_layers": list });
    refused("smollm3", list(json!([1])), &["`no_rope_layers`", "each of the 2 layers", "[1]"]);
    refused("smollm3", list(json!([1, 2])), &["`no_rope_layers`", "[1,2]"]);
    refused("smollm3", json!({ "no_rope_layers": null, "no_rope_layer_interval": 0 }), &["`no_rope_layer_interval`"]);
}

#[test]
fn no_sequence_is_longer_than_the_positions_that_gpt2_learned() {
    let files = ModelFiles::open_folder(&crate::support::golden("gpt2")).expect("opens");
    let traced = |max_seq| {
        let options = TraceOptions { max_seq, ..TraceOptions::default() };
        trace(None, &files.config, &files.checkpoint, &options)
    };
    assert_eq!([None, Some(40)].map(|max_seq| traced(max_seq).expect("fits").max_seq), [256, 40]);
    assert_says(traced(Some(257)), &["`max_seq`", "1 to 256", "learned", "found 257"]);
}

/// A checkpoint whose names lack a prefix, and which holds more than the model's parameters.
struct Renamed<'a> {
    checkpoint: &'a Checkpoint,
    prefix: &'static str,
    buffers: &'static [&'static str],
}

impl ParamSource for Renamed<'_> {
    fn lookup(&self, name: &str) -> Option<(Storage, Vec<usize>)> {
        let tensor = self.checkpoint.get(&format!("{}{name}", self.prefix))?;
        Some((tensor.storage, tensor.shape.clone()))
    }

    fn names(&self) -> Vec<String> {
        let stripped = self.checkpoint.names().filter_map(|name| name.strip_prefix(self.prefix));
        stripped.chain(self.buffers.iter().copied()).map(str::to_string).collect()
    }
}

#[test]
fn a_checkpoint_of_the_body_serves_the_whole_model() {
    // GPT-2 is published so: the body's names, and the causal mask among the tensors.
    let files = ModelFiles::open_folder(&crate::support::golden("gpt2")).expect("opens");
    let source = Renamed {
        checkpoint: &files.checkpoint,
        prefix: "transformer.",
        buffers: &["h.0.attn.bias", "h.0.attn.masked_bias", "h.7.mlp.c_fc.weight"],
    };
    let traced = trace(None, &files.config, &source, &TraceOptions::default()).expect("traces");
    assert_eq!(traced.unused_tensors, ["h.7.mlp.c_fc.weight"]);
    let step = traced.module.find("step").expect("step").1;
    let parameters = step.args.iter().filter(|a| matches!(a.kind, ArgKind::Param { .. }));
    assert!(parameters.clone().count() > 0 && parameters.clone().all(|a| !a.name.starts_with("transformer")));
}

#[test]
fn smollm3_layers_without_rope_turn_nothing() {
    let inputs = golden("smollm3");
    let (ids, mask) = (&inputs["in.input_ids"], &inputs["in.attention_mask"]);
    let plain = Model::changed("smollm3", &TraceOptions::default(), |c| c["no_rope_layers"] = json!([0, 0]));
    // At position 0 every angle is 0.
    let turned = Model::golden("smollm3");
    let all_first = [
        ("input_ids", ids.clone()),
        ("attention_mask", mask.clone()),
        ("position_ids", Tensor::from_i64([2, 17], &[0; 34]).expect("fits")),
    ];
    let want = turned.run("forward", &named(all_first), &mut Tensors::new()).remove("logits").expect("logits");
    let error = relative_error(&plain.forward(ids, mask), &want);
    assert!(error < 1e-6, "{error:e}");
    assert!(relative_error(&turned.forward(ids, mask), &want) > 1e-2, "positions matter");

    let read =
        |changes| SmolLm3Config::from_json(&without(config("smollm3", changes), &["layer_types"])).expect("sound");
    let by_default = read(json!({ "no_rope_layers": null, "num_hidden_layers": 5 }));
    assert_eq!(by_default.rope_layers, [true, true, true, false, true]);
    let windowed = read(json!({ "no_rope_layers": [0, 1], "use_sliding_window": true, "sliding_window": 8 }));
    assert_eq!(windowed.windows, [Some(8), None]);
}

#[test]
fn gpt_neox_reads_one_state_in_parallel_or_one_after_the_other() {
    // How many of a layer's two norms read its input.
    let norms_of_the_input = |parallel: bool| {
        let model =
            Model::changed("gpt-neox", &TraceOptions::default(), |c| c["use_parallel_residual"] = parallel.into());
        let layer = model.traced.module.find("forward.layer").expect("the layer").1;
        let reads_an_argument = |n: &kiln_ir::Node| matches!(layer.node(n.operands[0]).op, Op::Arg(_));
        let norms = layer.nodes().map(|(_, n)| n).filter(|n| matches!(n.op, Op::LayerNorm { .. })).collect::<Vec<_>>();
        (norms.len(), norms.iter().filter(|n| reads_an_argument(n)).count())
    };
    assert_eq!(norms_of_the_input(true), (2, 2));
    assert_eq!(norms_of_the_input(false), (2, 1));
}

/// The scale of each layer's attention.
fn scales(model: &Model) -> Vec<f64> {
    let layers = model.traced.module.functions.iter().filter(|f| f.name.starts_with("forward.layer"));
    let nodes = layers.flat_map(|f| f.nodes());
    nodes.filter_map(|(_, n)| if let Op::Attention(a) = &n.op { Some(a.scale.get()) } else { None }).collect()
}

#[test]
fn attention_is_scaled_as_the_config_says() {
    let gpt2 = |changes: fn(&mut Value)| scales(&Model::changed("gpt2", &TraceOptions::default(), changes));
    assert_eq!(gpt2(|_| ()), [0.25], "both layers are one function");
    assert_eq!(gpt2(|c| c["scale_attn_by_inverse_layer_idx"] = true.into()), [0.25, 0.125]);
    assert_eq!(gpt2(|c| c["scale_attn_weights"] = false.into()), [1.0]);
    let gemma3 = Model::changed("gemma3-text", &TraceOptions::default(), |c| c["query_pre_attn_scalar"] = 64.into());
    assert_eq!(scales(&gemma3), [0.125, 0.125]);
    // Without a cap on the scores, Gemma 2 too has the attention that kernels know.
    let gemma2 = Model::changed("gemma2", &TraceOptions::default(), |c| {
        c["attn_logit_softcapping"] = Value::Null;
        c["query_pre_attn_scalar"] = 64.into();
    });
    assert_eq!(scales(&gemma2), [0.125, 0.125]);
    assert_eq!(scales(&Model::golden("gemma2")), [0.0; 0]);
}

#[test]
fn windows_by_default() {
    let bare = |name: &str, changes: Value| without(config(name, changes), &["layer_types", "sliding_window"]);
    let gemma2 = Gemma2Config::from_json(&bare("gemma2", json!({ "num_hidden_layers": 4 }))).expect("sound");
    assert_eq!(gemma2.windows, [Some(4096), None, Some(4096), None]);
    let gemma3 = json!({ "num_hidden_layers": 7, "sliding_window_pattern": 3 });
    let gemma3 = Gemma3TextConfig::from_json(&bare("gemma3-text", gemma3)).expect("sound");
    let w = Some(4096);
    assert_eq!(gemma3.windows, [w, w, None, w, w, None, w]);
    let mistral = |config| MistralConfig::from_json(&config).expect("sound").sliding_window;
    assert_eq!(mistral(bare("mistral-window", json!({}))), Some(4096));
    assert_eq!(mistral(config("mistral-window", json!({ "sliding_window": null }))), None);
    assert_eq!(mistral(config("mistral-window", json!({}))), Some(8));
    let phi3 = |changes| Phi3Config::from_json(&config("phi3", changes)).expect("sound").sliding_window;
    assert_eq!([phi3(json!({})), phi3(json!({ "sliding_window": 2047 }))], [None, Some(2047)]);
}

#[test]
fn configs_of_transformers_4_mean_the_same() {
    let plain = |rope_theta| RopeConfig { rope_theta, rope_type: RopeType::Default };
    let old = |changes| without(config("gemma3-text", changes), &["rope_parameters"]);
    let read = |config: Value| Gemma3TextConfig::from_json(&config).expect("sound");
    let gemma3 = read(old(
        json!({ "rope_theta": 2e6, "rope_local_base_freq": 3e4, "rope_scaling": { "rope_type": "linear", "factor": 8.0 } }),
    ));
    let linear = RopeConfig { rope_theta: 2e6, rope_type: RopeType::Linear { factor: 8.0 } };
    assert_eq!((gemma3.global_rope, gemma3.local_rope), (linear, plain(3e4)));
    let gemma3 = read(old(json!({})));
    assert_eq!((gemma3.global_rope, gemma3.local_rope), (plain(1e6), plain(1e4)));
    assert_eq!(gemma3.gemma.decoder.hidden_act, Activation::GeluPytorchTanh);
    let new =
        json!({ "rope_parameters": { "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 5e5 } } });
    let gemma3 = read(config("gemma3-text", new));
    let linear = RopeConfig { rope_theta: 5e5, rope_type: RopeType::Linear { factor: 8.0 } };
    assert_eq!((gemma3.global_rope, gemma3.local_rope), (linear, plain(1e4)));

    let old = |changes| without(config("gpt-neox", changes), &["rope_parameters"]);
    let neox = GptNeoXConfig::from_json(&old(json!({ "rotary_pct": 0.5, "rotary_emb_base": 5e4 }))).expect("sound");
    assert_eq!((neox.rotary_dim, neox.rope_parameters), (8, plain(5e4)));
    let neox = GptNeoXConfig::from_json(&old(json!({ "hidden_act": "gelu_fast" }))).expect("sound");
    assert_eq!((neox.rotary_dim, neox.rope_parameters, neox.hidden_act), (4, plain(1e4), Activation::GeluNew));

    let phi3 =
        without(config("phi3", json!({ "rope_theta": 2e4, "partial_rotary_factor": 0.75 })), &["rope_parameters"]);
    let phi3 = Phi3Config::from_json(&phi3).expect("sound");
    assert_eq!((phi3.rotary_dim, phi3.rope_parameters), (12, plain(2e4)));
    let smollm3 =
        SmolLm3Config::from_json(&without(config("smollm3", json!({})), &["rope_parameters"])).expect("sound");
    assert_eq!(smollm3.rope_parameters, plain(2e6));
    let qwen3 = Qwen3Config::from_json(&without(config("qwen3", json!({})), &["head_dim"])).expect("sound");
    assert_eq!(qwen3.decoder.head_dim, 128, "not hidden_size / num_attention_heads");
}

/// transformers' Phi3Config has a field of its own for it, whose default goes over what the rope parameters say.
#[test]
fn phi3_has_its_original_context_beside_the_rope_parameters() {
    let original = |config: Value| match Phi3Config::from_json(&config).expect("sound").rope_parameters.rope_type {
        RopeType::LongRope { original_max_position_embeddings, .. } => original_max_position_embeddings,
        other => panic!("{other:?}"),
    };
    let factors = vec![1.0; 8];
    let rope = json!({ "type": "su", "short_factor": factors, "long_factor": factors, "original_max_position_embeddings": 16 });
    let mut config = config("phi3", json!({ "rope_scaling": rope, "original_max_position_embeddings": 64 }));
    assert_eq!(original(config.clone()), 64);
    for absent in [without(config.clone(), &["original_max_position_embeddings"]), {
        config["original_max_position_embeddings"] = Value::Null;
        config
    }] {
        assert_eq!(original(absent), 4096);
    }
}

#[test]
fn phi3_says_how_many_factors_longrope_needs() {
    let longrope = json!({ "rope_scaling": { "type": "longrope", "short_factor": [1.0], "long_factor": [2.0] } });
    let error = Phi3Config::from_json(&config("phi3", longrope)).expect_err("too few");
    assert!(matches!(error, Error::InvalidField { .. }), "{error}");
    assert_says::<()>(Err(error), &["`rope_scaling.short_factor`", "a list of 8 numbers", "[1.0]"]);
}
