//! From llama.cpp's tensor names, row order and values to Hugging Face's.

use super::{Architecture, Gguf, TensorInfo, rope};
use crate::Result;
use crate::weights::{Checkpoint, Conversion};
use kiln_core::{DType, Storage};
use std::sync::Arc;

/// The tensors of a GGUF file as a [`Checkpoint`]: Hugging Face names, PyTorch shapes, rows and values as Hugging Face has them when read.
/// One thing stays as llama.cpp has it: GPT-2's linear layers are `[out, in]`.
///
/// Tensors of rotary frequencies are no parameters of the Hugging Face model; [`config_json`](super::config_json) says what they mean.
///
/// # Errors
/// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for an architecture or a tensor that is not known here.
pub fn checkpoint(gguf: &Gguf) -> Result<Checkpoint> {
    let architecture = Architecture::of(gguf)?;
    let names = names(architecture, gguf);
    let heads = HeadCounts::read(gguf, architecture)?;
    let mut checkpoint = Checkpoint::new(gguf.path(), vec![Arc::clone(&gguf.file)]);
    for tensor in &gguf.tensors {
        if rope::TENSORS.contains(&tensor.name.as_str()) {
            continue;
        }
        let Some(name) = names.hugging_face(&tensor.name) else {
            if may_be_ignored(&names, tensor) {
                continue;
            }
            return Err(gguf.unsupported(format!(
                "tensor `{}` has no counterpart in a Hugging Face {} model, so the model is of another kind than its \
                 architecture says; use its safetensors folder",
                tensor.name,
                architecture.model_type()
            )));
        };
        let Some(storage) = tensor.storage else {
            checkpoint.insert_unsupported(name, tensor.type_name.to_string(), 0)?;
            continue;
        };
        let rows = tensor.shape.first().copied().unwrap_or(1);
        let mut conversion = heads.conversion(&tensor.name, rows).map_err(|p| gguf.corrupt(p))?;
        if is_gemma(architecture) && tensor.name.ends_with("norm.weight") {
            if storage != Storage::Dense(DType::F32) {
                let name = &tensor.name;
                return Err(
                    gguf.unsupported(format!("tensor `{name}` is stored as {storage}; expected f32 for a norm"))
                );
            }
            conversion = Conversion::OnePlus;
        }
        let place = (0, tensor.offset, tensor.bytes);
        checkpoint.insert(name, (storage, tensor.shape.clone()), conversion, place)?;
    }
    Ok(checkpoint)
}

/// Whether a tensor without a counterpart is none of the model's parameters: integers never are, and outside of layers no type is that
/// weights do not have.
fn may_be_ignored(names: &Names, tensor: &TensorInfo) -> bool {
    let in_layer = names.stacks.iter().any(|(prefix, ..)| tensor.name.starts_with(&format!("{prefix}.")));
    match tensor.storage {
        Some(Storage::Dense(dtype)) if !dtype.is_float() => true,
        Some(Storage::Dense(DType::F64)) => !in_layer,
        Some(_) => false,
        None => tensor.type_name == "I16" || !in_layer,
    }
}

fn is_gemma(architecture: Architecture) -> bool {
    matches!(architecture, Architecture::Gemma2 | Architecture::Gemma3)
}

/// Pairs of llama.cpp's name of a module and Hugging Face's.
type Table = &'static [(&'static str, &'static str)];

/// The names of an architecture's tensors, without `.weight` and `.bias`.
struct Names {
    /// Modules outside of layers.
    outside: Table,
    /// Stacks of layers: llama.cpp's name of the stack, Hugging Face's, and the modules of a layer.
    stacks: &'static [(&'static str, &'static str, &'static [Table])],
}

impl Names {
    /// `None` for a name that is not known.
    fn hugging_face(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if !matches!(kind, "weight" | "bias") {
            return None;
        }
        let of = |table: Table, name: &str| table.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| *theirs);
        if let Some(module) = of(self.outside, module) {
            return Some(format!("{module}.{kind}"));
        }
        self.stacks.iter().find_map(|(prefix, stack, tables)| {
            let (layer, part) = module.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
            // Digits as llama.cpp writes them, so that no two names become one.
            let number: u32 = layer.parse().ok().filter(|number: &u32| number.to_string() == layer)?;
            let module = tables.iter().find_map(|table| of(table, part))?;
            Some(format!("{stack}.{number}.{module}.{kind}"))
        })
    }
}

