//! From GGUF metadata to what `config.json` and `generation_config.json` would say.

use super::{Architecture, Gguf, rope_freqs};
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
    let has = |name: &str| gguf.tensor(name).is_some();
    let partial = matches!(architecture, Architecture::Phi3 | Architecture::GptNeoX);
    let mut config = json!({
        "architectures": [architecture.class()],
        "model_type": architecture.model_type(),
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": keys.required("feed_forward_length")?,
        "num_hidden_layers": keys.required("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.optional("attention.head_count_kv")?.unwrap_or(heads),
        "head_dim": head_dim,
        "max_position_embeddings": keys.required("context_length")?,
        "rope_parameters": rope_parameters(&keys, head_dim, partial)?,
        "tie_word_embeddings": !has("output.weight"),
        "use_cache": true,
        "vocab_size": vocab_size(&keys)?,
        "bos_token_id": token_id(gguf, "bos_token_id")?,
        "eos_token_id": token_id(gguf, "eos_token_id")?,
        "pad_token_id": token_id(gguf, "padding_token_id")?,
    });
    match architecture {
        Architecture::GptNeoX => {
            config["layer_norm_eps"] = json!(keys.required_number("attention.layer_norm_epsilon")?)
        }
        _ => config["rms_norm_eps"] = json!(keys.required_number("attention.layer_norm_rms_epsilon")?),
    }
    let attention_bias = json!(has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"));
    let window = keys.optional("attention.sliding_window")?.filter(|window| *window > 0);
    match architecture {
        Architecture::Llama => {
            config["attention_bias"] = attention_bias;
            config["mlp_bias"] = json!(has("blk.0.ffn_up.bias"));
        }
        Architecture::Qwen2 => config["use_sliding_window"] = json!(false),
        Architecture::Qwen3 => {
            config["attention_bias"] = attention_bias;
            config["use_sliding_window"] = json!(false);
        }
        Architecture::SmolLm3 => {
            config["attention_bias"] = attention_bias;
            config["mlp_bias"] = json!(has("blk.0.ffn_up.bias"));
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
        Architecture::Phi3 => config["sliding_window"] = json!(window),
        Architecture::GptNeoX => {
            config["hidden_act"] = json!("gelu");
            config["attention_bias"] = attention_bias;
            config["use_parallel_residual"] = json!(keys.bool("use_parallel_residual")?.unwrap_or(true));
        }
    }
    Ok(config)
}

/// The `generation_config.json` of the same model: the token ids, `eos_token_id` with every token that ends a turn.
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
    match ends.as_slice() {
        [] => {}
        [one] => drop(config.insert("eos_token_id".to_string(), json!(one))),
        several => drop(config.insert("eos_token_id".to_string(), json!(several))),
    }
    Ok(Value::Object(config))
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

/// `partial` says whether the architecture may turn a part of each head only.
fn rope_parameters(keys: &Keys, head_dim: Option<u64>, partial: bool) -> Result<Value> {
    let mut parameters = whole_rope_parameters(keys)?;
    let (Some(turned), Some(head_dim)) = (keys.optional("rope.dimension_count")?, head_dim) else {
        return Ok(parameters);
    };
    if partial && (1..=head_dim).contains(&turned) {
        // transformers cuts the product with head_dim down to a whole number: half an element more is safe from rounding.
        let factor = (turned as f64 + 0.5) / head_dim as f64;
        parameters["partial_rotary_factor"] = json!(factor.min(1.0));
    } else if turned != head_dim {
        return Err(keys.gguf.unsupported(format!(
            "rotary embedding turns {turned} of {head_dim} elements of a head (`{}.rope.dimension_count`); a {} model turns all of them",
            keys.prefix, keys.prefix
        )));
    }
    Ok(parameters)
}

fn whole_rope_parameters(keys: &Keys) -> Result<Value> {
    let gguf = keys.gguf;
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    if let Some(tensor) = gguf.tensor("rope_freqs.weight") {
        return rope_freqs::parameters(gguf, tensor, theta);
    }
    let kind = keys.string("rope.scaling.type")?;
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.number("rope.scale_linear")?, // before llama.cpp knew other kinds
    };
    let original = keys.optional("rope.scaling.original_context_length")?;
    match (kind.unwrap_or(if factor.is_some() { "linear" } else { "none" }), factor) {
        ("none", _) => Ok(json!({ "rope_type": "default", "rope_theta": theta })),
        ("linear", Some(factor)) => Ok(json!({ "rope_type": "linear", "rope_theta": theta, "factor": factor })),
        ("yarn", Some(factor)) => yarn(keys, theta, factor, original),
        ("linear" | "yarn", None) => {
            Err(gguf.corrupt(format!("it lacks the metadata key `{}.rope.scaling.factor`", keys.prefix)))
        }
        (other, _) => Err(gguf.unsupported(format!(
            "`{}.rope.scaling.type` is `{other}`; from GGUF, kiln supports none, linear and yarn. Use the model's safetensors folder",
            keys.prefix
        ))),
    }
}

/// llama.cpp and transformers agree on YaRN, except for knobs that only llama.cpp has.
fn yarn(keys: &Keys, theta: f64, factor: f64, original: Option<u64>) -> Result<Value> {
    // A key, and the values at which llama.cpp computes what transformers does.
    for (key, neutral) in [("yarn_ext_factor", [1.0, -1.0]), ("yarn_log_multiplier", [0.0, 0.0])] {
        let key = format!("rope.scaling.{key}");
        if let Some(value) = keys.number(&key)?.filter(|value| !neutral.contains(value)) {
            return Err(keys.gguf.unsupported(format!(
                "`{}.{key}` is {value}; kiln supports {} only. Use the model's safetensors folder",
                keys.prefix, neutral[0]
            )));
        }
    }
    let mut parameters = json!({ "rope_type": "yarn", "rope_theta": theta, "factor": factor });
    if let Some(original) = original {
        parameters["original_max_position_embeddings"] = json!(original);
    }
    let mut attention = 1.0;
    for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"] {
        attention *= keys.number(key)?.unwrap_or(1.0);
    }
    if attention != 1.0 {
        // llama.cpp multiplies it onto YaRN's own factor; transformers takes the product.
        parameters["attention_factor"] = json!(attention * (1.0 + 0.1 * factor.max(1.0).ln()));
    }
    for beta in ["beta_fast", "beta_slow"] {
        if let Some(value) = keys.number(&format!("rope.scaling.yarn_{beta}"))? {
            parameters[beta] = json!(value);
        }
    }
    Ok(parameters)
}

/// The metadata keys of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn optional(&self, key: &str) -> Result<Option<u64>> {
        let found = self.gguf.metadata.unsigned_or_uniform(&format!("{}.{key}", self.prefix));
        found.map_err(|p| self.gguf.corrupt(p))
    }

    fn required(&self, key: &str) -> Result<u64> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.gguf.metadata.number(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    fn required_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    fn string(&self, key: &str) -> Result<Option<&str>> {
        self.gguf.metadata.string(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.gguf.metadata.bool(&format!("{}.{key}", self.prefix)).map_err(|p| self.gguf.corrupt(p))
    }

    fn missing(&self, key: &str) -> crate::Error {
        self.gguf.corrupt(format!("it lacks the metadata key `{}.{key}`", self.prefix))
    }
}
