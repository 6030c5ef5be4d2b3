//! The config of BERT and of those that are like it.

use crate::Result;
use crate::config::{self, Fields};
use serde_json::Value;

/// `model_type: bert`, `roberta`, `xlm-roberta` or `electra`, with transformers' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Elements of an embedding: `hidden_size`, except in ELECTRA.
    pub embedding_size: usize,
    /// Elements of a hidden state.
    pub hidden_size: usize,
    /// Elements between the projections of the feed-forward block.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The activation of the feed-forward block.
    pub hidden_act: config::Activation,
    /// Rows of the position embedding.
    pub max_position_embeddings: usize,
    /// Rows of the token type embedding.
    pub type_vocab_size: usize,
    /// What LayerNorm adds under the root.
    pub layer_norm_eps: f64,
    /// The token that pads a batch; RoBERTa counts positions from it, and from 0 without one.
    pub pad_token_id: Option<u32>,
    /// Whether the word embedding is also the output projection of the masked language model.
    pub tie_word_embeddings: bool,
    /// Classes of a classifier.
    pub num_labels: usize,
}

impl BertConfig {
    /// Reads a `config.json` of BERT.
    ///
    /// # Errors
    /// [`Error::MissingField`](crate::Error::MissingField), [`Error::InvalidField`](crate::Error::InvalidField) and
    /// [`Error::ContradictoryFields`](crate::Error::ContradictoryFields) name what is wrong.
    pub fn from_json(config: &Value) -> Result<BertConfig> {
        read(&Fields::of("bert", config)?, 0)
    }

    /// Reads a `config.json` of RoBERTa.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn roberta(config: &Value) -> Result<BertConfig> {
        let fields = Fields::of("roberta", config)?;
        let read = read(&fields, 1)?;
        let first = read.first_position();
        if read.max_position_embeddings <= first {
            return Err(fields.contradictory(format!(
                "max_position_embeddings is {}, but positions are counted from pad_token_id + 1 = {first}",
                read.max_position_embeddings
            )));
        }
        Ok(read)
    }

    /// Reads a `config.json` of ELECTRA.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn electra(config: &Value) -> Result<BertConfig> {
        let fields = Fields::of("electra", config)?;
        let embedding_size = fields.size("embedding_size", 1 << 20)?.unwrap_or(128);
        Ok(BertConfig { embedding_size, ..read(&fields, 0)? })
    }

    /// The position of RoBERTa's first token: the rows of the position embedding up to the padding's own are not used.
    pub fn first_position(&self) -> usize {
        self.pad_token_id.map_or(0, |id| id as usize + 1)
    }
}

fn read(fields: &Fields, default_pad: u32) -> Result<BertConfig> {
    if fields.bool("is_decoder", false)? {
        return Err(fields.invalid("is_decoder", "false, since only encoders are supported", &Value::Bool(true)));
    }
    if let Some(other) = fields.string("position_embedding_type")?.filter(|t| *t != "absolute") {
        return Err(fields.invalid("position_embedding_type", "absolute", &other.into()));
    }
    let hidden_size = fields.required_size("hidden_size", 1 << 20)?;
    let vocab_size = fields.required_size("vocab_size", 1 << 24)?;
    let pad_token_id = match fields.get("pad_token_id") {
        Some(_) => fields.token_id("pad_token_id", vocab_size)?,
        None => (!fields.is_null("pad_token_id")).then_some(default_pad),
    };
    Ok(BertConfig {
        vocab_size,
        embedding_size: hidden_size,
        hidden_size,
        intermediate_size: fields.required_size("intermediate_size", 1 << 22)?,
        num_hidden_layers: fields.required_size("num_hidden_layers", 10_000)?,
        num_attention_heads: fields.heads("num_attention_heads", "hidden_size", hidden_size)?,
        hidden_act: config::Activation::read(fields, "hidden_act", config::Activation::Gelu)?,
        max_position_embeddings: fields.size("max_position_embeddings", 1 << 28)?.unwrap_or(512),
        type_vocab_size: fields.size("type_vocab_size", 1 << 24)?.unwrap_or(2),
        layer_norm_eps: fields.number("layer_norm_eps", 0.0..=1.0)?.unwrap_or(1e-12),
        pad_token_id,
        tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
        num_labels: fields.num_labels()?,
    })
}
