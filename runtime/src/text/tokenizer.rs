//! The tokenizer of a model, from its `tokenizer.json`.

use super::fields::TokenizerConfig;
use super::{TextError, misfit};
use crate::generate::Prompt;
use kiln_core::output::Output;
use serde_json::Value;
use std::path::Path;
use tokenizers::PostProcessorWrapper;

/// Splits text into tokens and joins them again.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Without its post-processor: texts are cut between splitting them and adding special tokens.
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) post_processor: Option<PostProcessorWrapper>,
    pub(super) config: TokenizerConfig,
    /// Ids of the special tokens, ascending.
    special: Vec<u32>,
}

/// Texts of different length in one rectangle, padded on the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedBatch {
    /// Token ids, `[rows, width]` row by row.
    pub ids: Vec<u32>,
    /// 0 for padding, 1 for tokens; as `ids`.
    pub mask: Vec<i64>,
    /// Tokens per row.
    pub width: usize,
}

impl PaddedBatch {
    /// Pads rows of tokens on the left with `pad_token_id`.
    pub fn left(rows: &[Vec<u32>], pad_token_id: u32) -> Self {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut batch = PaddedBatch {
            ids: Vec::with_capacity(rows.len() * width),
            mask: Vec::with_capacity(rows.len() * width),
            width,
        };
        for row in rows {
            let padding = width - row.len();
            batch.ids.extend(std::iter::repeat_n(pad_token_id, padding).chain(row.iter().copied()));
            batch.mask.extend(std::iter::repeat_n(0, padding).chain(row.iter().map(|_| 1)));
        }
        batch
    }

