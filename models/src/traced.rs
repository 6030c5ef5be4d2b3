//! What goes into tracing a model beside its config and parameters, and what comes out.

use crate::loss::Training;
use crate::{Error, Result};
use kiln_frontend::{DType, LoadOptions};
use serde_json::Value;

/// How a model is traced.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The type that it computes in.
    pub dtype: DType,
    /// The longest sequence; `None` for what the config says (`max_position_embeddings`).
    pub max_seq: Option<usize>,
    /// What [`ModelFiles`](crate::source::ModelFiles) has under that name. An encoder then gives a `sentence_embedding` for
    /// [`Task::Base`](crate::Task::Base).
    pub sentence_transformer: Option<Value>,
    /// For training: the parameters may change, and there is an entry [`loss`](crate::loss) beside `forward`, but none that generates.
    pub training: Option<Training>,
}

impl Default for TraceOptions {
    fn default() -> Self {
        TraceOptions { dtype: DType::F32, max_seq: None, sentence_transformer: None, training: None }
    }
}

impl TraceOptions {
    /// How a model's parameters are bound.
    pub fn parameters(&self) -> LoadOptions {
        LoadOptions { dtype: self.dtype, live: self.training.is_some() }
    }

    /// The longest sequence that may be asked for.
    pub const LARGEST_MAX_SEQ: usize = 1 << 28;

    /// The longest sequence, given the config's.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for 0 and for absurd numbers.
    pub fn max_seq_or(&self, max_position_embeddings: usize) -> Result<i64> {
        let max_seq = self.max_seq.unwrap_or(max_position_embeddings);
        Self::checked(max_seq, Self::LARGEST_MAX_SEQ, "")
    }

    /// The longest sequence of a model with learned positions: at most as many as there are.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for 0 and for more than `positions`.
    pub fn max_seq_within(&self, positions: usize) -> Result<i64> {
        let positions = positions.min(Self::LARGEST_MAX_SEQ);
        Self::checked(self.max_seq.unwrap_or(positions), positions, ", as many as the model has positions for")
    }

    fn checked(max_seq: usize, largest: usize, why: &str) -> Result<i64> {
        let fits = (1..=largest).contains(&max_seq);
        i64::try_from(max_seq).ok().filter(|_| fits).ok_or_else(|| Error::InvalidOption {
            option: "max_seq",
            expected: format!("a length from 1 to {largest}{why}"),
            found: max_seq.to_string(),
        })
    }
}

/// A traced model.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The program, verified.
    pub module: kiln_ir::Module,
    /// Tensors of the checkpoint that the model does not use: a sign, though no proof, of a wrong config.
    pub unused_tensors: Vec<String>,
    /// The longest sequence.
    pub max_seq: i64,
    /// How long a sequence may become on what the cache holds. One that grows beyond it is read anew, once, as a whole: the model's
    /// definition in transformers does so where a longer sequence changes what the cache should hold. None for most models.
    pub cache_limit: Option<usize>,
}
