//! From GGUF metadata to config and tokenizer.

use crate::support::gguf_writer::*;
use crate::support::{assert_says, folder};
use kiln_models::config::{RopeConfig, RopeType};
use kiln_models::families::{llama::LlamaConfig, qwen2::Qwen2Config};
use kiln_models::gguf::{self, Gguf, GgufTokenizer};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

fn open(writer: &GgufWriter) -> Gguf {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    writer.write(&path);
    Gguf::open(path).unwrap()
}

fn config(writer: &GgufWriter) -> kiln_models::Result<Value> {
    gguf::config_json(&open(writer))
}

#[test]
fn a_llama_config_is_complete() {
    let config = config(&tiny_model("llama")).unwrap();
    assert_eq!(
        config,
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "vocab_size": 40,
            "rope_parameters": { "rope_type": "default", "rope_theta": 500000.0 },
            "tie_word_embeddings": true, "use_cache": true, "attention_bias": true, "mlp_bias": false,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": null,
        })
    );
    let typed = LlamaConfig::from_json(&config).unwrap();
    assert_eq!((typed.decoder.head_dim, typed.attention_bias, &typed.decoder.eos_token_id[..]), (16, true, &[2][..]));
}

#[test]
fn a_qwen2_config_is_complete() {
    let untied = tiny_model("qwen2").f32("output.weight", &[32, 40], &ramp(40 * 32, 12));
    let config = config(&untied).unwrap();
    assert_eq!(config["architectures"], json!(["Qwen2ForCausalLM"]));
    let typed = Qwen2Config::from_json(&config).unwrap();
    assert!(!typed.decoder.tie_word_embeddings && typed.windows == [None]);
}

#[test]
fn rope_scaling_is_carried_over() {
    let rope = |change: &dyn Fn(GgufWriter) -> GgufWriter| {
        config(&change(tiny_model("llama"))).unwrap()["rope_parameters"].clone()
    };
    let linear = json!({ "rope_type": "linear", "rope_theta": 500000.0, "factor": 4.0 });
    let kind = |m: GgufWriter, kind: &str| m.meta("llama.rope.scaling.type", text(kind));
    assert_eq!(rope(&|m| kind(m, "linear").meta("llama.rope.scaling.factor", Meta::F32(4.0))), linear);
    assert_eq!(rope(&|m| m.meta("llama.rope.scale_linear", Meta::F32(4.0))), linear);
    let yarn = |m: GgufWriter| {
        kind(m, "yarn")
            .meta("llama.rope.scaling.factor", Meta::F32(4.0))
            .meta("llama.rope.scaling.original_context_length", Meta::U32(64))
    };
    let expected = json!({
        "rope_type": "yarn", "rope_theta": 500000.0, "factor": 4.0, "original_max_position_embeddings": 64
    });
    assert_eq!(rope(&yarn), expected);
    let beta = rope(&|m| yarn(m).meta("llama.rope.scaling.yarn_beta_fast", Meta::F32(16.0)));
    assert_eq!(beta["beta_fast"], json!(16.0));
    let sharper = rope(&|m| yarn(m).meta("llama.rope.scaling.attn_factor", Meta::F32(0.5)));
    assert!((sharper["attention_factor"].as_f64().unwrap() - 0.5 * (1.0 + 0.1 * 4f64.ln())).abs() < 1e-12);
    let refused = |m: GgufWriter, says: &[&str]| assert_says(config(&m), says);
    refused(kind(tiny_model("llama"), "longrope").meta("llama.rope.scaling.factor", Meta::F32(2.0)), &["longrope"]);
    refused(kind(tiny_model("llama"), "yarn"), &["llama.rope.scaling.factor"]);
    refused(yarn(tiny_model("llama")).meta("llama.rope.scaling.yarn_ext_factor", Meta::F32(0.5)), &["yarn_ext_factor"]);
    refused(tiny_model("llama").meta("llama.rope.dimension_count", Meta::U32(8)), &["8 of 16", "dimension_count"]);
}

