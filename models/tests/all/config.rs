//! `config.json`: defaults, both generations of transformers, and what is refused.

use crate::support::{assert_says, golden};
use kiln_models::config::{self, Activation, RopeType};
use kiln_models::families::{llama::LlamaConfig, qwen2::Qwen2Config};
use serde_json::{Value, json};

fn golden_config(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name).join("config.json")).unwrap()).unwrap()
}

/// The config of the golden `llama` with one field changed; `Value::Null` takes it out.
fn changed(field: &str, value: Value) -> Value {
    let mut config = golden_config("llama");
    match value {
        Value::Null => drop(config.as_object_mut().unwrap().remove(field)),
        value => config[field] = value,
    }
    config
}

fn llama(field: &str, value: Value) -> kiln_models::Result<LlamaConfig> {
    LlamaConfig::from_json(&changed(field, value))
}

#[test]
fn goldens_are_read() {
    let config = LlamaConfig::from_json(&golden_config("llama")).unwrap();
    assert_eq!((config.decoder.hidden_size, config.decoder.head_dim, config.decoder.num_key_value_heads), (64, 16, 2));
    assert_eq!(
        (config.decoder.hidden_act, config.decoder.rms_norm_eps, config.decoder.tie_word_embeddings),
        (Activation::Silu, 1e-6, false)
    );
    assert_eq!(
        (config.decoder.bos_token_id, &config.decoder.eos_token_id[..], config.decoder.pad_token_id),
        (Some(1), &[2][..], Some(0))
    );
    let config = LlamaConfig::from_json(&golden_config("llama-rope-llama3")).unwrap();
    assert!(config.attention_bias && config.decoder.tie_word_embeddings && !config.mlp_bias);
    assert_eq!(config.rope_parameters.rope_theta, 500000.0);
    let RopeType::Llama3 { factor, original_max_position_embeddings, .. } = config.rope_parameters.rope_type else {
        panic!("{:?}", config.rope_parameters)
    };
    assert_eq!((factor, original_max_position_embeddings), (8.0, 64));
    let config = Qwen2Config::from_json(&golden_config("qwen2")).unwrap();
    assert_eq!((config.decoder.head_dim, &config.windows[..]), (16, &[None, None][..]));
    assert_eq!(config::model_type(&golden_config("qwen2")).unwrap(), "qwen2");
}

#[test]
fn defaults_are_those_of_transformers() {
    let least = json!({
        "hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 384,
        "some_new_field": { "of": ["any", "kind"] },
    });
    let config = LlamaConfig::from_json(&least).unwrap();
    assert_eq!(
        (config.decoder.num_key_value_heads, config.decoder.head_dim, config.decoder.max_position_embeddings),
        (4, 16, 2048)
    );
    assert_eq!(
        (config.decoder.bos_token_id, config.decoder.eos_token_id, config.decoder.pad_token_id),
        (Some(1), vec![2], None)
    );
    assert_eq!((config.rope_parameters.rope_theta, config.rope_parameters.rope_type), (10000.0, RopeType::Default));
    let config = Qwen2Config::from_json(&least).unwrap();
    assert_eq!(
        (config.decoder.max_position_embeddings, config.decoder.bos_token_id, config.decoder.eos_token_id),
        (32768, None, vec![])
    );
}

#[test]
fn token_ids_are_one_several_or_none() {
    assert_eq!(llama("eos_token_id", json!([2, 7])).unwrap().decoder.eos_token_id, [2, 7]);
    let mut config = golden_config("llama");
    config["eos_token_id"] = Value::Null;
    config["bos_token_id"] = Value::Null;
    let config = LlamaConfig::from_json(&config).unwrap();
    assert_eq!((config.decoder.bos_token_id, config.decoder.eos_token_id), (None, vec![]));
    for (value, shown) in [(json!([2, 1e15]), "[2,1000000000000000.0]"), (json!(2.5), "2.5"), (json!("</s>"), "</s>")] {
        assert_says(llama("eos_token_id", value), &["`eos_token_id`", "a token id, or a list", shown]);
    }
    assert_says(llama("pad_token_id", json!([0])), &["`pad_token_id`", "0 to 383", "[0]"]);
    assert_says(llama("pad_token_id", json!(384)), &["`pad_token_id`", "0 to 383, or -1 for none", "384"]);
}

