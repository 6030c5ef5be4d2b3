//! Where the tokens of a call stand, and how long the sequences are that they belong to.

use crate::{Context, Tensor, dims};
use kiln_ir::{DType, Dim, ValueRange};
use std::cell::OnceCell;

/// Positions of tokens in their sequences.
#[derive(Clone, Debug)]
pub struct Positions {
    ids: Tensor,
    /// Where the call brings a part of each sequence: what makes the input with their lengths.
    input: Option<(Context, Dim, ValueRange)>,
    /// Made when it is first asked for, so that an entry has the input only if something depends on it.
    lengths: OnceCell<Tensor>,
}

impl Positions {
    /// Of a call that brings whole sequences: i64 `[batch, s]`.
    pub fn whole(ids: &Tensor) -> Positions {
        Positions { ids: ids.clone(), input: None, lengths: OnceCell::new() }
    }

    /// Of a call that brings a part of each of `batch` sequences: i64 `[batch, s]`. Their whole lengths are the entry's input `lengths`,
    /// i64 `[batch]` and in the range `lengths`, which the entry has only where something [asks for them](Self::lengths).
    pub fn part(cx: &Context, ids: &Tensor, batch: &Dim, lengths: ValueRange) -> Positions {
        Positions { ids: ids.clone(), input: Some((cx.clone(), batch.clone(), lengths)), lengths: OnceCell::new() }
    }

    /// The positions, i64 `[batch, s]`.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// The number of tokens of each sequence, i64 `[batch, 1]`; of whole sequences that of the longest for all of them, `[1, 1]`: the
    /// largest position plus one, as transformers' forward has it.
    #[track_caller]
    pub fn lengths(&self) -> Tensor {
        let made = self.lengths.get_or_init(|| match &self.input {
            Some((cx, batch, range)) => {
                cx.input_within("lengths", DType::I64, dims![batch], range.clone()).unsqueeze(-1)
            }
            None => (self.ids.flatten(0, -1).max(0) + 1).unsqueeze(-1).unsqueeze(-1),
        });
        made.clone()
    }
}
