//! Texts, or pairs of texts, as a model for understanding takes them: ids with where each comes from.

use super::{EncodeOptions, Padding, Side, TextError, Tokenizer, Truncation};
use tokenizers::{
    Decoder, ModelWrapper, PaddingDirection, PaddingParams, PaddingStrategy, PostProcessor, TruncationDirection,
    TruncationParams, TruncationStrategy, pad_encodings, truncate_encodings,
};

/// The tokens of a text or of a pair of texts, special tokens and padding among them. All lists have one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// `token_type_ids`: 1 for the second text of models that tell the two apart.
    pub type_ids: Vec<u32>,
    /// 1 for tokens, 0 for padding.
    pub attention_mask: Vec<u32>,
    /// Whether a token was added around the texts, or is padding.
    pub special: Vec<bool>,
    /// Begin and end in the text that the token is from, in characters (not bytes).
    pub offsets: Vec<(usize, usize)>,
    /// Which text a token is from, 0 or 1; `None` for those that were added.
    pub sequence_ids: Vec<Option<usize>>,
    /// Which word of its text a token is from; `None` for those that were added.
    pub word_ids: Vec<Option<u32>>,
    /// Which input of the batch it is of: several are of one input that came in pieces.
    pub input: usize,
}

impl Encoding {
    fn new(encoding: &tokenizers::Encoding, input: usize) -> Self {
        Encoding {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
            attention_mask: encoding.get_attention_mask().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|&m| m == 1).collect(),
            offsets: encoding.get_offsets().to_vec(),
            sequence_ids: encoding.get_sequence_ids(),
            word_ids: encoding.get_word_ids().to_vec(),
            input,
        }
    }
}