#[test]
fn rope_freqs_give_back_the_llama3_scaling() {
    for (factor, original) in [(8.0, 8192), (32.0, 8192), (8.0, 4096)] {
        let rope_type = RopeType::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: original,
        };
        let divisors = |rope_type: RopeType| -> Vec<f32> {
            let at = |rope_type| RopeConfig { rope_theta: 500000.0, rope_type }.inv_freq(16, None).0;
            at(RopeType::Default).iter().zip(at(rope_type)).map(|(plain, scaled)| plain / scaled).collect()
        };
        let model = tiny_model("llama").f32("rope_freqs.weight", &[8], &divisors(rope_type.clone()));
        let gguf = open(&model);
        let typed = LlamaConfig::from_json(&gguf::config_json(&gguf).unwrap()).unwrap();
        let got = typed.rope_parameters.inv_freq(16, None).0;
        let want = RopeConfig { rope_theta: 500000.0, rope_type }.inv_freq(16, None).0;
        assert!(got.iter().zip(&want).all(|(g, w)| (g / w - 1.0).abs() < 1e-4), "{got:?} {want:?}");
        assert!(!gguf::checkpoint(&gguf).unwrap().names().any(|n| n.contains("rope")));
    }
    let with = |values: &[f32]| config(&tiny_model("llama").f32("rope_freqs.weight", &[8], values));
    assert_eq!(with(&[1.0; 8]).unwrap()["rope_parameters"]["rope_type"], "default");
    assert_says(with(&[1.0, 2.0, 3.0, 1.0, 5.0, 9.0, 2.0, 6.0]), &["rope_freqs.weight", "llama3"]);
    assert_says(with(&[f32::NAN; 8]), &["rope_freqs.weight"]);
}

#[test]
fn metadata_that_is_missing_or_wrong_is_named() {
    for key in ["embedding_length", "block_count", "context_length", "feed_forward_length", "attention.head_count"] {
        let key = format!("llama.{key}");
        assert_says(config(&tiny_model("llama").without(&key)), &["lacks the metadata key", &key]);
        assert_says(config(&tiny_model("llama").set(&key, text("many"))), &[&key, "expected an integer", "\"many\""]);
        assert_says(config(&tiny_model("llama").set(&key, Meta::I32(-1))), &[&key, "-1"]);
    }
    assert_says(
        config(&tiny_model("llama").meta("llama.vocab_size", Meta::U32(41))),
        &["vocab_size` is 41", "40 rows"],
    );
    assert_says(config(&tiny_metadata("llama")), &["token_embd.weight"]);
    let kv = |all: Vec<i32>| config(&tiny_model("llama").set("llama.attention.head_count_kv", Meta::I32s(all)));
    assert_eq!(kv(vec![1, 1, 1]).unwrap()["num_key_value_heads"], 1);
    assert_says(kv(vec![1, 2]), &["head_count_kv", "layers that differ"]);
    let uneven = tiny_model("llama")
        .meta("llama.attention.key_length", Meta::U32(16))
        .meta("llama.attention.value_length", Meta::U32(8));
    assert_says(config(&uneven), &["value heads have 8", "16"]);
}

