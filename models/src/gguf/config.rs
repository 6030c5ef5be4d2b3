//! From GGUF metadata to what `config.json` and `generation_config.json` would say.

mod decoder;
mod encoder;
mod t5;

use super::keys::Keys;
use super::{Architecture, Gguf};
use crate::Result;
use serde_json::{Map, Value, json};

/// The `config.json` of the same model in a Hugging Face folder, as far as the metadata tells: `architectures`, `model_type`,
/// the sizes, `rope_parameters` with scaling, `tie_word_embeddings` (there is no `output.weight`), token ids.
///
/// The values are those of the file; checking them is the work of [`config`](crate::config).
///
/// # Errors
/// [`Error::CorruptGguf`](crate::Error::CorruptGguf) names a key that is missing or of a wrong type,
/// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) a setting that a Hugging Face config of that architecture cannot express.
pub fn config_json(gguf: &Gguf) -> Result<Value> {
    let architecture = Architecture::of(gguf)?;
    let keys = Keys { gguf, prefix: architecture.key() };
    let mut config = match architecture {
        Architecture::Gpt2 => decoder::gpt2(&keys)?,
        Architecture::Bert => encoder::bert(&keys)?,
        Architecture::DistilBert => encoder::distilbert(&keys)?,
        Architecture::ModernBert => encoder::modernbert(&keys)?,
        Architecture::T5 => t5::config(&keys)?,
        llama_like => decoder::config(&keys, llama_like)?,
    };
    config["architectures"] = json!([architecture.class()]);
    config["model_type"] = json!(architecture.model_type());
    config["vocab_size"] = json!(vocab_size(&keys)?);
    for (name, key) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        config[name] = json!(token_id(gguf, &format!("{key}_token_id"))?);
    }
    Ok(config)
}

/// The `generation_config.json` of the same model: the token ids, `eos_token_id` with every token that ends a turn, and what a decoder begins
/// with.
///
/// # Errors
/// [`Error::CorruptGguf`](crate::Error::CorruptGguf) names a key of a wrong type.
pub fn generation_config_json(gguf: &Gguf) -> Result<Value> {
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(token_id(gguf, key)?.filter(|id| !ends.contains(id)));
    }
    let mut config = Map::new();
    let ids = [("bos_token_id", "bos_token_id"), ("pad_token_id", "padding_token_id")];
    for (name, key) in ids {
        if let Some(id) = token_id(gguf, key)? {
            config.insert(name.to_string(), json!(id));
        }
    }
    let start = gguf.metadata.unsigned("t5.decoder_start_token_id").map_err(|p| gguf.corrupt(p))?;
    if let Some(id) = start {
        config.insert("decoder_start_token_id".to_string(), json!(id));
    }
    match ends.as_slice() {
        [] => {}
        [one] => drop(config.insert("eos_token_id".to_string(), json!(one))),
        several => drop(config.insert("eos_token_id".to_string(), json!(several))),
    }
    Ok(Value::Object(config))
}

/// The entries of `modules.json` of the same model, where the metadata says by what the tokens of a text become one vector; it does not say
/// whether that is brought to length 1.
///
/// # Errors
/// [`Error::CorruptGguf`](crate::Error::CorruptGguf) names a key of a wrong type.
pub fn sentence_transformer(gguf: &Gguf) -> Result<Option<Value>> {
    let keys = Keys { gguf, prefix: Architecture::of(gguf)?.key() };
    // llama.cpp's numbers; the others are no pooling, by the last token, and a reranker's.
    let pooling = match keys.optional("pooling_type")? {
        Some(1) => "mean",
        Some(2) => "cls",
        _ => return Ok(None),
    };
    let module = |name: &str| format!("sentence_transformers.models.{name}");
    Ok(Some(json!([
        { "type": module("Transformer") },
        { "type": module("Pooling"), "config": { "pooling_mode": pooling } },
    ])))
}

fn token_id(gguf: &Gguf, key: &str) -> Result<Option<u64>> {
    gguf.metadata.unsigned(&format!("tokenizer.ggml.{key}")).map_err(|p| gguf.corrupt(p))
}

/// The rows of the embedding, which the metadata may not contradict.
fn vocab_size(keys: &Keys) -> Result<u64> {
    let gguf = keys.gguf;
    let rows = match gguf.tensor("token_embd.weight").map(|t| t.shape.as_slice()) {
        Some(&[rows, _]) => rows as u64,
        Some(other) => {
            return Err(
                gguf.corrupt(format!("tensor `token_embd.weight` has shape {other:?}, expected two dimensions"))
            );
        }
        None => return Err(gguf.corrupt("it lacks the tensor `token_embd.weight`".to_string())),
    };
    match keys.optional("vocab_size")? {
        Some(said) if said != rows => Err(gguf.corrupt(format!(
            "metadata key `{}.vocab_size` is {said}, but `token_embd.weight` has {rows} rows",
            keys.prefix
        ))),
        _ => Ok(rows),
    }
}
