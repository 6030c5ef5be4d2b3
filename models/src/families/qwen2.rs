//! Qwen2: Llama with biases on the query, key and value projections, and in some checkpoints a window on the later layers.

use crate::auto::{TraceOptions, Traced};
use crate::config::{LlamaConfig, Qwen2Config};
use crate::families::llama::{self, Variations};
use crate::{Result, Task};
use kiln_frontend::ParamSource;
use serde_json::Value;

/// Traces `Qwen2ForCausalLM`; its entries are those of [`llama`].
///
/// # Errors
/// A config or options that make no sense, and parameters that do not fit the config.
pub fn trace(_: Task, config: &Value, source: &dyn ParamSource, options: &TraceOptions) -> Result<Traced> {
    let c = Qwen2Config::from_json(config)?;
    let windows = c.windowed_layers.iter().map(|windowed| c.sliding_window.filter(|_| *windowed)).collect();
    let variations = Variations { qkv_bias: true, o_bias: false, windows };
    let config = LlamaConfig {
        vocab_size: c.vocab_size,
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads,
        head_dim: c.head_dim,
        hidden_act: c.hidden_act,
        max_position_embeddings: c.max_position_embeddings,
        rms_norm_eps: c.rms_norm_eps,
        rope_parameters: c.rope_parameters,
        attention_bias: true,
        mlp_bias: false,
        tie_word_embeddings: c.tie_word_embeddings,
        bos_token_id: c.bos_token_id,
        eos_token_id: c.eos_token_id,
        pad_token_id: c.pad_token_id,
    };
    llama::trace_with(&config, &variations, source, options)
}
