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
        let Some(name) = hugging_face_name(architecture, &tensor.name) else {
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
fn hugging_face_name(architecture: Architecture, name: &str) -> Option<String> {
    let (rest, kind) = name.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let neox = architecture == Architecture::GptNeoX;
    let module = match rest {
        "token_embd" if neox => "gpt_neox.embed_in",
        "output_norm" if neox => "gpt_neox.final_layer_norm",
        "output" if neox => "embed_out",
        "token_embd" => "model.embed_tokens",
        "output_norm" => "model.norm",
        "output" => "lm_head",
        _ => {
            let (layer, part) = rest.strip_prefix("blk.")?.split_once('.')?;
            // Digits as llama.cpp writes them, so that no two names become one.
            let number: u32 = layer.parse().ok()?;
            let (layers, module) = match neox {
                true => ("gpt_neox.layers", neox_module(part)?),
                false => ("model.layers", module(architecture, part)?),
            };
            return (number.to_string() == layer).then(|| format!("{layers}.{number}.{module}.{kind}"));
        }
    };
    Some(format!("{module}.{kind}"))
}

/// The module of a layer of Llama or one of its relatives.
fn module(architecture: Architecture, part: &str) -> Option<&'static str> {
    use Architecture::{Olmo2, Phi3, Qwen3};
    Some(match (part, architecture) {
        ("attn_qkv", Phi3) => "self_attn.qkv_proj",
        ("attn_q" | "attn_k" | "attn_v" | "ffn_gate", Phi3) => return None,
        ("ffn_up", Phi3) => "mlp.gate_up_proj",
        ("attn_q_norm", Qwen3 | Olmo2) => "self_attn.q_norm",
        ("attn_k_norm", Qwen3 | Olmo2) => "self_attn.k_norm",
        ("post_attention_norm", Olmo2) => "post_attention_layernorm",
        ("post_ffw_norm", Olmo2) => "post_feedforward_layernorm",
        ("attn_norm" | "ffn_norm", Olmo2) => return None,
        ("attn_norm", _) => "input_layernorm",
        ("attn_q", _) => "self_attn.q_proj",
        ("attn_k", _) => "self_attn.k_proj",
        ("attn_v", _) => "self_attn.v_proj",
        ("attn_output", _) => "self_attn.o_proj",
        ("ffn_norm", _) => "post_attention_layernorm",
        ("ffn_gate", _) => "mlp.gate_proj",
        ("ffn_up", _) => "mlp.up_proj",
        ("ffn_down", _) => "mlp.down_proj",
        _ => return None,
    })
}

/// The module of a layer of GPT-NeoX.
fn neox_module(part: &str) -> Option<&'static str> {
    Some(match part {
        "attn_norm" => "input_layernorm",
        "attn_qkv" => "attention.query_key_value",
        "attn_output" => "attention.dense",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_up" => "mlp.dense_h_to_4h",
        "ffn_down" => "mlp.dense_4h_to_h",
        _ => return None,
    })
}

/// The head counts by which llama.cpp's converter reordered rows; `None` where it did not.
struct HeadCounts {
    query_and_key: Option<(u64, u64)>,
}

impl HeadCounts {
    fn read(gguf: &Gguf, architecture: Architecture) -> Result<HeadCounts> {
        if !matches!(architecture, Architecture::Llama | Architecture::SmolLm3 | Architecture::GptNeoX) {
            return Ok(HeadCounts { query_and_key: None });
        }
        let corrupt = |p: String| gguf.corrupt(p);
        let key = |name: &str| format!("{}.attention.{name}", architecture.key());
        let query = gguf.metadata.unsigned_or_uniform(&key("head_count")).map_err(corrupt)?;
        let Some(query) = query else {
            return Err(gguf.corrupt(format!("it lacks the metadata key `{}`", key("head_count"))));
        };
        let key = gguf.metadata.unsigned_or_uniform(&key("head_count_kv")).map_err(corrupt)?;
        Ok(HeadCounts { query_and_key: Some((query, key.unwrap_or(query))) })
    }

    fn row_order(&self, name: &str, rows: usize) -> std::result::Result<RowOrder, String> {
        let Some((query, key)) = self.query_and_key else { return Ok(RowOrder::AsStored) };
        // A head of a query or a key has an even number of rows; one of all three has them three times.
        let (heads, parts) = match name.rsplit('.').nth(1) {
            Some("attn_q") => (query, 2),
            Some("attn_k") => (key, 2),
            Some("attn_qkv") => (query, 3),
            _ => return Ok(RowOrder::AsStored),
        };
        match usize::try_from(heads).ok().filter(|&heads| heads > 0 && rows.is_multiple_of(heads.saturating_mul(parts)))
        {
            Some(heads) if parts == 3 => Ok(RowOrder::PartsFirst { heads, head_dim: rows / heads / 3 }),
            Some(heads) => Ok(RowOrder::InterleavedPairs { head_dim: rows / heads }),
            None if parts == 3 => {
                Err(format!("tensor `{name}` has {rows} rows, which are not queries, keys and values of {heads} heads"))
            }
            None => Err(format!("tensor `{name}` has {rows} rows, which are not {heads} heads of an even size")),
        }
    }
}
