//! `gpt2`: byte-level BPE.
//!
//! For how text is split before the merges GGUF has only a name. The names known here are in [`PRE_TOKENIZERS`], each with what the Hugging
//! Face tokenizer of those models does.

use super::parts::{Parts, Source};
use crate::Result;
use crate::gguf::tokenizer::vocabulary;
use crate::tokenizer::parts::{self, Bpe, QWEN2, byte_level};
use crate::tokenizer::template::{self, Pair};
use serde_json::{Value, json};

/// How text is split before byte-pair merges.
#[derive(Clone, Copy, PartialEq)]
enum Split {
    /// GPT-2's expression.
    Gpt2,
    /// Every digit alone, then GPT-2's expression.
    Digits,
    /// Another expression.
    Pattern(&'static str),
}

/// What a name says beside the split.
#[derive(Clone, Copy, Default)]
struct Traits {
    /// Text is brought to NFC first.
    nfc: bool,
    /// A word in the vocabulary is taken whole, whatever the merges say.
    whole_words: bool,
    /// llama.cpp puts the bos token first when the file does not say.
    bos_first: bool,
}

const PLAIN: Traits = Traits { nfc: false, whole_words: false, bos_first: false };
const NFC: Traits = Traits { nfc: true, ..PLAIN };
const WHOLE: Traits = Traits { whole_words: true, ..PLAIN };
const WHOLE_AND_BOS: Traits = Traits { bos_first: true, ..WHOLE };

/// By `tokenizer.ggml.pre`.
#[rustfmt::skip]
const PRE_TOKENIZERS: [(&str, Split, Traits); 21] = [
    ("default",          Split::Gpt2,            PLAIN),
    ("gpt-2",            Split::Gpt2,            PLAIN),
    ("gpt2",             Split::Gpt2,            PLAIN),
    ("phi-2",            Split::Gpt2,            PLAIN),
    ("roberta-bpe",      Split::Gpt2,            PLAIN),
    ("modern-bert",      Split::Gpt2,            NFC),
    ("olmo",             Split::Gpt2,            NFC), // GPT-NeoX's
    ("mpt",              Split::Gpt2,            NFC),
    ("smollm",           Split::Digits,          PLAIN),
    ("starcoder",        Split::Digits,          PLAIN),
    ("refact",           Split::Digits,          PLAIN),
    ("codeshell",        Split::Digits,          PLAIN),
    ("qwen2",            Split::Pattern(QWEN2),  NFC),
    ("deepseek-r1-qwen", Split::Pattern(QWEN2),  NFC),
    ("llama-bpe",        Split::Pattern(LLAMA3), WHOLE_AND_BOS),
    ("llama3",           Split::Pattern(LLAMA3), WHOLE_AND_BOS),
    ("llama-v3",         Split::Pattern(LLAMA3), WHOLE_AND_BOS),
    ("smaug-bpe",        Split::Pattern(LLAMA3), WHOLE),
    ("dbrx",             Split::Pattern(LLAMA3), PLAIN), // OLMo 2's and Phi-4's
    ("tekken",           Split::Pattern(TEKKEN), WHOLE_AND_BOS),
    ("gpt-4o",           Split::Pattern(GPT4O),  PLAIN), // Phi-4-mini's
];

/// Digits in groups of three.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words end where small letters are followed by a large one.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same, with English endings and digits in groups of three.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn parts(source: &mut Source) -> Result<Parts> {
    let gguf = source.gguf;
    let pre = gguf.metadata.string("tokenizer.ggml.pre").map_err(|p| gguf.corrupt(p))?.unwrap_or("default");
    if pre == "default" {
        tracing::warn!(file = %gguf.path().display(), "the file does not say how text is split; assuming GPT-2's way");
    }
    let Some(&(_, split, traits)) = PRE_TOKENIZERS.iter().find(|(name, ..)| *name == pre) else {
        let known: Vec<&str> = PRE_TOKENIZERS.iter().map(|(name, ..)| *name).collect();
        return Err(gguf.unsupported(format!(
            "its pre-tokenizer is `{pre}`; kiln knows {}. Use the model's folder with tokenizer.json",
            known.join(", ")
        )));
    };
    let adds = source.adds(traits.bos_first, false)?;
    let pair = match source.architecture() {
        "bert" | "modern-bert" if source.flag("add_sep_token", false)? => Pair::Separated,
        "bert" | "modern-bert" => Pair::Continued,
        _ => Pair::Again,
    };
    Ok(Parts {
        normalizer: if traits.nfc { json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: pre_tokenizer(split),
        post_processor: match source.around(adds) {
            (None, None) => byte_level(false, true, false),
            (first, last) => {
                parts::sequence("processors", [byte_level(false, true, false), template::around(first, last, pair, 0)])
            }
        },
        decoder: byte_level(false, false, true),
        model: bpe(source, traits.whole_words).map_err(|p| gguf.corrupt(p))?,
        adds,
    })
}

fn pre_tokenizer(split: Split) -> Value {
    let first = match split {
        Split::Gpt2 => return byte_level(false, true, true),
        Split::Digits => json!({ "type": "Digits", "individual_digits": true }),
        Split::Pattern(regex) => parts::split(regex),
    };
    parts::sequence("pretokenizers", [first, byte_level(false, split == Split::Digits, true)])
}

fn bpe(source: &Source, ignore_merges: bool) -> std::result::Result<Value, String> {
    let vocabulary = &source.vocabulary;
    let merges = source.gguf.metadata.strings("tokenizer.ggml.merges")?;
    let merges = merges.ok_or_else(|| vocabulary::missing("merges"))?;
    let mut pairs = Vec::with_capacity(merges.len());
    let mut joined = String::new();
    for (n, merge) in merges.iter().enumerate() {
        let (left, right) = merge
            .split_once(' ')
            .ok_or_else(|| format!("merge {n} is {merge:?}; expected two tokens with a space between"))?;
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if let Some(absent) = [left, right, &joined].into_iter().find(|t| !vocabulary.ids.contains_key(*t)) {
            return Err(format!(
                "merge {n} ({left:?} {right:?}) needs token {absent:?}, which is not in the vocabulary"
            ));
        }
        pairs.push((left, right));
    }
    Ok(parts::bpe(vocabulary.json(), json!(pairs), Bpe { ignore_merges, ..Bpe::default() }))
}
