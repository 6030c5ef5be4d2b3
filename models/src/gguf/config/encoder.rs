//! Encoders. llama.cpp's metadata does not name their activation; it computes BERT's GELU.

use crate::Result;
use crate::gguf::keys::Keys;
use serde_json::{Value, json};

/// The rows of a table of embeddings.
fn rows(keys: &Keys, tensor: &str) -> Result<usize> {
    match keys.gguf.tensor(tensor).map(|t| t.shape.as_slice()) {
        Some(&[rows, _]) => Ok(rows),
        Some(other) => {
            Err(keys.gguf.corrupt(format!("tensor `{tensor}` has shape {other:?}, expected two dimensions")))
        }
        None => Err(keys.gguf.corrupt(format!("it lacks the tensor `{tensor}`"))),
    }
}

pub(super) fn bert(keys: &Keys) -> Result<Value> {
    Ok(json!({
        "hidden_act": "gelu",
        "hidden_size": keys.required("embedding_length")?,
        "intermediate_size": keys.required("feed_forward_length")?,
        "layer_norm_eps": keys.required_number("attention.layer_norm_epsilon")?,
        "max_position_embeddings": rows(keys, "position_embd.weight")?,
        "num_attention_heads": keys.required("attention.head_count")?,
        "num_hidden_layers": keys.required("block_count")?,
        "type_vocab_size": rows(keys, "token_types.weight")?,
    }))
}

pub(super) fn distilbert(keys: &Keys) -> Result<Value> {
    Ok(json!({
        "activation": "gelu",
        "dim": keys.required("embedding_length")?,
        "hidden_dim": keys.required("feed_forward_length")?,
        "max_position_embeddings": rows(keys, "position_embd.weight")?,
        "n_heads": keys.required("attention.head_count")?,
        "n_layers": keys.required("block_count")?,
    }))
}

pub(super) fn modernbert(keys: &Keys) -> Result<Value> {
    let theta = |key: &str, default| Ok::<_, crate::Error>(keys.number(key)?.unwrap_or(default));
    let rope = |theta: f64| json!({ "rope_type": "default", "rope_theta": theta });
    Ok(json!({
        "attention_bias": keys.has("blk.0.attn_qkv.bias"),
        "global_attn_every_n_layers": keys.optional("attention.sliding_window_pattern")?.unwrap_or(3),
        "hidden_activation": keys.string("hidden_activation")?.unwrap_or("gelu"),
        "hidden_size": keys.required("embedding_length")?,
        "intermediate_size": keys.required("feed_forward_length")?,
        "local_attention": keys.required("attention.sliding_window")?,
        "max_position_embeddings": keys.required("context_length")?,
        "mlp_bias": keys.has("blk.0.ffn_up.bias"),
        "norm_bias": keys.has("output_norm.bias"),
        "norm_eps": keys.required_number("attention.layer_norm_epsilon")?,
        "num_attention_heads": keys.required("attention.head_count")?,
        "num_hidden_layers": keys.required("block_count")?,
        "rope_parameters": {
            "full_attention": rope(theta("rope.freq_base", 160_000.0)?),
            "sliding_attention": rope(theta("rope.freq_base_swa", 10_000.0)?),
        },
    }))
}