#[test]
fn token_ids_are_what_real_configs_write() {
    let ids = |field: &str, value: Value| {
        let decoder = llama(field, value).unwrap().decoder;
        (decoder.bos_token_id, decoder.eos_token_id, decoder.pad_token_id)
    };
    let golden = (Some(1), vec![2], Some(0));
    assert_eq!(ids("pad_token_id", json!(-1)), (golden.0, vec![2], None));
    assert_eq!(ids("pad_token_id", json!(0.0)), golden);
    assert_eq!(ids("bos_token_id", json!([1])), golden);
    assert_eq!(ids("bos_token_id", json!(-1)), (None, vec![2], golden.2));
    assert_eq!(ids("bos_token_id", json!(1.0)), golden);
    // No text has a token that the vocabulary has not: nothing ends it.
    assert_eq!(ids("eos_token_id", json!(384)), (golden.0, vec![384], golden.2));
    assert_eq!(ids("eos_token_id", json!([2.0, 100_000])), (golden.0, vec![2, 100_000], golden.2));
    assert_eq!(ids("eos_token_id", json!(-1)), (golden.0, vec![], golden.2));
    assert_eq!(ids("eos_token_id", json!([-1, 2])), golden);
}

#[test]
fn whole_numbers_may_be_written_with_a_point() {
    let sizes =
        ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"];
    for field in sizes.into_iter().chain(["num_key_value_heads", "max_position_embeddings"]) {
        let golden = golden_config("llama")[field].as_f64().unwrap();
        assert_eq!(llama(field, json!(golden)).unwrap(), llama("_", json!(0)).unwrap(), "{field}");
    }
    let qwen2 = |max_window_layers: Value| {
        let mut config = golden_config("qwen2");
        config["layer_types"] = Value::Null;
        config.as_object_mut().unwrap().extend(
            json!({ "use_sliding_window": true, "sliding_window": 8.0, "max_window_layers": max_window_layers })
                .as_object()
                .unwrap()
                .clone(),
        );
        Qwen2Config::from_json(&config).unwrap().windows
    };
    assert_eq!([qwen2(json!(0.0)), qwen2(json!(1.0))], [[Some(8), Some(8)], [None, Some(8)]]);
}

#[test]
fn without_a_known_class_a_model_is_for_what_its_kind_is_for() {
    use kiln_models::{Task, auto::task_of};
    let of_class =
        |class: &str, model_type: &str| task_of(&json!({ "architectures": [class], "model_type": model_type }));
    for (class, model_type) in [("MyOwnLlama", "llama"), ("LlamaForNothing", "llama"), ("QwenWithTools", "qwen2")] {
        assert_eq!(of_class(class, model_type).unwrap(), Task::CausalLm);
    }
    assert_eq!(of_class("T5ForNothing", "t5").unwrap(), Task::Seq2SeqLm);
    for classes in [json!({}), json!({ "architectures": null }), json!({ "architectures": [] })] {
        let task = |model_type: &str| {
            let mut config = classes.clone();
            config["model_type"] = json!(model_type);
            task_of(&config).unwrap()
        };
        assert_eq!([task("llama"), task("gpt2"), task("gpt_neox")], [Task::CausalLm; 3]);
        assert_eq!([task("t5"), task("bart")], [Task::Seq2SeqLm; 2]);
        assert_eq!([task("bert"), task("modernbert")], [Task::Base; 2]);
    }
    assert_says(of_class("BertForNothing", "bert"), &["`BertForNothing`", "config.json"]);
    assert_says(of_class("MyOwnLlama", "mamba"), &["`MyOwnLlama`"]);
    assert_says(task_of(&json!({})), &["`model_type`"]);
}

