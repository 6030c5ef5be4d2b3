//! The text of a row while it grows.

use super::error::GenerateError;
use super::stop::StopStrings;
use super::{Detokenizer, TextStream};

/// What a row's tokens say.
pub(super) struct RowText<'a> {
    pub text: String,
    stream: Box<dyn TextStream + 'a>,
    stop: Option<StopSearch<'a>>,
}

impl<'a> RowText<'a> {
    /// The text after `prompt`, whose end a stop string may begin in.
    pub fn new(
        detokenizer: &'a dyn Detokenizer,
        skip_special_tokens: bool,
        stop_strings: &[String],
        prompt: &[u32],
        row: usize,
    ) -> Result<Self, GenerateError> {
        let stop = match stop_strings {
            [] => None,
            strings => Some(StopSearch::after(detokenizer, strings, prompt, row)?),
        };
        Ok(RowText { text: String::new(), stream: detokenizer.text_stream(skip_special_tokens), stop })
    }

    /// Appends to `piece` what `id` completes; true where a stop string does.
    pub fn push(&mut self, row: usize, id: u32, piece: &mut String) -> Result<bool, GenerateError> {
        self.stream.push(id, piece).map_err(|source| GenerateError::Text { row, id, source })?;
        self.stop.as_mut().map_or(Ok(false), |stop| stop.push(row, id))
    }

    /// Appends to `piece` what was held back; `id` was the last token.
    pub fn finish(&mut self, row: usize, id: u32, piece: &mut String) -> Result<(), GenerateError> {
        self.stream.finish(piece).map_err(|source| GenerateError::Text { row, id, source })
    }
}

/// Looks for stop strings in what tokens say, special ones included.
pub(super) struct StopSearch<'a> {
    stream: Box<dyn TextStream + 'a>,
    stops: StopStrings,
    /// Space for a piece of text.
    piece: String,
}

impl<'a> StopSearch<'a> {
    /// The search after `ids`, in whose end a stop string may begin.
    pub fn after(
        detokenizer: &'a dyn Detokenizer,
        strings: &[String],
        ids: &[u32],
        row: usize,
    ) -> Result<Self, GenerateError> {
        let stops = StopStrings::new(strings);
        // A token is a byte of text or more, but for a few that are none: twice as many tokens hold enough of it.
        let tail = &ids[ids.len().saturating_sub(2 * stops.context())..];
        let mut search = StopSearch { stream: detokenizer.text_stream(false), stops, piece: String::new() };
        for &id in tail {
            search.push(row, id)?;
        }
        Ok(search)
    }

    /// Takes a token; true where a stop string ends in its text.
    pub fn push(&mut self, row: usize, id: u32) -> Result<bool, GenerateError> {
        self.piece.clear();
        self.stream.push(id, &mut self.piece).map_err(|source| GenerateError::Text { row, id, source })?;
        Ok(self.stops.push(&self.piece))
    }
}
