//! Rotary frequencies, against values that transformers' own functions give.

use crate::support::traced::{Model, i64s, named, recorded, rows_of, tensors_in};
use crate::support::{assert_says, golden};
use kiln_ir::interp::relative_error;
use kiln_models::config::{RopeConfig, RopeType};
use kiln_models::families::llama::LlamaConfig;
use serde_json::{Value, json};

/// A llama of one head with that rope.
fn config(head_dim: usize, rope: Value) -> kiln_models::Result<RopeConfig> {
    let mut config = json!({
        "hidden_size": head_dim, "head_dim": head_dim, "intermediate_size": 8, "num_attention_heads": 1,
        "num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": 2048,
    });
    config.as_object_mut().unwrap().extend(rope.as_object().unwrap().clone());
    LlamaConfig::from_json(&config).map(|c| c.rope_parameters)
}

fn rope(parameters: Value) -> RopeConfig {
    config(64, json!({ "rope_parameters": parameters })).unwrap()
}

/// Compares frequencies 0, 5, 11, 16, 20, 25 and 31 of 32.
#[track_caller]
fn assert_frequencies(rope: &RopeConfig, seq_len: Option<usize>, want: [f64; 7], factor: f64) {
    let (got, attention) = rope.inv_freq(64, seq_len);
    assert_eq!(got.len(), 32);
    for (i, want) in [0, 5, 11, 16, 20, 25, 31].into_iter().zip(want) {
        assert!((f64::from(got[i]) - want).abs() <= 2e-7 * want, "frequency {i}: got {} want {want}", got[i]);
    }
    assert!((f64::from(attention) - factor).abs() <= 1e-7, "{attention} {factor}");
}

