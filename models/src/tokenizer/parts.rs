//! The parts of a `tokenizer.json`, in the forms that the models' tokenizers have.

use serde_json::{Value, json};

/// SentencePiece's space.
pub(crate) const SPACE: &str = "▁";
/// What marks a WordPiece within a word.
pub(crate) const WITHIN: &str = "##";

/// Qwen2's expression: digits one by one.
pub(crate) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Byte-level splitting, joining or trimming of offsets: the same fields for all three.
pub(crate) fn byte_level(add_prefix_space: bool, use_regex: bool, trim_offsets: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": trim_offsets, "use_regex": use_regex,
    })
}

/// Splitting by an expression.
pub(crate) fn split(regex: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
}

/// Parts one after the other; `list` is what the kind of part calls them.
pub(crate) fn sequence(list: &str, parts: impl IntoIterator<Item = Value>) -> Value {
    json!({ "type": "Sequence", list: parts.into_iter().collect::<Value>() })
}

/// Spaces as `▁`, which `scheme` (`always`, `first` or `never`) also puts in front.
pub(crate) fn metaspace(scheme: &str, split: bool) -> Value {
    json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split })
}

/// Unigram's words, each with `▁` as `scheme` says.
pub(crate) fn words(scheme: &str) -> Value {
    sequence("pretokenizers", [json!({ "type": "WhitespaceSplit" }), metaspace(scheme, true)])
}

/// One text in another's place.
pub(crate) fn replace(pattern: &str, content: &str) -> Value {
    json!({ "type": "Replace", "pattern": { "String": pattern }, "content": content })
}

/// SentencePiece's table of what characters are replaced by, in base64.
pub(crate) fn precompiled(charsmap: &str) -> Value {
    json!({ "type": "Precompiled", "precompiled_charsmap": charsmap })
}

/// BERT's way to clean a text.
pub(crate) fn bert_normalizer(lowercase: bool, strip_accents: Option<bool>, chinese: bool) -> Value {
    json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": chinese, "strip_accents": strip_accents,
        "lowercase": lowercase,
    })
}

/// Joining SentencePiece's tokens, bytes among them; with `strip` less the space in front.
pub(crate) fn sentencepiece_decoder(strip: bool) -> Value {
    let space = strip.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    let join = [replace(SPACE, " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    sequence("decoders", join.into_iter().chain(space))
}

/// Joining WordPieces.
pub(crate) fn wordpiece_decoder() -> Value {
    json!({ "type": "WordPiece", "prefix": WITHIN, "cleanup": true })
}

/// What tells one BPE from another.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bpe<'a> {
    /// What stands for characters that the vocabulary has not.
    pub unknown: Option<&'a str>,
    /// Several such characters are one token.
    pub fuse_unknown: bool,
    /// They are tokens of bytes where there are such.
    pub byte_fallback: bool,
    /// A word in the vocabulary is taken whole, whatever the merges say.
    pub ignore_merges: bool,
}

/// Byte-pair encoding.
pub(crate) fn bpe(vocab: Value, merges: Value, bpe: Bpe) -> Value {
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": bpe.unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": bpe.fuse_unknown,
        "byte_fallback": bpe.byte_fallback,
        "ignore_merges": bpe.ignore_merges,
    });
    // Moved: `json!` would copy what may be a hundred thousand tokens.
    model["vocab"] = vocab;
    model["merges"] = merges;
    model
}

/// WordPiece.
pub(crate) fn wordpiece(vocab: Value, unknown: &str) -> Value {
    let mut model = json!({
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": WITHIN,
        "max_input_chars_per_word": 100,
    });
    model["vocab"] = vocab;
    model
}

/// Unigram, of tokens with their scores.
pub(crate) fn unigram(vocab: Value, unknown: Option<usize>, byte_fallback: bool) -> Value {
    let mut model = json!({ "type": "Unigram", "unk_id": unknown, "byte_fallback": byte_fallback });
    model["vocab"] = vocab;
    model
}

/// RoBERTa's special tokens around texts.
pub(crate) fn roberta_processing(cls: (usize, &str), sep: (usize, &str), trim: bool, prefix: bool) -> Value {
    json!({
        "type": "RobertaProcessing", "sep": [sep.1, sep.0], "cls": [cls.1, cls.0], "trim_offsets": trim,
        "add_prefix_space": prefix,
    })
}
