//! Gemma 3, the text model: Gemma 2 with norms over each head's query and key instead of capped scores, five layers with a window for
//! each that sees everything, and a rotary embedding for each of the two kinds of layers.

use super::causal_lm;
use super::gemma2::GemmaConfig;
use super::layers::{SelfAttention, rotary_embedding};
use crate::config::{self, Fields, RopeConfig, THETA};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use serde_json::Value;

/// `model_type: gemma3_text`, with transformers' defaults.
///
/// transformers reads `attn_logit_softcapping` here, but does not apply it; neither does kiln.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemma3TextConfig {
    /// What all Gemmas share.
    pub gemma: GemmaConfig,
    /// Rotary embedding of the layers that see everything.
    pub global_rope: RopeConfig,
    /// Rotary embedding of the layers with a window.
    pub local_rope: RopeConfig,
    /// For each layer how far back it sees; `None` for everything.
    pub windows: Vec<Option<usize>>,
}

impl Gemma3TextConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Gemma3TextConfig> {
        let fields = Fields::of("gemma3_text", config)?;
        let gemma = GemmaConfig::read(&fields, 131_072, None)?;
        let d = &gemma.decoder;
        let theta = |name, default| -> Result<f64> { Ok(fields.number(name, THETA)?.unwrap_or(default)) };
        let global_theta = theta("rope_theta", 1_000_000.0)?;
        let local_theta = theta("rope_local_base_freq", 10_000.0)?;
        let scaling = fields.object("rope_scaling")?;
        let window = fields.or_default("sliding_window", fields.window("sliding_window")?, 4096);
        let pattern = fields.size("sliding_window_pattern", 10_000)?.unwrap_or(6);
        let by_default = |layer: usize| !(layer + 1).is_multiple_of(pattern);
        Ok(Gemma3TextConfig {
            global_rope: RopeConfig::read_for_layers(&fields, "full_attention", scaling, d, global_theta)?,
            local_rope: RopeConfig::read_for_layers(&fields, "sliding_attention", None, d, local_theta)?,
            windows: config::windows(&fields, d.num_hidden_layers, window, by_default)?,
            gemma,
        })
    }
}

/// The places of the two rotary embeddings among those of the model.
const GLOBAL: usize = 0;
const LOCAL: usize = 1;

/// Traces `Gemma3ForCausalLM` or `Gemma3TextModel`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Gemma3TextConfig::from_json(config)?;
    let d = &c.gemma.decoder;
    let attention = |window: &Option<usize>| SelfAttention {
        q_norm: Some(c.gemma.norm(d.head_dim)),
        k_norm: Some(c.gemma.norm(d.head_dim)),
        rotation: Some(if window.is_some() { LOCAL } else { GLOBAL }),
        ..c.gemma.attention(*window)
    };
    let rotary_embs = [&c.global_rope, &c.local_rope].map(|rope| rotary_embedding(rope, d.head_dim));
    let model = c.gemma.model(rotary_embs.into(), c.windows.iter().map(attention));
    causal_lm::trace(task, model, &d.into(), source, options)
}