#[test]
#[rustfmt::skip]
fn frequencies_are_those_of_transformers() {
    let plain = [1.0, 0.23713736236095428, 0.04216964915394783, 0.009999999776482582, 0.003162277862429619, 0.0007498941849917173, 0.0001333521504420787];
    assert_frequencies(&rope(json!({ "rope_type": "default", "rope_theta": 10000.0 })), None, plain, 1.0);
    assert_frequencies(
        &rope(json!({ "rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0 })), None,
        [0.25, 0.05928434059023857, 0.010542412288486958, 0.0024999999441206455, 0.0007905694656074047, 0.00018747354624792933, 3.333803761051968e-05], 1.0);
    let dynamic = rope(json!({ "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0 }));
    assert_frequencies(&dynamic, None, plain, 1.0);
    assert_frequencies(&dynamic, Some(1000), plain, 1.0);
    assert_frequencies(&dynamic, Some(5000),
        [1.0, 0.19053570926189423, 0.026058416813611984, 0.004965058993548155, 0.0013179699890315533, 0.0002511203638277948, 3.4344215237069875e-05], 1.0);
    assert_frequencies(
        &rope(json!({ "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192 })), None,
        [1.0, 0.12868738174438477, 0.010989529080688953, 0.0005248460220173001, 3.428102354519069e-05, 4.411534519022098e-06, 3.76732259610435e-07], 1.0);
    let yarn = [1.0, 0.23713736236095428, 0.03487105667591095, 0.005384615156799555, 0.0009730085730552673, 0.00018747354624792933, 3.333803761051968e-05];
    assert_frequencies(
        &rope(json!({ "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 2048 })), None, yarn, 1.138629436111989);
    assert_frequencies(
        &rope(json!({ "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 2048, "attention_factor": 0.5 })), None, yarn, 0.5);
    assert_frequencies(
        &rope(json!({ "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 40.0, "original_max_position_embeddings": 4096,
                      "beta_fast": 16, "beta_slow": 2, "mscale": 1.0, "mscale_all_dim": 0.707, "truncate": false })), None,
        [1.0, 0.11547820270061493, 0.004429700784385204, 2.499999936844688e-05, 4.445698323252145e-06, 5.133812237545499e-07, 3.8498164656175504e-08], 1.0857263992561355);
}

#[test]
fn the_golden_with_llama3_scaling() {
    let text = std::fs::read(golden("llama-rope-llama3").join("config.json")).unwrap();
    let config = LlamaConfig::from_json(&serde_json::from_slice(&text).unwrap()).unwrap();
    let want = [
        1.0,
        0.079_403_01,
        0.004_700_754,
        0.000_911_583_13,
        0.000_176_776_68,
        3.428_102_4e-5,
        6.647_869_7e-6,
        1.289_173_2e-6,
    ];
    let (got, _) = config.rope_parameters.inv_freq(16, None);
    assert!(got.iter().zip(want).all(|(g, w): (&f32, f32)| (g - w).abs() <= 2e-7 * w), "{got:?}");
}

/// Against tests/goldens/longrope.py.
#[test]
fn longrope_is_that_of_transformers() {
    let goldens: Value = serde_json::from_slice(&std::fs::read(golden("longrope.json")).unwrap()).unwrap();
    let parameters = |rope: &Value| {
        let mut parameters = json!({
            "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 8,
            "short_factor": goldens["short_factor"], "long_factor": goldens["long_factor"],
        });
        parameters.as_object_mut().unwrap().extend(rope.as_object().unwrap().clone());
        parameters
    };
    for case in goldens["cases"].as_array().unwrap() {
        let config = json!({ "max_position_embeddings": 256, "rope_parameters": parameters(&case["rope"]) });
        let length = case["seq_len"].as_u64().map(|n| n as usize);
        let (got, factor) = self::config(16, config).unwrap().inv_freq(16, length);
        let want: Vec<f32> = serde_json::from_value(case["inv_freq"].clone()).unwrap();
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 2e-7 * w), "{case}: {got:?}");
        let want = case["attention_factor"].as_f64().unwrap();
        assert!((f64::from(factor) - want).abs() <= 1e-6, "{case}: {factor}");
    }
    // The names that early configs gave it.
    for name in ["su", "yarn"] {
        let (short, long) = ([1.0; 8], [2.0; 8]);
        let scaling = json!({ "type": name, "short_factor": short, "long_factor": long });
        let old = config(16, json!({ "rope_scaling": scaling }));
        assert!(matches!(old.unwrap().rope_type, RopeType::LongRope { .. }), "{name}");
    }

    let change = |config: &mut Value| {
        config["original_max_position_embeddings"] = json!(8);
        config["rope_parameters"] = parameters(&json!({}));
    };
    let model = Model::changed("phi3", None, change).unwrap();
    let ids = rows_of(&recorded("phi3", "in.")["input_ids"]);
    let want = tensors_in(&golden("longrope.safetensors"));
    for (name, length) in [("short", 8), ("long", 17)] {
        let ids: Vec<i64> = ids.iter().flat_map(|row| row[..length].to_vec()).collect();
        let got = &model.forward(&named([("input_ids", i64s([2, length], &ids))]))["logits"];
        let error = relative_error(got, &want[name]);
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn both_generations_of_configs_are_read() {
    let new = rope(json!({ "rope_type": "linear", "rope_theta": 20000.0, "factor": 4.0 }));
    let old = json!({ "rope_theta": 20000.0, "rope_scaling": { "type": "linear", "factor": 4.0 } });
    assert_eq!(config(64, old).unwrap(), new);
    let old = json!({ "rope_theta": 20000.0, "rope_scaling": { "rope_type": "linear", "factor": 4.0 } });
    assert_eq!(config(64, old).unwrap(), new);
    let plain = RopeConfig { rope_theta: 20000.0, rope_type: RopeType::Default };
    assert_eq!(config(64, json!({ "rope_theta": 20000.0, "rope_scaling": null })).unwrap(), plain);
    assert_eq!(config(64, json!({ "rope_theta": 20000.0 })).unwrap(), plain);
    assert_eq!(config(64, json!({ "rope_parameters": { "rope_theta": 20000.0 } })).unwrap(), plain);
}

#[test]
fn the_original_context_defaults_to_the_whole() {
    let llama3 = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0 });
    let RopeType::Llama3 { original_max_position_embeddings, .. } = rope(llama3).rope_type else { panic!() };
    assert_eq!(original_max_position_embeddings, 2048);
}

#[test]
fn bad_parameters_are_named() {
    let bad = |rope: Value, says: &[&str]| assert_says(config(64, json!({ "rope_parameters": rope })), says);
    bad(json!({ "rope_type": "mrope" }), &["`rope_parameters.rope_type`", "\"mrope\"", "llama3, yarn or longrope"]);
    bad(json!({ "rope_type": "longrope" }), &["`rope_parameters.short_factor`", "a list of 32 numbers"]);
    let of_three = json!([1.0, 1.0, 1.0]);
    bad(
        json!({ "rope_type": "longrope", "short_factor": of_three, "long_factor": of_three }),
        &["`rope_parameters.short_factor`", "a list of 32 numbers", "[1.0,1.0,1.0]"],
    );
    bad(json!({ "rope_type": "linear" }), &["`rope_parameters.factor`"]);
    bad(json!({ "rope_type": "linear", "factor": 0 }), &["`rope_parameters.factor`", "found 0"]);
    bad(json!({ "rope_type": "dynamic", "factor": -2 }), &["`rope_parameters.factor`", "-2"]);
    bad(json!({ "rope_type": "default", "rope_theta": -1.0 }), &["`rope_parameters.rope_theta`", "-1"]);
    bad(json!({ "rope_type": "default", "partial_rotary_factor": 0.5 }), &["partial_rotary_factor", "0.5"]);
    bad(json!({ "rope_type": "llama3", "factor": 8 }), &["`rope_parameters.low_freq_factor`"]);
    bad(
        json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 }),
        &["high_freq_factor 4", "low_freq_factor 4"],
    );
    bad(
        json!({ "rope_type": "yarn", "factor": 8, "original_max_position_embeddings": -5 }),
        &["original_max_position_embeddings", "-5"],
    );
    bad(json!({ "rope_type": "yarn", "factor": 8, "beta_fast": 1, "beta_slow": 2 }), &["beta_fast 1", "beta_slow 2"]);
    assert_says(
        config(2, json!({ "rope_parameters": { "rope_type": "dynamic", "factor": 2 } })),
        &["head_dim above 2"],
    );
    assert_says(config(64, json!({ "rope_theta": 1e300 })), &["`rope_theta`"]);
}
