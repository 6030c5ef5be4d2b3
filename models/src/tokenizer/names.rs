//! The names of files that hold a tokenizer's tokens.

/// WordPiece's tokens, one a line.
pub(super) const WORDS: &str = "vocab.txt";
/// The ids of BPE's tokens.
pub(super) const BPE: &str = "vocab.json";
/// BPE's merges, one a line.
pub(super) const MERGES: &str = "merges.txt";
/// SentencePiece's model, for the classes without a name of their own for it.
pub(super) const SENTENCEPIECE: &str = "tokenizer.model";
/// All files that hold the tokens of a tokenizer without `tokenizer.json`.
pub(super) const FILES: [&str; 6] = [WORDS, BPE, MERGES, SENTENCEPIECE, "spiece.model", "sentencepiece.bpe.model"];
