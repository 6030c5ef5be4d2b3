//! Qwen2: Llama with biases on the query, key and value projections, and in some checkpoints a window on the later layers.

use super::causal_lm;
use super::layers::{DecoderModel, SelfAttention, rotary_embedding};
use super::llama::LlamaLayer;
use crate::config::{self, DecoderConfig, DecoderDefaults, Fields, RopeConfig};
use crate::traced::{TraceOptions, Traced};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use serde_json::Value;

/// `model_type: qwen2`, with transformers' defaults. Query, key and value projections always have a bias, others never.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen2Config {
    /// What decoders share.
    pub decoder: DecoderConfig,
    /// Rotary embedding.
    pub rope_parameters: RopeConfig,
    /// For each layer how far back it sees; `None` for everything.
    pub windows: Vec<Option<usize>>,
}

impl Qwen2Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<Qwen2Config> {
        let fields = Fields::of("qwen2", config)?;
        let defaults = DecoderDefaults {
            max_position_embeddings: 32_768,
            bos_token_id: None,
            eos_token_id: None,
            ..DecoderDefaults::LLAMA
        };
        let decoder = DecoderConfig::read(&fields, &defaults)?;
        Ok(Qwen2Config {
            rope_parameters: RopeConfig::read(&fields, &decoder, 10_000.0)?,
            windows: config::later_layers(&fields, decoder.num_hidden_layers)?,
            decoder,
        })
    }
}

/// Traces `Qwen2ForCausalLM` or `Qwen2Model`; [`causal_lm`] says what comes out.
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(task: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Qwen2Config::from_json(config)?;
    let d = &c.decoder;
    let layer = |window: &Option<usize>| LlamaLayer::new(d, SelfAttention::new(d, true, false, *window), false);
    let model = DecoderModel::new(
        d,
        vec![rotary_embedding(&c.rope_parameters, d.head_dim)],
        c.windows.iter().map(layer).collect(),
    );
    causal_lm::trace(task, model, &d.into(), source, options)
}
