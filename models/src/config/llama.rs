//! The config of `LlamaForCausalLM`.

use super::fields::Fields;
use super::{Activation, Decoder, RopeConfig};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `model_type: llama`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct LlamaConfig {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Elements of a hidden state.
    pub hidden_size: usize,
    /// Elements between the projections of the feed-forward block.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Elements of a head; even. `hidden_size / num_attention_heads` unless the config says otherwise.
    pub head_dim: usize,
    /// The activation of the feed-forward block.
    pub hidden_act: Activation,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// What RMSNorm adds under the root.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Whether gate, up and down projections have a bias.
    pub mlp_bias: bool,
    /// Whether the embedding is also the output projection, and there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end one.
    pub eos_token_id: Vec<u32>,
    /// The token that pads a batch.
    pub pad_token_id: Option<u32>,
}

impl LlamaConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::InvalidField`] and [`Error::ContradictoryFields`] name what is wrong.
    pub fn from_json(config: &Value) -> Result<LlamaConfig> {
        let fields = Fields::of("llama", config)?;
        let sizes = Decoder::read(&fields, 2048)?;
        let vocab = sizes.vocab_size;
        // LlamaConfig's own defaults, for a config that leaves the ids out, as far as the vocabulary has them.
        let default_id = |name: &str, id: u32| (!fields.is_null(name) && (id as usize) < vocab).then_some(id);
        let eos = fields.token_ids("eos_token_id", vocab)?;
        Ok(LlamaConfig {
            hidden_act: Activation::read(&fields, "hidden_act", Activation::Silu)?,
            rope_parameters: RopeConfig::read(&fields, sizes.head_dim, sizes.max_position_embeddings)?,
            attention_bias: fields.bool("attention_bias", false)?,
            mlp_bias: fields.bool("mlp_bias", false)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", false)?,
            bos_token_id: fields.token_id("bos_token_id", vocab)?.or_else(|| default_id("bos_token_id", 1)),
            eos_token_id: if fields.get("eos_token_id").is_some() {
                eos
            } else {
                default_id("eos_token_id", 2).into_iter().collect()
            },
            pad_token_id: fields.token_id("pad_token_id", vocab)?,
            vocab_size: sizes.vocab_size,
            hidden_size: sizes.hidden_size,
            intermediate_size: sizes.intermediate_size,
            num_hidden_layers: sizes.num_hidden_layers,
            num_attention_heads: sizes.num_attention_heads,
            num_key_value_heads: sizes.num_key_value_heads,
            head_dim: sizes.head_dim,
            max_position_embeddings: sizes.max_position_embeddings,
            rms_norm_eps: sizes.rms_norm_eps,
        })
    }
}

impl TryFrom<Value> for LlamaConfig {
    type Error = Error;
    fn try_from(config: Value) -> Result<LlamaConfig> {
        LlamaConfig::from_json(&config)
    }
}