#[test]
fn generation_config_lists_every_end() {
    let generation = |m: GgufWriter| gguf::generation_config_json(&open(&m)).unwrap();
    assert_eq!(generation(tiny_model("llama")), json!({ "bos_token_id": 1, "eos_token_id": 2 }));
    let start = generation(tiny_model("t5").meta("t5.decoder_start_token_id", Meta::U32(0)));
    assert_eq!(start, json!({ "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0 }));
    let several = tiny_model("llama")
        .meta("tokenizer.ggml.eot_token_id", Meta::U32(5))
        .meta("tokenizer.ggml.eom_token_id", Meta::U32(2))
        .meta("tokenizer.ggml.padding_token_id", Meta::U32(0));
    assert_eq!(generation(several), json!({ "bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 0 }));
}

const TOKENS: [&str; 16] =
    ["<pad>", "<s>", "</s>", "1", "2", "3", "a", "b", "ab", "Ġ", "Ġa", "Ġab", "<tool>", "12", "123", "c"];

fn with_tokenizer(pre: &str) -> GgufWriter {
    let mut types = vec![1; TOKENS.len()];
    types[..3].fill(3);
    types[12] = 4;
    tiny_model("llama")
        .meta("tokenizer.ggml.model", text("gpt2"))
        .meta("tokenizer.ggml.pre", text(pre))
        .meta("tokenizer.ggml.tokens", texts(&TOKENS))
        .meta("tokenizer.ggml.token_type", Meta::I32s(types))
        .meta("tokenizer.ggml.merges", texts(&["a b", "Ġ a", "Ġ ab", "1 2", "12 3"]))
}

fn tokenizer(writer: &GgufWriter) -> kiln_models::Result<GgufTokenizer> {
    gguf::tokenizer(&open(writer)).map(Option::unwrap)
}

fn ids(writer: &GgufWriter, text: &str) -> Vec<u32> {
    let json = tokenizer(writer).unwrap().tokenizer_json.to_string();
    let tokenizer: Tokenizer = json.parse().unwrap();
    tokenizer.encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn each_pre_tokenizer_splits_its_own_way() {
    let text = "</s>ab ab<tool>1231";
    let word = |digits: &[u32]| [&[2, 8, 11, 12][..], digits].concat();
    assert_eq!(ids(&with_tokenizer("gpt-2"), text), word(&[14, 3]));
    assert_eq!(ids(&with_tokenizer("smollm"), text), word(&[3, 4, 5, 3]));
    assert_eq!(ids(&with_tokenizer("qwen2"), text), word(&[3, 4, 5, 3]));
    assert_eq!(ids(&with_tokenizer("llama-bpe"), text), [&[1][..], &word(&[14, 3])].concat());
    assert_says(tokenizer(&with_tokenizer("chatglm-bpe")), &["`chatglm-bpe`", "smollm"]);
}

#[test]
fn flags_and_special_tokens_are_carried_over() {
    let model = with_tokenizer("smollm")
        .meta("tokenizer.ggml.add_bos_token", Meta::Bool(true))
        .meta("tokenizer.ggml.add_eos_token", Meta::Bool(true))
        .meta("tokenizer.chat_template", text("{{ messages }}"));
    assert_eq!(ids(&model, "a"), [1, 6, 2]);
    let tokenizer = tokenizer(&model).unwrap();
    assert_eq!(tokenizer.chat_template.as_deref(), Some("{{ messages }}"));
    for (key, value) in [("bos_token", json!("<s>")), ("eos_token", json!("</s>")), ("add_bos_token", json!(true))] {
        assert_eq!(tokenizer.tokenizer_config[key], value);
    }
    let decoder: Tokenizer = tokenizer.tokenizer_json.to_string().parse().unwrap();
    assert_eq!(decoder.decode(&[1, 8, 11, 12, 2], true).unwrap(), "ab ab<tool>");
}

#[test]
fn bad_tokenizers_are_named() {
    let bad = |key: &str, value: Meta, says: &[&str]| {
        assert_says(tokenizer(&with_tokenizer("smollm").set(&format!("tokenizer.ggml.{key}"), value)), says);
    };
    bad("model", text("rwkv"), &["`rwkv`", "gpt2"]);
    bad("tokens", texts(&["a", "b", "a"]), &["token_type"]);
    bad("token_type", Meta::I32s(vec![1]), &["1 entries for 16 tokens"]);
    bad("merges", texts(&["ab"]), &["merge 0", "\"ab\""]);
    bad("merges", texts(&["a b", "a c"]), &["merge 1", "\"ac\"", "not in the vocabulary"]);
    bad("merges", Meta::U32(1), &["tokenizer.ggml.merges", "array of strings"]);
    bad("bos_token_id", Meta::U32(16), &["bos_token_id` is 16", "16 tokens"]);
    bad("add_bos_token", Meta::U32(1), &["add_bos_token", "a bool"]);
    for key in ["tokens", "merges"] {
        let key = format!("tokenizer.ggml.{key}");
        assert_says(tokenizer(&with_tokenizer("smollm").without(&key)), &["lacks the metadata key", &key]);
    }
    assert_eq!(gguf::tokenizer(&open(&tiny_model("llama"))).unwrap(), None);
}
