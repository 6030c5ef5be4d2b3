//! What the kinds of tokenizers read, and what they give.

use super::vocabulary::Vocabulary;
use crate::gguf::Gguf;
use crate::tokenizer::template::Token;
use serde_json::Value;
use std::collections::BTreeMap;

/// The parts of a `tokenizer.json` that depend on the tokenizer's kind.
pub(super) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) post_processor: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
    /// Whether a text begins with bos, and ends with eos.
    pub(super) adds: (bool, bool),
}

/// What all kinds read.
pub(super) struct Source<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) vocabulary: Vocabulary<'a>,
    /// The special tokens under transformers' names (`bos`, `eos`, …).
    pub(super) named: BTreeMap<&'static str, Token<'a>>,
}
