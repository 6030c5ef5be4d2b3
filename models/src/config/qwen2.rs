//! The config of `Qwen2ForCausalLM`.

use super::fields::Fields;
use super::{Activation, Decoder, RopeConfig};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `model_type: qwen2`, with transformers' defaults. Query, key and value projections always have a bias, others never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Qwen2Config {
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
    /// How far back a layer with a window sees; `None` when `use_sliding_window` is off.
    pub sliding_window: Option<usize>,
    /// Per layer, whether it has that window (`layer_types`, else all layers from `max_window_layers` on).
    pub windowed_layers: Vec<bool>,
    /// Whether the embedding is also the output projection, and there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end one.
    pub eos_token_id: Vec<u32>,
    /// The token that pads a batch.
    pub pad_token_id: Option<u32>,
}

impl Qwen2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`], [`Error::InvalidField`] and [`Error::ContradictoryFields`] name what is wrong.
    pub fn from_json(config: &Value) -> Result<Qwen2Config> {
        let fields = Fields::of("qwen2", config)?;
        let sizes = Decoder::read(&fields, 32_768)?;
        let vocab = sizes.vocab_size;
        let sliding_window = match fields.bool("use_sliding_window", false)? {
            false => None,
            true if fields.is_null("sliding_window") => None,
            true => Some(fields.size("sliding_window", 1 << 28)?.unwrap_or(4096)),
        };
        Ok(Qwen2Config {
            hidden_act: Activation::read(&fields, "hidden_act", Activation::Silu)?,
            rope_parameters: RopeConfig::read(&fields, sizes.head_dim, sizes.max_position_embeddings)?,
            sliding_window,
            windowed_layers: windowed_layers(&fields, sizes.num_hidden_layers, sliding_window)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", false)?,
            bos_token_id: fields.token_id("bos_token_id", vocab)?,
            eos_token_id: fields.token_ids("eos_token_id", vocab)?,
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

fn windowed_layers(fields: &Fields, layers: usize, window: Option<usize>) -> Result<Vec<bool>> {
    let Some(types) = fields.get("layer_types") else {
        let first = match fields.get("max_window_layers") {
            Some(zero) if zero.as_u64() == Some(0) => 0,
            _ => fields.size("max_window_layers", 10_000)?.unwrap_or(28),
        };
        return Ok((0..layers).map(|layer| window.is_some() && layer >= first).collect());
    };
    let windowed = types.as_array().and_then(|all| {
        all.iter()
            .map(|layer| match layer.as_str() {
                Some("full_attention") => Some(false),
                Some("sliding_attention") => Some(true),
                _ => None,
            })
            .collect::<Option<Vec<bool>>>()
    });
    let expected = "a list of \"full_attention\" and \"sliding_attention\"";
    let windowed = windowed.ok_or_else(|| fields.invalid("layer_types", expected, types))?;
    if windowed.len() != layers {
        return Err(fields.contradictory(format!(
            "layer_types has {} entries, but num_hidden_layers is {layers}; expected one for each layer",
            windowed.len()
        )));
    }
    if window.is_none() && windowed.contains(&true) {
        return Err(fields.contradictory(
            "layer_types has \"sliding_attention\", but there is no window (use_sliding_window is false or sliding_window null)"
                .to_string(),
        ));
    }
    Ok(windowed)
}

impl TryFrom<Value> for Qwen2Config {
    type Error = Error;
    fn try_from(config: Value) -> Result<Qwen2Config> {
        Qwen2Config::from_json(&config)
    }
}