impl Tokenizer {
    /// The tokens of texts, or of pairs of texts: one piece for each, or with
    /// [`return_overflowing_tokens`](EncodeOptions::return_overflowing_tokens) as many as it takes.
    ///
    /// # Errors
    /// A text that the tokenizer cannot split, or cannot cut as it is told; padding without a token for it.
    pub fn encode_batch(
        &self,
        texts: &[(&str, Option<&str>)],
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>, TextError> {
        let mut encodings = vec![];
        for (text, pair) in texts {
            let split = |text: &str| self.inner.encode_char_offsets(text, false).map_err(failed(text.len()));
            encodings.push(self.encode_split(split(text)?, pair.map(split).transpose()?, options)?);
        }
        self.pieces(encodings, options)
    }

    /// As [`encode_batch`](Self::encode_batch), of texts that come as words (transformers' `is_split_into_words`): word ids count them, and
    /// offsets are in the word.
    ///
    /// # Errors
    /// The same.
    pub fn encode_words(&self, texts: &[Vec<String>], options: &EncodeOptions) -> Result<Vec<Encoding>, TextError> {
        let mut encodings = vec![];
        for words in texts {
            let bytes = words.iter().map(String::len).sum();
            let split = self.inner.encode_char_offsets(words.clone(), false).map_err(failed(bytes))?;
            encodings.push(self.encode_split(split, None, options)?);
        }
        self.pieces(encodings, options)
    }

    /// Encodings as rows of a batch.
    fn pieces(
        &self,
        mut encodings: Vec<tokenizers::Encoding>,
        options: &EncodeOptions,
    ) -> Result<Vec<Encoding>, TextError> {
        self.pad(&mut encodings, options)?;
        let mut pieces = vec![];
        for (input, mut encoding) in encodings.into_iter().enumerate() {
            let rest = encoding.take_overflowing();
            pieces.push(Encoding::new(&encoding, input));
            if options.return_overflowing_tokens {
                pieces.extend(rest.iter().map(|piece| Encoding::new(piece, input)));
            }
        }
        Ok(pieces)
    }

    /// One or two texts that are split into tokens, cut and with special tokens.
    fn encode_split(
        &self,
        mut first: tokenizers::Encoding,
        mut second: Option<tokenizers::Encoding>,
        options: &EncodeOptions,
    ) -> Result<tokenizers::Encoding, TextError> {
        if let Some(second) = &mut second {
            // The post-processor's template says otherwise where it has to; not of further pieces, though, as in transformers.
            second.set_type_ids(vec![1; second.len()]);
        }
        if let Some(mut params) = self.truncation(options)? {
            let (max_length, stride) = (params.max_length, params.stride);
            let processor = self.post_processor.as_ref().filter(|_| options.add_special_tokens);
            let added = processor.map_or(0, |p| p.added_tokens(second.is_some()));
            params.max_length = max_length.saturating_sub(added);
            let (tokens, others) = (first.len(), second.as_ref().map(tokenizers::Encoding::len));
            let left = room(params.strategy, params.max_length, tokens, others);
            let too_long = tokens + others.unwrap_or(0) > params.max_length;
            let pieces = too_long && options.return_overflowing_tokens;
            if params.max_length == 0 || (pieces && left <= stride) {
                let taken = max_length.saturating_sub(left);
                return Err(TextError::Truncation { max_length, stride, taken });
            }
            let cut = truncate_encodings(first, second, &params);
            (first, second) = cut.map_err(|e| TextError::TooShort { max_length, reason: e.to_string() })?;
        }
        let tokens = first.len();
        self.post_process(first, second, options.add_special_tokens).map_err(failed(tokens))
    }

    /// The tokens of one or two texts as one, with special tokens.
    pub(super) fn post_process(
        &self,
        first: tokenizers::Encoding,
        second: Option<tokenizers::Encoding>,
        add_special_tokens: bool,
    ) -> tokenizers::Result<tokenizers::Encoding> {
        if let Some(processor) = &self.post_processor {
            return processor.process(first, second, add_special_tokens);
        }
        let both = std::iter::once(first).chain(second).collect();
        let whole = <dyn PostProcessor>::default_process(both, add_special_tokens)?;
        Ok(tokenizers::Encoding::merge(whole, false))
    }

    /// How to cut, if at all.
    fn truncation(&self, options: &EncodeOptions) -> Result<Option<TruncationParams>, TextError> {
        let asked = options.truncation.or_else(|| {
            let short = options.max_length.is_some() && options.padding == Padding::DoNotPad;
            short.then_some(Truncation::LongestFirst)
        });
        let strategy = match asked {
            None | Some(Truncation::DoNotTruncate) => return Ok(None),
            Some(Truncation::LongestFirst) => TruncationStrategy::LongestFirst,
            Some(Truncation::OnlyFirst) => TruncationStrategy::OnlyFirst,
            Some(Truncation::OnlySecond) => TruncationStrategy::OnlySecond,
        };
        let Some(max_length) = options.max_length.or(self.model_max_length()) else { return Ok(None) };
        let multiple = options.pad_to_multiple_of.filter(|_| options.padding != Padding::DoNotPad);
        if let Some(multiple) = multiple.filter(|multiple| *multiple > 0 && max_length % multiple > 0) {
            return Err(TextError::Multiple { max_length, multiple });
        }
        let direction = match options.truncation_side.unwrap_or(self.truncation_side()) {
            Side::Left => TruncationDirection::Left,
            Side::Right => TruncationDirection::Right,
        };
        // Pieces that nobody asks for overlap by nothing.
        let stride = if options.return_overflowing_tokens { options.stride } else { 0 };
        Ok(Some(TruncationParams { direction, max_length, strategy, stride }))
    }

    fn pad(&self, encodings: &mut [tokenizers::Encoding], options: &EncodeOptions) -> Result<(), TextError> {
        let strategy = match (options.padding, options.max_length.or(self.model_max_length())) {
            (Padding::DoNotPad, _) | (Padding::MaxLength, None) => return Ok(()),
            (Padding::Longest, _) => PaddingStrategy::BatchLongest,
            (Padding::MaxLength, Some(length)) => PaddingStrategy::Fixed(length),
        };
        let (pad_id, pad_token) = self.special_token("pad_token").ok_or(TextError::NoPadToken)?;
        let direction = match options.padding_side.unwrap_or(self.padding_side()) {
            Side::Left => PaddingDirection::Left,
            Side::Right => PaddingDirection::Right,
        };
        let params = PaddingParams {
            strategy,
            direction,
            pad_to_multiple_of: options.pad_to_multiple_of,
            pad_id,
            pad_type_id: self.pad_token_type_id(),
            pad_token,
        };
        let count = encodings.len();
        pad_encodings(encodings, &params).map_err(|e| TextError::Encode { bytes: count, reason: e.to_string() })
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

fn failed(bytes: usize) -> impl Fn(tokenizers::Error) -> TextError {
    move |e| TextError::Encode { bytes, reason: e.to_string() }
}

/// How many tokens a text that is cut keeps, where `max_length` are left for a text of `first` and, in a pair, one of `second` tokens.
fn room(strategy: TruncationStrategy, max_length: usize, first: usize, second: Option<usize>) -> usize {
    match (strategy, second) {
        (TruncationStrategy::LongestFirst, Some(second)) => {
            let shorter = first.min(second);
            if 2 * shorter > max_length { max_length / 2 } else { max_length - shorter }
        }
        (TruncationStrategy::OnlyFirst, Some(second)) => max_length.saturating_sub(second),
        (TruncationStrategy::OnlySecond, Some(_)) => max_length.saturating_sub(first),
        (_, None) => max_length,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::sentencepiece;
    use super::*;

    fn pieces(text: &str, options: &EncodeOptions) -> Vec<Encoding> {
        sentencepiece().encode_batch(&[(text, None)], options).unwrap()
    }

    #[test]
    fn offsets_are_characters_and_special_tokens_are_told_apart() {
        let encoding = pieces("éab", &EncodeOptions::default()).remove(0);
        assert_eq!(encoding.special[..2], [true, false]);
        assert_eq!(encoding.sequence_ids[..2], [None, Some(0)]);
        let last = encoding.offsets.last().copied();
        assert_eq!(last, Some((1, 3)), "`ab` after one character of two bytes");
        let lengths = [encoding.ids.len(), encoding.type_ids.len(), encoding.special.len(), encoding.offsets.len()];
        assert_eq!(lengths, [encoding.sequence_ids.len(); 4]);
        assert_eq!((encoding.word_ids.len(), encoding.attention_mask.len()), (lengths[0], lengths[0]));
    }

    #[test]
    fn what_is_too_long_is_cut_into_pieces() {
        let whole = pieces("b b b b", &EncodeOptions::default());
        assert_eq!(whole.len(), 1);
        let short = EncodeOptions { max_length: Some(4), stride: 1, ..EncodeOptions::default() };
        assert_eq!(pieces("b b b b", &short).len(), 1, "the rest is left out");
        let cut = pieces("b b b b", &EncodeOptions { return_overflowing_tokens: true, ..short.clone() });
        assert!(cut.len() > 1 && cut.iter().all(|e| e.ids.len() <= 4 && e.special[0]), "{cut:?}");
        assert_eq!(cut[0].ids[..], whole[0].ids[..4]);
        assert_eq!(cut[1].ids[1], cut[0].ids[3], "one token is repeated");
        let wide = EncodeOptions { stride: 3, return_overflowing_tokens: true, ..short.clone() };
        for wrong in [EncodeOptions { max_length: Some(1), ..short }, wide] {
            let error = sentencepiece().encode_batch(&[("b b b b", None)], &wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("{} token", wrong.max_length.unwrap())), "{error}");
        }
    }

    /// The library would panic.
    #[test]
    fn a_stride_that_leaves_no_room_is_an_error() {
        let tokenizer = sentencepiece();
        let (long, short) = ("b b b b b b b b", "b b");
        for (strategy, pair) in [
            (Truncation::OnlySecond, (short, long)),
            (Truncation::OnlyFirst, (long, short)),
            (Truncation::LongestFirst, (long, long)),
            (Truncation::LongestFirst, (short, long)),
        ] {
            for (max_length, stride) in (0..12).flat_map(|max| (0..12).map(move |stride| (max, stride))) {
                let options = EncodeOptions {
                    truncation: Some(strategy),
                    max_length: Some(max_length),
                    stride,
                    return_overflowing_tokens: true,
                    ..EncodeOptions::default()
                };
                match tokenizer.encode_batch(&[(pair.0, Some(pair.1))], &options) {
                    Ok(pieces) => assert!(pieces.iter().all(|p| p.ids.len() <= max_length), "{options:?}"),
                    Err(e) => assert!(e.to_string().contains(&format!(" {max_length} token")), "{options:?}: {e}"),
                }
            }
        }
    }

    #[test]
    fn options_that_do_not_fit_are_errors() {
        let error = |options: &EncodeOptions| {
            let tokenizer = sentencepiece().with_config(br#"{"pad_token": null}"#).unwrap();
            tokenizer.encode_batch(&[("b b b b b b", None)], options).unwrap_err().to_string()
        };
        let longest = EncodeOptions { padding: Padding::Longest, ..EncodeOptions::default() };
        assert!(error(&longest).contains("no padding token"));
        let uneven = EncodeOptions {
            truncation: Some(Truncation::LongestFirst),
            max_length: Some(4),
            pad_to_multiple_of: Some(3),
            ..longest
        };
        assert!(error(&uneven).contains("multiple of 3"), "{}", error(&uneven));
        let second =
            EncodeOptions { truncation: Some(Truncation::OnlySecond), max_length: Some(4), ..EncodeOptions::default() };
        assert!(error(&second).contains("Second sequence not provided"), "{}", error(&second));
    }
}
