//! From `tokenizer.ggml.*` to a Hugging Face `tokenizer.json`.
//!
//! GGUF keeps the vocabulary and the merges, but only a name for how text is split before them. The names known here are in
//! [`PRE_TOKENIZERS`], each with what the Hugging Face tokenizer of those models does.

use super::Gguf;
use crate::Result;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A tokenizer in the form in which a Hugging Face folder holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.json`.
    pub tokenizer_json: Value,
    /// `tokenizer_config.json`: the named special tokens, `add_bos_token`, `add_eos_token`, `chat_template`.
    pub tokenizer_config: Value,
    /// The chat template, a Jinja text.
    pub chat_template: Option<String>,
}

/// How text is split before byte-pair merges.
#[derive(Clone, Copy, PartialEq)]
enum Split {
    /// GPT-2's expression.
    Gpt2,
    /// Every digit alone, then GPT-2's expression.
    Digits,
    /// Qwen 2's expression, after NFC.
    Qwen2,
    /// Llama 3's expression: digits in groups of three; a word in the vocabulary is taken whole.
    Llama3,
}

/// `tokenizer.ggml.pre`, how it splits, and whether llama.cpp puts the bos token first when the file does not say.
#[rustfmt::skip]
const PRE_TOKENIZERS: [(&str, Split, bool); 14] = [
    ("default",          Split::Gpt2,   false),
    ("gpt-2",            Split::Gpt2,   false),
    ("gpt2",             Split::Gpt2,   false),
    ("phi-2",            Split::Gpt2,   false),
    ("smollm",           Split::Digits, false),
    ("starcoder",        Split::Digits, false),
    ("refact",           Split::Digits, false),
    ("codeshell",        Split::Digits, false),
    ("qwen2",            Split::Qwen2,  false),
    ("deepseek-r1-qwen", Split::Qwen2,  false),
    ("llama-bpe",        Split::Llama3, true),
    ("llama3",           Split::Llama3, true),
    ("llama-v3",         Split::Llama3, true),
    ("smaug-bpe",        Split::Llama3, false),
];

const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `tokenizer.ggml.token_type`: what makes a token an added one.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer in the metadata; `None` if there is none at all.
///
/// # Errors
/// [`Error::CorruptGguf`](crate::Error::CorruptGguf) for lists that do not fit each other,
/// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for a model or a pre-tokenizer that is not known here.
pub fn tokenizer(gguf: &Gguf) -> Result<Option<GgufTokenizer>> {
    let corrupt = |p: String| gguf.corrupt(p);
    let meta = &gguf.metadata;
    match meta.string("tokenizer.ggml.model").map_err(corrupt)? {
        None => return Ok(None),
        Some("gpt2") => {}
        Some(other) => {
            return Err(gguf.unsupported(format!(
                "its tokenizer model is `{other}`; from GGUF, kiln supports gpt2 (byte-level BPE). Use the model's folder with tokenizer.json"
            )));
        }
    }
    let pre = meta.string("tokenizer.ggml.pre").map_err(corrupt)?.unwrap_or("default");
    if pre == "default" {
        tracing::warn!(file = %gguf.path().display(), "the file does not say how text is split; assuming GPT-2's way");
    }
    let Some(&(_, split, bos_first)) = PRE_TOKENIZERS.iter().find(|(name, ..)| *name == pre) else {
        let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|(name, ..)| *name).collect();
        return Err(gguf.unsupported(format!(
            "its pre-tokenizer is `{pre}`; kiln knows {}. Use the model's folder with tokenizer.json",
            known.join(", ")
        )));
    };
    let vocabulary = Vocabulary::read(gguf).map_err(corrupt)?;
    let flag = |key: &str, default| meta.bool(key).map_err(corrupt).map(|found| found.unwrap_or(default));
    let add_bos = flag("tokenizer.ggml.add_bos_token", bos_first)?;
    let add_eos = flag("tokenizer.ggml.add_eos_token", false)?;
    let chat_template = meta.string("tokenizer.chat_template").map_err(corrupt)?.map(str::to_string);

    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "add_bos_token": add_bos,
        "add_eos_token": add_eos,
    });
    let mut named = HashMap::new();
    for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = meta.unsigned(&key).map_err(corrupt)? else { continue };
        let token = vocabulary.token(id).ok_or_else(|| {
            gguf.corrupt(format!("metadata key `{key}` is {id}, but there are {} tokens", vocabulary.tokens.len()))
        })?;
        config[format!("{name}_token")] = json!(token);
        named.insert(name, (id, token));
    }
    if let Some(template) = &chat_template {
        config["chat_template"] = json!(template);
    }
    let first = named.get("bos").filter(|_| add_bos).copied();
    let last = named.get("eos").filter(|_| add_eos).copied();
    let tokenizer_json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": if split == Split::Qwen2 { json!({ "type": "NFC" }) } else { Value::Null },
        "pre_tokenizer": pre_tokenizer(split),
        "post_processor": post_processor(first, last),
        "decoder": byte_level(false, true),
        "model": vocabulary.bpe(split == Split::Llama3).map_err(corrupt)?,
    });
    Ok(Some(GgufTokenizer { tokenizer_json, tokenizer_config: config, chat_template }))
}

fn byte_level(use_regex: bool, trim_offsets: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": use_regex })
}

fn pre_tokenizer(split: Split) -> Value {
    let pattern = |regex: &str| {
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false },
            byte_level(false, true),
        ]})
    };
    match split {
        Split::Gpt2 => byte_level(true, true),
        Split::Digits => json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            byte_level(true, true),
        ]}),
        Split::Qwen2 => pattern(QWEN2_PATTERN),
        Split::Llama3 => pattern(LLAMA3_PATTERN),
    }
}

/// Puts bos before and eos after, where the flags say so.
fn post_processor(first: Option<(u64, &str)>, last: Option<(u64, &str)>) -> Value {
    if first.is_none() && last.is_none() {
        return byte_level(true, false);
    }
    let special = |token: &str, kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
    let sequence = |id: &str, kind: u32| {
        let mut items = Vec::new();
        items.extend(first.map(|(_, token)| special(token, kind)));
        items.push(json!({ "Sequence": { "id": id, "type_id": kind } }));
        items.extend(last.map(|(_, token)| special(token, kind)));
        items
    };
    let tokens: Map<String, Value> = (first.iter().chain(&last))
        .map(|(id, token)| (token.to_string(), json!({ "id": token, "ids": [id], "tokens": [token] })))
        .collect();
    let pair = [sequence("A", 0), sequence("B", 1)].concat();
    json!({ "type": "Sequence", "processors": [
        byte_level(true, false),
        { "type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": tokens },
    ]})
}

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    ids: HashMap<&'a str, usize>,
    types: Vec<i64>,
    merges: Vec<(&'a str, &'a str)>,
}

impl<'a> Vocabulary<'a> {
    fn read(gguf: &'a Gguf) -> std::result::Result<Vocabulary<'a>, String> {
        let meta = &gguf.metadata;
        let missing = |key: &str| format!("it has a tokenizer, but lacks the metadata key `{key}`");
        let tokens = meta.strings("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let types = meta.integers("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; tokens.len()]);
        if types.len() != tokens.len() {
            return Err(format!(
                "`tokenizer.ggml.token_type` has {} entries for {} tokens; expected one for each",
                types.len(),
                tokens.len()
            ));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = ids.insert(*token, id) {
                return Err(format!("token {token:?} is there twice, as {first} and as {id}"));
            }
        }
        let merges = meta.strings("tokenizer.ggml.merges")?.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let merges = merges.iter().enumerate().map(|(n, merge)| {
            merge
                .split_once(' ')
                .ok_or_else(|| format!("merge {n} is {merge:?}; expected two tokens with a space between"))
        });
        Ok(Vocabulary { ids, types, merges: merges.collect::<std::result::Result<_, _>>()?, tokens })
    }

    fn token(&self, id: u64) -> Option<&'a str> {
        self.tokens.get(usize::try_from(id).ok()?).copied()
    }

    /// Tokens that are matched in the text before anything else: control tokens, which are special, and user-defined ones.
    fn added(&self) -> Vec<Value> {
        (self.tokens.iter().zip(&self.types).enumerate())
            .filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED))
            .map(|(id, (token, kind))| {
                json!({
                    "id": id, "content": token, "special": *kind == CONTROL,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect()
    }

    fn bpe(&self, ignore_merges: bool) -> std::result::Result<Value, String> {
        let mut joined = String::new();
        for (n, (left, right)) in self.merges.iter().enumerate() {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            if let Some(absent) = [left, right, &joined.as_str()].into_iter().find(|t| !self.ids.contains_key(**t)) {
                return Err(format!(
                    "merge {n} ({left:?} {right:?}) needs token {absent:?}, which is not in the vocabulary"
                ));
            }
        }
        let vocabulary: Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
        Ok(json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": vocabulary,
            "merges": self.merges,
        }))
    }
}
