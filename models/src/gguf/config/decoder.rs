//! Decoders: Llama and its relatives, GPT-NeoX and GPT-2.

use crate::Result;
use crate::gguf::keys::Keys;
use crate::gguf::{Architecture, MetaValue, rope};
use serde_json::{Value, json};

/// Of everything that [`DecoderConfig`](crate::config::DecoderConfig) describes, and GPT-NeoX.
pub(super) fn config(keys: &Keys, architecture: Architecture) -> Result<Value> {
    let gguf = keys.gguf;
    let hidden_size = keys.required("embedding_length")?;
    let heads = keys.required("attention.head_count")?;
    let head_dim = match keys.optional("attention.key_length")? {
        Some(head_dim) => Some(head_dim),
        None => hidden_size.checked_div(heads),
    };
    if let (Some(value), Some(key)) = (keys.optional("attention.value_length")?, head_dim)
        && value != key
    {
        return Err(gguf.unsupported(format!(
            "its value heads have {value} elements and its key heads {key}; a {} model in kiln has one head_dim",
            keys.prefix
        )));
    }
    let partial = matches!(architecture, Architecture::Phi3 | Architecture::GptNeoX);
    let mut config = json!({
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": keys.required("feed_forward_length")?,
        "num_hidden_layers": keys.required("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.optional("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": keys.required("context_length")?,
        "rope_parameters": rope::rope_parameters(keys, head_dim, partial)?,
        "tie_word_embeddings": !keys.has("output.weight"),
        "use_cache": true,
    });
    match architecture {
        Architecture::GptNeoX => {
            config["layer_norm_eps"] = json!(keys.required_number("attention.layer_norm_epsilon")?)
        }
        _ => config["rms_norm_eps"] = json!(keys.required_number("attention.layer_norm_rms_epsilon")?),
    }
    let attention_bias = json!(keys.has("blk.0.attn_q.bias") || keys.has("blk.0.attn_qkv.bias"));
    let window = keys.optional("attention.sliding_window")?.filter(|window| *window > 0);
    match architecture {
        Architecture::Llama => {
            config["attention_bias"] = attention_bias;
            config["mlp_bias"] = json!(keys.has("blk.0.ffn_up.bias"));
        }
        Architecture::Qwen2 => config["use_sliding_window"] = json!(false),
        Architecture::Qwen3 => {
            config["attention_bias"] = attention_bias;
            config["use_sliding_window"] = json!(false);
        }
        Architecture::SmolLm3 => {
            config["attention_bias"] = attention_bias;
            config["mlp_bias"] = json!(keys.has("blk.0.ffn_up.bias"));
            // The metadata does not say; llama.cpp turns nothing in every fourth layer either.
            config["no_rope_layer_interval"] = json!(4);
        }
        Architecture::Olmo2 if window.is_some() => {
            return Err(gguf.unsupported(format!(
                "`{}.attention.sliding_window` says that some layers see a window only, as OLMo 3 has it; kiln has OLMo 2",
                keys.prefix
            )));
        }
        Architecture::Olmo2 => config["attention_bias"] = attention_bias,
        Architecture::Mistral => config["sliding_window"] = json!(window),
        Architecture::Phi3 => {
            config["sliding_window"] = json!(window);
            config["original_max_position_embeddings"] =
                config["rope_parameters"]["original_max_position_embeddings"].clone();
        }
        Architecture::GptNeoX => {
            config["hidden_act"] = json!("gelu");
            config["attention_bias"] = attention_bias;
            config["use_parallel_residual"] = json!(keys.bool("use_parallel_residual")?.unwrap_or(true));
        }
        Architecture::Gemma2 | Architecture::Gemma3 => gemma(keys, architecture, window, &mut config)?,
        _ => {}
    }
    Ok(config)
}

/// What Gemma has beside the rest.
fn gemma(keys: &Keys, architecture: Architecture, window: Option<u64>, config: &mut Value) -> Result<()> {
    for field in ["hidden_act", "hidden_activation"] {
        config[field] = json!("gelu_pytorch_tanh");
    }
    config["sliding_window"] = json!(window);
    for cap in ["final_logit_softcapping", "attn_logit_softcapping"] {
        if let Some(value) = keys.number(cap)? {
            config[cap] = json!(value);
        }
    }
    // The metadata does not say what scores are divided by. llama.cpp goes by the number of layers too: that of the 27B models.
    let of_27b = match architecture {
        Architecture::Gemma2 => 46,
        _ => 62,
    };
    config["query_pre_attn_scalar"] = match config["num_hidden_layers"].as_u64() {
        Some(layers) if layers == of_27b => {
            let heads = config["num_attention_heads"].as_u64().unwrap_or_default();
            json!(config["hidden_size"].as_u64().and_then(|size| size.checked_div(heads)))
        }
        _ => config["head_dim"].clone(),
    };
    match keys.gguf.metadata.get(&format!("{}.attention.sliding_window_pattern", keys.prefix)) {
        // For each layer whether it has a window.
        Some(MetaValue::Array(layers)) => {
            let kind = |layer: &MetaValue| match layer {
                MetaValue::Bool(true) => Some("sliding_attention"),
                MetaValue::Bool(false) => Some("full_attention"),
                _ => None,
            };
            let kinds: Option<Vec<&str>> = layers.iter().map(kind).collect();
            config["layer_types"] = json!(kinds.ok_or_else(|| {
                keys.gguf.corrupt(format!(
                    "metadata key `{}.attention.sliding_window_pattern`: expected an integer or an array of bools",
                    keys.prefix
                ))
            })?);
        }
        _ => config["sliding_window_pattern"] = json!(keys.optional("attention.sliding_window_pattern")?),
    }
    if architecture == Architecture::Gemma3 {
        let local = keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
        let mut global = config["rope_parameters"].take();
        if keys.number("rope.freq_base")?.is_none() {
            global["rope_theta"] = json!(1_000_000.0);
        }
        config["rope_parameters"] = json!({
            "full_attention": global,
            "sliding_attention": { "rope_type": "default", "rope_theta": local },
        });
    }
    Ok(())
}

pub(super) fn gpt2(keys: &Keys) -> Result<Value> {
    Ok(json!({
        "activation_function": "gelu_new",
        "layer_norm_epsilon": keys.required_number("attention.layer_norm_epsilon")?,
        "n_embd": keys.required("embedding_length")?,
        "n_head": keys.required("attention.head_count")?,
        "n_inner": keys.required("feed_forward_length")?,
        "n_layer": keys.required("block_count")?,
        "n_positions": keys.required("context_length")?,
        "tie_word_embeddings": !keys.has("output.weight"),
        "use_cache": true,
    }))
}