fn names(architecture: Architecture, gguf: &Gguf) -> Names {
    let decoder = |stacks| Names { outside: DECODER, stacks };
    match architecture {
        Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::SmolLm3 => {
            decoder(&[("blk", "model.layers", &[ATTENTION, GATED_MLP, NORMS_BEFORE])])
        }
        Architecture::Qwen3 => {
            decoder(&[("blk", "model.layers", &[ATTENTION, GATED_MLP, NORMS_BEFORE, NORMS_OF_HEADS])])
        }
        Architecture::Olmo2 => {
            decoder(&[("blk", "model.layers", &[ATTENTION, GATED_MLP, NORMS_AFTER, NORMS_OF_HEADS])])
        }
        Architecture::Phi3 => decoder(&[("blk", "model.layers", &[PHI3, NORMS_BEFORE])]),
        Architecture::Gemma2 => decoder(&[("blk", "model.layers", &[ATTENTION, GATED_MLP, GEMMA_NORMS])]),
        Architecture::Gemma3 => {
            decoder(&[("blk", "model.layers", &[ATTENTION, GATED_MLP, GEMMA_NORMS, NORMS_OF_HEADS])])
        }
        Architecture::GptNeoX => Names {
            outside: &[
                ("token_embd", "gpt_neox.embed_in"),
                ("output_norm", "gpt_neox.final_layer_norm"),
                ("output", "embed_out"),
            ],
            stacks: &[("blk", "gpt_neox.layers", &[GPT_NEOX])],
        },
        Architecture::Gpt2 => Names {
            outside: &[
                ("token_embd", "transformer.wte"),
                ("position_embd", "transformer.wpe"),
                ("output_norm", "transformer.ln_f"),
                ("output", "lm_head"),
            ],
            stacks: &[("blk", "transformer.h", &[GPT2])],
        },
        Architecture::Bert => Names { outside: BERT_EMBEDDINGS, stacks: &[("blk", "encoder.layer", &[BERT])] },
        Architecture::DistilBert => {
            Names { outside: BERT_EMBEDDINGS, stacks: &[("blk", "transformer.layer", &[DISTILBERT])] }
        }
        Architecture::ModernBert => Names {
            outside: &[
                ("token_embd", "embeddings.tok_embeddings"),
                ("token_embd_norm", "embeddings.norm"),
                ("output_norm", "final_norm"),
                ("cls", "head.dense"),
                ("cls.norm", "head.norm"),
            ],
            stacks: &[("blk", "layers", &[MODERNBERT])],
        },
        // The gated feed-forward block has other names.
        Architecture::T5 if gguf.tensors.iter().any(|t| t.name.ends_with(".ffn_gate.weight")) => Names {
            outside: T5,
            stacks: &[
                ("enc.blk", "encoder.block", &[T5_ATTENTION, T5_ENCODER, T5_ENCODER_GATED]),
                ("dec.blk", "decoder.block", &[T5_ATTENTION, T5_DECODER, T5_DECODER_GATED]),
            ],
        },
        Architecture::T5 => Names {
            outside: T5,
            stacks: &[
                ("enc.blk", "encoder.block", &[T5_ATTENTION, T5_ENCODER, T5_ENCODER_PLAIN]),
                ("dec.blk", "decoder.block", &[T5_ATTENTION, T5_DECODER, T5_DECODER_PLAIN]),
            ],
        },
    }
}

