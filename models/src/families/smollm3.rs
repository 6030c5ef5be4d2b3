//! SmolLM3: Llama in which every fourth layer turns nothing, so that it sees contents without positions.

use super::causal_lm;
use super::layers::{DecoderModel, SelfAttention, rotary_embedding};
use super::llama::LlamaLayer;
use crate::config::{self, DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use serde_json::Value;

/// `model_type: smollm3`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct SmolLm3Config {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// For each layer whether it has rotary embedding (`no_rope_layers` has a 1 where it has).
    pub rope_layers: Vec<bool>,
    /// For each layer how far back it sees; `None` for everything.
    pub windows: Vec<Option<usize>>,
    /// Whether q, k, v and o projections have a bias.
    pub attention_bias: bool,
    /// Whether gate, up and down projections have a bias.
    pub mlp_bias: bool,
}

impl SmolLm3Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<SmolLm3Config> {
        let fields = Fields::of("smollm3", config)?;
        let defaults = DecoderDefaults {
            max_position_embeddings: 32_768,
            tie_word_embeddings: true,
            bos_token_id: Some(128_000),
            eos_token_id: Some(128_001),
            pad_token_id: Some(128_004),
            ..DecoderDefaults::LLAMA
        };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        let rope_layers = rope_layers(&fields, decoder.num_hidden_layers)?;
        let window = match fields.bool("use_sliding_window", false)? {
            true => fields.window("sliding_window")?,
            false => None,
        };
        Ok(SmolLm3Config {
            rope_parameters: RopeConfig::read(&fields, &decoder, 2_000_000.0)?,
            windows: config::windows(&fields, decoder.num_hidden_layers, window, |layer| !rope_layers[layer])?,
            rope_layers,
            attention_bias: fields.bool("attention_bias", false)?,
            mlp_bias: fields.bool("mlp_bias", false)?,
            decoder,
        })
    }
}

/// `no_rope_layers`, else all layers but each `no_rope_layer_interval`th.
fn rope_layers(fields: &Fields, layers: usize) -> Result<Vec<bool>> {
    let Some(list) = fields.get("no_rope_layers") else {
        let interval = fields.size("no_rope_layer_interval", 10_000)?.unwrap_or(4);
        return Ok((1..=layers).map(|number| !number.is_multiple_of(interval)).collect());
    };
    let flags = list.as_array().and_then(|all| {
        let flag = |v: &Value| v.as_f64().filter(|n| [0.0, 1.0].contains(n)).map(|n| n == 1.0);
        all.iter().map(flag).collect::<Option<Vec<bool>>>().filter(|all| all.len() >= layers)
    });
    let expected = format!("a list of 0 (no rotary embedding) and 1, one for each of the {layers} layers");
    let mut flags = flags.ok_or_else(|| fields.invalid("no_rope_layers", &expected, list))?;
    flags.truncate(layers);
    Ok(flags)
}

/// Traces `SmolLM3ForCausalLM` or `SmolLM3Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = SmolLm3Config::from_json(config)?;
    let d = &c.decoder;
    let layer = |(turned, window): (&bool, &Option<usize>)| {
        let attention = SelfAttention {
            rotation: turned.then_some(0),
            ..SelfAttention::new(d, c.attention_bias, c.attention_bias, *window)
        };
        LlamaLayer::new(d, attention, c.mlp_bias)
    };
    let layers = c.rope_layers.iter().zip(&c.windows).map(layer).collect();
    let model = DecoderModel::new(d, vec![rotary_embedding(&c.rope_parameters, d.head_dim)], layers);
    causal_lm::trace(task, model, &d.into(), source, options)
}
