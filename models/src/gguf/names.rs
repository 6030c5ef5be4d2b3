//! From llama.cpp's tensor names and row order to Hugging Face's.

use super::{Architecture, Gguf};
use crate::Result;
use crate::weights::{Checkpoint, RowOrder};
use std::sync::Arc;

/// The tensors of a GGUF file as a [`Checkpoint`]: Hugging Face names, PyTorch shapes, rows in Hugging Face order when read.
///
/// `rope_freqs.weight` is no parameter of the Hugging Face model; [`config_json`](super::config_json) says what it means.
///
/// # Errors
/// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for an architecture or a tensor that is not known here.
pub fn checkpoint(gguf: &Gguf) -> Result<Checkpoint> {
    let architecture = Architecture::of(gguf)?;
    let heads = HeadCounts::read(gguf, architecture)?;
    let mut checkpoint = Checkpoint::new(gguf.path(), vec![Arc::clone(&gguf.file)]);
    for tensor in &gguf.tensors {
        if tensor.name == "rope_freqs.weight" {
            continue;
        }
        let Some(name) = hugging_face_name(&tensor.name) else {
            return Err(gguf.unsupported(format!(
                "tensor `{}` has no counterpart in a Hugging Face {} model, so the model is of another kind than its \
                 architecture says; use its safetensors folder",
                tensor.name,
                architecture.key()
            )));
        };
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let row_order = heads.row_order(&tensor.name, rows).map_err(|p| gguf.corrupt(p))?;
        let place = (0, tensor.offset, tensor.bytes);
        checkpoint.insert(name, (tensor.storage, tensor.shape.clone()), row_order, place)?;
    }
    Ok(checkpoint)
}

/// `None` for a name that is not known.
fn hugging_face_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_string()),
        "output_norm.weight" => return Some("model.norm.weight".to_string()),
        "output.weight" => return Some("lm_head.weight".to_string()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    // Digits as llama.cpp writes them, so that no two names become one.
    let number: u32 = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    if number.to_string() != layer || !matches!(kind, "weight" | "bias") {
        return None;
    }
    let module = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{number}.{module}.{kind}"))
}

/// The head counts by which llama.cpp's converter reordered query and key rows; `None` where it did not.
struct HeadCounts {
    query_and_key: Option<(u64, u64)>,
}

impl HeadCounts {
    fn read(gguf: &Gguf, architecture: Architecture) -> Result<HeadCounts> {
        if architecture != Architecture::Llama {
            return Ok(HeadCounts { query_and_key: None });
        }
        let corrupt = |p: String| gguf.corrupt(p);
        let query = gguf.metadata.unsigned_or_uniform("llama.attention.head_count").map_err(corrupt)?;
        let Some(query) = query else {
            return Err(gguf.corrupt("it lacks the metadata key `llama.attention.head_count`".to_string()));
        };
        let key = gguf.metadata.unsigned_or_uniform("llama.attention.head_count_kv").map_err(corrupt)?;
        Ok(HeadCounts { query_and_key: Some((query, key.unwrap_or(query))) })
    }

    fn row_order(&self, name: &str, rows: usize) -> std::result::Result<RowOrder, String> {
        let Some((query, key)) = self.query_and_key else { return Ok(RowOrder::AsStored) };
        let heads = match name.rsplit('.').nth(1) {
            Some("attn_q") => query,
            Some("attn_k") => key,
            _ => return Ok(RowOrder::AsStored),
        };
        match usize::try_from(heads).ok().filter(|&heads| heads > 0 && rows.is_multiple_of(heads.saturating_mul(2))) {
            Some(heads) => Ok(RowOrder::InterleavedPairs { head_dim: rows / heads }),
            None => Err(format!("tensor `{name}` has {rows} rows, which are not {heads} heads of an even size")),
        }
    }
}
