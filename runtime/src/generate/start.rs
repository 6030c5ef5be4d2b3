//! What a search for the rows of an output begins with.

use super::processors::LogitsProcessor;
use super::stop::Endings;
use super::{Detokenizer, GenerationConfig};
use std::sync::Arc;

/// What a prompt brings along, checked.
pub(super) struct Start {
    pub ids: Vec<u32>,
    pub padding: usize,
    /// Most new tokens.
    pub limit: usize,
    /// How many tokens it is shorter than the longest of the batch.
    pub missing: usize,
    /// The token that stands for those.
    pub pad: u32,
    /// As [`History::source`](super::processors::History::source).
    pub source: Arc<[u32]>,
    /// Number of the stream of random numbers.
    pub stream: u64,
}

/// What a search needs of the request.
pub(super) struct Options<'a> {
    pub config: &'a GenerationConfig,
    pub seed: Option<u64>,
    pub processors: Vec<Box<dyn LogitsProcessor>>,
    pub endings: Endings,
    pub detokenizer: Option<&'a dyn Detokenizer>,
    pub skip_special_tokens: bool,
}
