//! T5, both versions. The metadata names neither the activation nor the largest distance; llama.cpp computes with what T5's have.

use crate::Result;
use crate::gguf::keys::Keys;
use serde_json::{Value, json};

pub(super) fn config(keys: &Keys) -> Result<Value> {
    let layers = keys.required("block_count")?;
    let gated = keys.has("enc.blk.0.ffn_gate.weight");
    Ok(json!({
        "d_ff": keys.required("feed_forward_length")?,
        "d_kv": keys.required("attention.key_length")?,
        "d_model": keys.required("embedding_length")?,
        "decoder_start_token_id": keys.optional("decoder_start_token_id")?.unwrap_or(0),
        "feed_forward_proj": if gated { "gated-gelu" } else { "relu" },
        "is_encoder_decoder": true,
        "layer_norm_epsilon": keys.required_number("attention.layer_norm_rms_epsilon")?,
        "n_positions": keys.required("context_length")?,
        "num_decoder_layers": keys.optional("decoder_block_count")?.unwrap_or(layers),
        "num_heads": keys.required("attention.head_count")?,
        "num_layers": layers,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": keys.required("attention.relative_buckets_count")?,
        "tie_word_embeddings": !keys.has("output.weight"),
        "use_cache": true,
    }))
}
