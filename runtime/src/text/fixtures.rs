//! Two tiny tokenizers for the tests: byte-level BPE (GPT-2, Llama 3, SmolLM2) and BPE with byte fallback (Llama 2, Mistral).

use super::Tokenizer;
use serde_json::{Map, Value, json};

/// `<|end|>` of the byte-level tokenizer.
pub const EOS: u32 = 262;

/// The character under which a byte stands in a byte-level vocabulary: printable ones as they are, the others from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + rank).unwrap()
}

/// The token of one byte.
pub fn byte(byte: u8) -> u32 {
    byte.into()
}

impl Tokenizer {
    /// The token of the byte-level vocabulary that is exactly these bytes.
    pub fn encode_bytes(&self, bytes: &[u8]) -> u32 {
        let token: String = bytes.iter().map(|&b| byte_char(b)).collect();
        self.token_to_id(&token).unwrap()
    }
}

/// `tokenizer.json` of a byte-level BPE: the 256 bytes, `<|end|>`, and a few merges.
pub fn byte_level_json() -> String {
    let mut vocab: Map<String, Value> = (0..=255u8).map(|b| (byte_char(b).to_string(), json!(b))).collect();
    let mut merges = Vec::new();
    for pair in
        [[&b"t"[..], b"h"], [b"th", b"e"], [b"m", b"e"], [b"\xE6", b"\x97"], [b"\xA5", b"\xE6"], [b"\x97", b"\xA5"]]
    {
        let [left, right] = pair.map(|bytes| bytes.iter().map(|&b| byte_char(b)).collect::<String>());
        let id = vocab.len();
        vocab.insert(format!("{left}{right}"), json!(id));
        merges.push(json!([left, right]));
    }
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "!"
        },
        "added_tokens": [added(EOS, "<|end|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges
        }
    })
    .to_string()
}

/// A byte-level BPE tokenizer.
pub fn byte_level() -> Tokenizer {
    Tokenizer::from_bytes(byte_level_json().as_bytes()).unwrap()
}

/// The token `<0xNN>` of the sentencepiece tokenizer.
pub fn fallback_byte(byte: u8) -> u32 {
    3 + u32::from(byte)
}

/// A BPE tokenizer with byte fallback that puts a space in front, as sentencepiece does.
pub fn sentencepiece() -> Tokenizer {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(["▁", "a", "b", "ab", "▁a"].map(str::to_owned));
    let vocab: Map<String, Value> = tokens.into_iter().zip(0..).map(|(t, id)| (t, json!(id))).collect();
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        ]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": [["a", "b"], ["▁", "a"]]
        }
    });
    Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

fn added(id: u32, content: &str) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true
    })
}
