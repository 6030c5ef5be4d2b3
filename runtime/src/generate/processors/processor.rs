//! What a processor is, and what it is shown of a row.

use std::borrow::Cow;

/// The tokens of one row, the newest last.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Every token, left padding that came with the prompt included.
    pub ids: &'a [u32],
    /// How many of the first ids are padding.
    pub padding: usize,
    /// How many of the first ids are the prompt, padding included.
    pub prompt_len: usize,
    /// How many tokens the row has at most, prompt and padding included.
    pub max_len: usize,
    /// How many tokens the prompt is shorter than the longest of its batch. transformers pads it by these; here they are not among
    /// the ids.
    pub missing: usize,
    /// The token that transformers pads it with.
    pub pad: u32,
    /// What the row is made from, padded to the longest of its batch: the text that an encoder takes, or a decoder's own prompt.
    pub source: &'a [u32],
}

impl<'a> History<'a> {
    /// The new tokens.
    pub fn new_ids(&self) -> &'a [u32] {
        self.ids.get(self.prompt_len..).unwrap_or_default()
    }

    /// The ids after the padding that is not among them, of which `most` tokens do.
    pub fn padded_ids(&self, most: usize) -> Cow<'a, [u32]> {
        match self.missing.min(most) {
            0 => Cow::Borrowed(self.ids),
            padding => std::iter::repeat_n(self.pad, padding).chain(self.ids.iter().copied()).collect(),
        }
    }

    /// The row's length as transformers counts it, with all padding.
    pub fn padded_len(&self) -> usize {
        self.ids.len() + self.missing
    }
}

/// Edits the logits of one row.
pub trait LogitsProcessor: Send {
    /// What errors call it: the option that asks for it.
    fn name(&self) -> &'static str {
        "a logits processor of the caller's"
    }

    /// Edits `logits` (`[vocab]`), which score the token that follows `history`.
    fn process(&mut self, history: History<'_>, logits: &mut [f32]);
}
