//! What the configs of decoders have in common.

use super::Activation;
use super::fields::Fields;
use crate::Result;

/// The fields that Llama and most decoders after it share, under transformers' names.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
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
    /// Elements of a head; even.
    pub head_dim: usize,
    /// The activation of the feed-forward block.
    pub hidden_act: Activation,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// What RMSNorm adds under the root.
    pub rms_norm_eps: f64,
    /// Whether the embedding is also the output projection, and there is no `lm_head.weight`.
    pub tie_word_embeddings: bool,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end one; the vocabulary need not have them.
    pub eos_token_id: Vec<u32>,
    /// The token that pads a batch.
    pub pad_token_id: Option<u32>,
}

/// What transformers takes where a config leaves a field out.
#[derive(Clone, Debug)]
pub struct DecoderDefaults {
    /// The longest sequence.
    pub max_position_embeddings: usize,
    /// `None` for `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// The name of the field, and its default.
    pub activation: (&'static str, Activation),
    /// What RMSNorm adds under the root.
    pub rms_norm_eps: f64,
    /// Whether the embedding is also the output projection.
    pub tie_word_embeddings: bool,
    /// The token that starts a text, if the vocabulary has it; so for the next two.
    pub bos_token_id: Option<u32>,
    /// The token that ends one.
    pub eos_token_id: Option<u32>,
    /// The token that pads a batch.
    pub pad_token_id: Option<u32>,
}

impl DecoderDefaults {
    /// Those of Llama.
    pub const LLAMA: DecoderDefaults = DecoderDefaults {
        max_position_embeddings: 2048,
        head_dim: None,
        activation: ("hidden_act", Activation::Silu),
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        pad_token_id: None,
    };
}

impl DecoderConfig {
    /// Reads the fields of a config.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn read(fields: &Fields, defaults: &DecoderDefaults) -> Result<DecoderConfig> {
        let vocab_size = fields.required_size("vocab_size", 1 << 24)?;
        let hidden_size = fields.required_size("hidden_size", 1 << 20)?;
        let num_attention_heads = fields.required_size("num_attention_heads", 1 << 16)?;
        let num_key_value_heads = fields.size("num_key_value_heads", 1 << 16)?.unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            return Err(fields.contradictory(format!(
                "num_attention_heads {num_attention_heads} is no multiple of num_key_value_heads {num_key_value_heads}; \
                 each key/value head serves the same number of query heads"
            )));
        }
        let head_dim = match fields.size("head_dim", 1 << 16)?.or(defaults.head_dim) {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_attention_heads) => hidden_size / num_attention_heads,
            None => {
                return Err(fields.contradictory(format!(
                    "hidden_size {hidden_size} is no multiple of num_attention_heads {num_attention_heads}, and there is \
                     no head_dim to say how large a head is"
                )));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(fields.contradictory(format!(
                "head_dim is {head_dim} (given, or hidden_size / num_attention_heads), but rotary embedding turns pairs and \
                 needs an even one"
            )));
        }
        let (activation, default_activation) = defaults.activation;
        // A default token counts as far as the vocabulary has it.
        let default_id = |name: &str, id: Option<u32>| {
            id.filter(|id| fields.get(name).is_none() && !fields.is_null(name) && (*id as usize) < vocab_size)
        };
        // Some write it as a list.
        let bos_token_id = fields.token_ids("bos_token_id")?.first().copied();
        let pad_token_id = fields.token_id("pad_token_id", vocab_size)?;
        let mut eos_token_id = fields.token_ids("eos_token_id")?;
        eos_token_id.extend(default_id("eos_token_id", defaults.eos_token_id));
        let max_position_embeddings = fields.size("max_position_embeddings", 1 << 28)?;
        Ok(DecoderConfig {
            vocab_size,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", 1 << 22)?,
            num_hidden_layers: fields.required_size("num_hidden_layers", 10_000)?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            hidden_act: Activation::read(fields, activation, default_activation)?,
            max_position_embeddings: max_position_embeddings.unwrap_or(defaults.max_position_embeddings),
            rms_norm_eps: fields.number("rms_norm_eps", 0.0..=1.0)?.unwrap_or(defaults.rms_norm_eps),
            tie_word_embeddings: fields.bool("tie_word_embeddings", defaults.tie_word_embeddings)?,
            bos_token_id: bos_token_id.or_else(|| default_id("bos_token_id", defaults.bos_token_id)),
            eos_token_id,
            pad_token_id: pad_token_id.or_else(|| default_id("pad_token_id", defaults.pad_token_id)),
        })
    }
}