    /// The rows as prompts, padding included.
    pub fn prompts(&self) -> Vec<Prompt> {
        let rows = self.ids.chunks(self.width.max(1)).zip(self.mask.chunks(self.width.max(1)));
        rows.map(|(ids, mask)| Prompt {
            ids: ids.to_vec(),
            padding: mask.iter().filter(|&&m| m == 0).count(),
            stream: None,
        })
        .collect()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Padding and truncation that it asks for are set aside, as transformers does: the caller says.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TextError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| misfit::of(json).unwrap_or_else(|| TextError::Parse(e.to_string())))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| TextError::Parse(e.to_string()))?;
        let added = inner.get_added_tokens_decoder();
        let mut special: Vec<u32> = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        special.sort_unstable();
        let post_processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Tokenizer { inner, post_processor, special, config: TokenizerConfig::default() })
    }

    /// Writes `tokenizer.json` and, if there is one, `tokenizer_config.json` into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be written.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<(), TextError> {
        let mut whole = self.inner.clone();
        whole.with_post_processor(self.post_processor.clone());
        let json = whole.to_string(true).map_err(|e| TextError::Parse(e.to_string()))?;
        write(folder.as_ref(), "tokenizer.json", &json)?;
        match self.config() {
            Value::Null => Ok(()),
            config => write(folder.as_ref(), "tokenizer_config.json", &format!("{config:#}\n")),
        }
    }

    /// The tokens of `text`; with `add_special_tokens`, those that the model expects around a text (such as bos) too.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let failed = |e: tokenizers::Error| TextError::Encode { bytes: text.len(), reason: e.to_string() };
        let split = self.inner.encode_fast(text, false).map_err(failed)?;
        let whole = self.post_process(split, None, add_special_tokens).map_err(failed)?;
        Ok(whole.get_ids().to_vec())
    }

    /// The text of `ids`. Spaces are left as the tokens have them (transformers' `clean_up_tokenization_spaces=False`); bytes that are
    /// no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        let ids: Vec<u32> = ids.iter().map(|id| self.known_id(*id)).collect();
        self.inner
            .decode(&ids, skip_special_tokens)
            .map_err(|e| TextError::Decode { tokens: ids.len(), reason: e.to_string() })
    }

    /// The number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token, given as the vocabulary writes it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether decoding may skip the token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&self.known_id(id)).is_ok()
    }

    /// A token as the vocabulary writes it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(self.known_id(id))
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), TextError> {
    let path = folder.join(name);
    let written = std::fs::create_dir_all(folder).and_then(|()| Output::at(&path)?.write(text.as_bytes()));
    written.map_err(|e| TextError::Write { path: path.display().to_string(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{EOS, byte_level, byte_level_json, sentencepiece};
    use super::*;

    #[test]
    fn text_survives_the_round_trip() {
        let tokenizer = byte_level();
        for text in ["", "Hello, world!", "  two  spaces\n\n\ttab", "日本語テスト 🙂 naïve café", "it's I'M 12345"]
        {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("the theme", false).unwrap().len(), 4, "merges apply: the, space, the, me");
    }

    #[test]
    fn special_tokens_are_seen_in_text_and_skipped_on_request() {
        let tokenizer = byte_level();
        let ids = tokenizer.encode("a<|end|>", false).unwrap();
        assert_eq!(ids.len(), 2);
        assert_eq!(tokenizer.token_to_id("<|end|>"), Some(EOS));
        assert_eq!(tokenizer.id_to_token(EOS).as_deref(), Some("<|end|>"));
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a<|end|>");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a");
        assert_eq!(tokenizer.id_to_token(1 << 30), None);
    }

    #[test]
    fn spaces_before_punctuation_are_kept() {
        let tokenizer = byte_level();
        let ids = tokenizer.encode("a . b , c ! do n't", false).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a . b , c ! do n't");
    }

    #[test]
    fn bos_comes_with_the_special_tokens() {
        let tokenizer = sentencepiece();
        let bare = tokenizer.encode("ab", false).unwrap();
        let full = tokenizer.encode("ab", true).unwrap();
        assert_eq!(full[0], tokenizer.token_to_id("<s>").unwrap());
        assert_eq!(full[1..], bare);
    }

    #[test]
    fn a_batch_is_padded_on_the_left() {
        let batch = PaddedBatch::left(&[vec![5, 6, 7], vec![8]], 2);
        assert_eq!(batch.ids, [5, 6, 7, 2, 2, 8]);
        assert_eq!(batch.mask, [1, 1, 1, 0, 0, 1]);
        assert_eq!(batch.width, 3);
        let prompts = batch.prompts();
        assert_eq!((prompts[0].padding, prompts[1].padding), (0, 2));
        assert_eq!(prompts[1].tokens(), [8]);
        assert_eq!(PaddedBatch::left(&[], 0).prompts(), []);
    }

    #[test]
    fn a_saved_tokenizer_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = sentencepiece().with_config(br#"{"model_max_length": 8}"#).unwrap();
        tokenizer.save_pretrained(folder.path().join("new")).unwrap();
        let read = |name| std::fs::read(folder.path().join("new").join(name)).unwrap();
        let again = Tokenizer::from_bytes(&read("tokenizer.json")).unwrap();
        let again = again.with_config(&read("tokenizer_config.json")).unwrap();
        assert_eq!(again.model_max_length(), Some(8));
        assert_eq!(again.encode("ab a", true).unwrap(), tokenizer.encode("ab a", true).unwrap());
        let file = folder.path().join("new").join("tokenizer.json");
        let message = tokenizer.save_pretrained(file).unwrap_err().to_string();
        assert!(message.starts_with("cannot write"), "{message}");
    }

    #[test]
    fn a_broken_file_is_an_error_with_advice() {
        let whole = byte_level_json();
        for bytes in [&b""[..], b"{}", b"[1, 2]", b"\xff\xfe", &whole.as_bytes()[..whole.len() / 2]] {
            let message = Tokenizer::from_bytes(bytes).unwrap_err().to_string();
            assert!(message.starts_with("tokenizer.json: ") && message.contains("is it complete?"), "{message}");
        }
    }
}