#[test]
fn required_fields_are_named() {
    for field in ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"] {
        assert_says(llama(field, Value::Null), &["config of `llama` lacks the field", &format!("`{field}`")]);
        let mut qwen2 = golden_config("qwen2");
        qwen2[field] = Value::Null;
        assert_says(Qwen2Config::from_json(&qwen2), &["config of `qwen2` lacks the field", &format!("`{field}`")]);
    }
    assert_says(config::model_type(&json!({})), &["`model_type`"]);
    assert_says(LlamaConfig::from_json(&json!([])), &["a JSON object", "[]"]);
}

#[test]
fn absurd_sizes_are_refused() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ];
    for field in sizes {
        for absurd in [
            json!(0),
            json!(-1),
            json!(1_000_000_000_000_000u64),
            json!(u64::MAX),
            json!(1e300),
            json!(2.5),
            json!("64"),
            json!([64]),
        ] {
            let shown = absurd.to_string();
            assert_says(llama(field, absurd), &[&format!("`{field}`"), "from 1 to", &shown]);
        }
    }
    for (field, absurd) in [
        ("rms_norm_eps", json!(-1e-6)),
        ("rms_norm_eps", json!(7)),
        ("rope_parameters", json!(3)),
        ("tie_word_embeddings", json!(1)),
        ("attention_bias", json!("no")),
    ] {
        assert_says(llama(field, absurd.clone()), &[&format!("`{field}`"), &absurd.to_string()]);
    }
}

#[test]
fn contradictions_are_named() {
    assert_says(llama("num_key_value_heads", json!(3)), &["num_attention_heads 4", "num_key_value_heads 3"]);
    let mut config = changed("head_dim", Value::Null);
    config["hidden_size"] = json!(66);
    assert_says(LlamaConfig::from_json(&config), &["hidden_size 66", "num_attention_heads 4", "head_dim"]);
    assert_says(llama("head_dim", json!(15)), &["head_dim is 15", "even"]);
    let wide = llama("head_dim", json!(32)).unwrap();
    assert_eq!((wide.decoder.hidden_size, wide.decoder.head_dim), (64, 32));
}

#[test]
fn activations_have_names() {
    let names = [
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("gelu", Activation::Gelu),
        ("gelu_new", Activation::GeluNew),
        ("gelu_fast", Activation::GeluNew),
        ("gelu_pytorch_tanh", Activation::GeluPytorchTanh),
        ("relu", Activation::Relu),
    ];
    for (name, activation) in names {
        assert_eq!(llama("hidden_act", json!(name)).unwrap().decoder.hidden_act, activation);
    }
    assert_says(llama("hidden_act", json!("mish")), &["`hidden_act`", "\"mish\"", "gelu_pytorch_tanh"]);
}

#[test]
fn qwen2_windows() {
    let qwen2 = |changes: Value| {
        let mut config = golden_config("qwen2");
        config.as_object_mut().unwrap().remove("layer_types");
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Qwen2Config::from_json(&config)
    };
    let windowed = qwen2(json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1 })).unwrap();
    assert_eq!(windowed.windows, [None, Some(8)]);
    let all = qwen2(json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 0 })).unwrap();
    assert_eq!(all.windows, [Some(8), Some(8)]);
    assert_says(qwen2(json!({ "layer_types": ["full_attention"] })), &["layer_types has 1", "num_hidden_layers is 2"]);
    assert_says(qwen2(json!({ "layer_types": ["full_attention", "other"] })), &["`layer_types`", "other"]);
    assert_says(qwen2(json!({ "layer_types": ["sliding_attention", "full_attention"] })), &["no window"]);
}
