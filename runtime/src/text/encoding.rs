//! A text, or a pair of texts, as a model for understanding takes it: ids with where each comes from.

use super::{TextError, Tokenizer};
use tokenizers::{Decoder, ModelWrapper, PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// The tokens of a text or of a pair of texts, special tokens among them. All lists have one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// `token_type_ids`: 1 for the second text of models that tell the two apart.
    pub type_ids: Vec<u32>,
    /// Whether a token was added around the texts.
    pub special: Vec<bool>,
    /// Begin and end in the text that the token is from, in characters (not bytes).
    pub offsets: Vec<(usize, usize)>,
    /// Which text a token is from, 0 or 1; `None` for those that were added.
    pub sequence_ids: Vec<Option<usize>>,
}

/// What gives way where texts are longer than a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    /// The end of the longer text, token by token.
    LongestFirst,
    /// The end of the first text.
    OnlyFirst,
    /// The end of the second text.
    OnlySecond,
}

impl From<tokenizers::Encoding> for Encoding {
    fn from(encoding: tokenizers::Encoding) -> Self {
        Encoding {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|&m| m == 1).collect(),
            offsets: encoding.get_offsets().to_vec(),
            sequence_ids: encoding.get_sequence_ids(),
        }
    }
}

impl Tokenizer {
    /// This tokenizer, cutting what is longer than `max_length` tokens (special ones included) in [`encode_pair`](Self::encode_pair).
    /// What was cut off comes as further pieces, each of which repeats the last `stride` tokens of the one before.
    ///
    /// # Errors
    /// Where special tokens and `stride` leave no room.
    pub fn truncated(&self, max_length: usize, stride: usize, strategy: Truncate) -> Result<Self, TextError> {
        let added = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if max_length <= added + stride {
            return Err(TextError::Truncation { max_length, stride, added });
        }
        let params = TruncationParams {
            direction: TruncationDirection::Right,
            max_length,
            strategy: match strategy {
                Truncate::LongestFirst => TruncationStrategy::LongestFirst,
                Truncate::OnlyFirst => TruncationStrategy::OnlyFirst,
                Truncate::OnlySecond => TruncationStrategy::OnlySecond,
            },
            stride,
        };
        let mut tokenizer = self.clone();
        let truncating = tokenizer.inner.with_truncation(Some(params)).map(|_| ());
        truncating.map_err(|_| TextError::Truncation { max_length, stride, added })?;
        Ok(tokenizer)
    }

    /// The tokens of a text, or of two, with the special tokens that the model expects: one piece, or several where
    /// [`truncated`](Self::truncated) cuts.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split, or cannot cut as it was told.
    pub fn encode_pair(&self, text: &str, pair: Option<&str>) -> Result<Vec<Encoding>, TextError> {
        let encoding = match pair {
            Some(pair) => self.inner.encode_char_offsets((text, pair), true),
            None => self.inner.encode_char_offsets(text, true),
        };
        let bytes = text.len() + pair.map_or(0, str::len);
        let mut first = encoding.map_err(|e| TextError::Encode { bytes, reason: e.to_string() })?;
        let rest = first.take_overflowing();
        Ok(std::iter::once(first).chain(rest).map(Encoding::from).collect())
    }

    /// Tokens as the vocabulary writes them, joined to a text.
    ///
    /// # Errors
    /// Tokens that the tokenizer cannot join.
    pub fn join(&self, tokens: &[String]) -> Result<String, TextError> {
        match self.inner.get_decoder() {
            Some(decoder) => decoder
                .decode(tokens.to_vec())
                .map_err(|e| TextError::Decode { tokens: tokens.len(), reason: e.to_string() }),
            None => Ok(tokens.join(" ")),
        }
    }

    /// Whether the vocabulary marks tokens that continue a word, as WordPiece does with `##`.
    pub fn marks_subwords(&self) -> bool {
        let prefix = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(&model.continuing_subword_prefix),
            ModelWrapper::BPE(model) => model.continuing_subword_prefix.as_ref(),
            _ => None,
        };
        prefix.is_some_and(|p| !p.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::sentencepiece;
    use super::*;

    #[test]
    fn offsets_are_characters_and_special_tokens_are_told_apart() {
        let tokenizer = sentencepiece();
        let encoding = tokenizer.encode_pair("éab", None).unwrap().remove(0);
        assert_eq!(encoding.special[..2], [true, false]);
        assert_eq!(encoding.sequence_ids[..2], [None, Some(0)]);
        let last = encoding.offsets.last().copied();
        assert_eq!(last, Some((1, 3)), "`ab` after one character of two bytes");
        let lengths = [encoding.ids.len(), encoding.type_ids.len(), encoding.special.len(), encoding.offsets.len()];
        assert_eq!(lengths, [encoding.sequence_ids.len(); 4]);
    }

    #[test]
    fn what_is_too_long_is_cut_into_pieces() {
        let tokenizer = sentencepiece();
        let whole = tokenizer.encode_pair("b b b b", None).unwrap();
        assert_eq!(whole.len(), 1);
        let cut = tokenizer.truncated(4, 1, Truncate::OnlyFirst).unwrap().encode_pair("b b b b", None).unwrap();
        assert!(cut.len() > 1 && cut.iter().all(|e| e.ids.len() <= 4 && e.special[0]), "{cut:?}");
        assert_eq!(cut[0].ids[..], whole[0].ids[..4]);
        assert_eq!(cut[1].ids[1], cut[0].ids[3], "one token is repeated");
        let error = tokenizer.truncated(1, 0, Truncate::OnlyFirst).unwrap_err().to_string();
        assert!(error.contains("1 token"), "{error}");
    }
}