const DECODER: Table = &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
const ATTENTION: Table = &[
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
];
const GATED_MLP: Table = &[("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj")];
const NORMS_OF_HEADS: Table = &[("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];
const NORMS_BEFORE: Table = &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
const NORMS_AFTER: Table =
    &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")];
const GEMMA_NORMS: Table = &[
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const PHI3: Table = &[
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const GPT_NEOX: Table = &[
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "attention.query_key_value"),
    ("attn_output", "attention.dense"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
];
const GPT2: Table = &[
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];
const BERT_EMBEDDINGS: Table = &[
    ("token_embd", "embeddings.word_embeddings"),
    ("position_embd", "embeddings.position_embeddings"),
    ("token_types", "embeddings.token_type_embeddings"),
    ("token_embd_norm", "embeddings.LayerNorm"),
];
const BERT: Table = &[
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
    ("layer_output_norm", "output.LayerNorm"),
];
const DISTILBERT: Table = &[
    ("attn_q", "attention.q_lin"),
    ("attn_k", "attention.k_lin"),
    ("attn_v", "attention.v_lin"),
    ("attn_output", "attention.out_lin"),
    ("attn_output_norm", "sa_layer_norm"),
    ("ffn_up", "ffn.lin1"),
    ("ffn_down", "ffn.lin2"),
    ("layer_output_norm", "output_layer_norm"),
];
const MODERNBERT: Table = &[
    ("attn_norm", "attn_norm"),
    ("attn_qkv", "attn.Wqkv"),
    ("attn_output", "attn.Wo"),
    ("ffn_norm", "mlp_norm"),
    ("ffn_up", "mlp.Wi"),
    ("ffn_down", "mlp.Wo"),
];
const T5: Table = &[
    ("token_embd", "shared"),
    ("enc.output_norm", "encoder.final_layer_norm"),
    ("dec.output_norm", "decoder.final_layer_norm"),
    ("output", "lm_head"),
];
const T5_ATTENTION: Table = &[
    ("attn_norm", "layer.0.layer_norm"),
    ("attn_q", "layer.0.SelfAttention.q"),
    ("attn_k", "layer.0.SelfAttention.k"),
    ("attn_v", "layer.0.SelfAttention.v"),
    ("attn_o", "layer.0.SelfAttention.o"),
    ("attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"),
];
const T5_ENCODER: Table = &[("ffn_norm", "layer.1.layer_norm"), ("ffn_down", "layer.1.DenseReluDense.wo")];
const T5_ENCODER_PLAIN: Table = &[("ffn_up", "layer.1.DenseReluDense.wi")];
const T5_ENCODER_GATED: Table =
    &[("ffn_gate", "layer.1.DenseReluDense.wi_0"), ("ffn_up", "layer.1.DenseReluDense.wi_1")];
const T5_DECODER: Table = &[
    ("cross_attn_norm", "layer.1.layer_norm"),
    ("cross_attn_q", "layer.1.EncDecAttention.q"),
    ("cross_attn_k", "layer.1.EncDecAttention.k"),
    ("cross_attn_v", "layer.1.EncDecAttention.v"),
    ("cross_attn_o", "layer.1.EncDecAttention.o"),
    ("cross_attn_rel_b", "layer.1.EncDecAttention.relative_attention_bias"),
    ("ffn_norm", "layer.2.layer_norm"),
    ("ffn_down", "layer.2.DenseReluDense.wo"),
];
const T5_DECODER_PLAIN: Table = &[("ffn_up", "layer.2.DenseReluDense.wi")];
const T5_DECODER_GATED: Table =
    &[("ffn_gate", "layer.2.DenseReluDense.wi_0"), ("ffn_up", "layer.2.DenseReluDense.wi_1")];

/// The head counts by which llama.cpp's converter reordered rows; `None` where it did not.
struct HeadCounts {
    query_and_key: Option<(u64, u64)>,
}

impl HeadCounts {
    fn read(gguf: &Gguf, architecture: Architecture) -> Result<HeadCounts> {
        if !matches!(
            architecture,
            Architecture::Llama | Architecture::Mistral | Architecture::SmolLm3 | Architecture::GptNeoX
        ) {
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

    fn conversion(&self, name: &str, rows: usize) -> std::result::Result<Conversion, String> {
        let Some((query, key)) = self.query_and_key else { return Ok(Conversion::None) };
        // A head of a query or a key has an even number of rows; one of all three has them three times.
        let (heads, parts) = match name.rsplit('.').nth(1) {
            Some("attn_q") => (query, 2),
            Some("attn_k") => (key, 2),
            Some("attn_qkv") => (query, 3),
            _ => return Ok(Conversion::None),
        };
        match usize::try_from(heads).ok().filter(|&heads| heads > 0 && rows.is_multiple_of(heads.saturating_mul(parts)))
        {
            Some(heads) if parts == 3 => Ok(Conversion::PartsFirst { heads, head_dim: rows / heads / 3 }),
            Some(heads) => Ok(Conversion::InterleavedPairs { head_dim: rows / heads }),
            None if parts == 3 => {
                Err(format!("tensor `{name}` has {rows} rows, which are not queries, keys and values of {heads} heads"))
            }
            None => Err(format!("tensor `{name}` has {rows} rows, which are not {heads} heads of an even size")),
        }
    }
}
