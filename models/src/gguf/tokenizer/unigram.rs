//! `t5`: SentencePiece's Unigram (T5, XLM-RoBERTa).

use super::parts::{Parts, Source};
use super::vocabulary::UNKNOWN;
use crate::Result;
use crate::tokenizer::parts;
use crate::tokenizer::template::{self, Pair};
use base64::Engine;
use serde_json::{Value, json};

pub(super) fn parts(source: &mut Source) -> Result<Parts> {
    let gguf = source.gguf;
    if let Some(unknown) = source.vocabulary.first_of(UNKNOWN) {
        source.named.entry("unk").or_insert(unknown);
    }
    let adds = source.adds(false, true)?;
    let (first, last) = source.around(adds);
    let pair = if first.is_some() { Pair::Separated } else { Pair::Continued };
    let scheme = if source.flag("add_space_prefix", true)? { "always" } else { "never" };
    let scores = source.vocabulary.scores(gguf).map_err(|p| gguf.corrupt(p))?;
    let vocabulary: Vec<(&str, f64)> = source.vocabulary.tokens.iter().copied().zip(scores).collect();
    Ok(Parts {
        normalizer: charsmap(source)?,
        pre_tokenizer: match source.flag("remove_extra_whitespaces", true)? {
            true => parts::words(scheme),
            false => parts::metaspace(scheme, true),
        },
        post_processor: template::around(first, last, pair, 0),
        decoder: parts::metaspace(scheme, true),
        model: parts::unigram(json!(vocabulary), source.named.get("unk").map(|(id, _)| *id), false),
        adds,
    })
}

/// SentencePiece's table of what characters are replaced by, which Hugging Face takes as it is.
fn charsmap(source: &Source) -> Result<Value> {
    let key = "tokenizer.ggml.precompiled_charsmap";
    let bytes = source.gguf.metadata.integers(key).map_err(|p| source.gguf.corrupt(p))?;
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(Value::Null) };
    // Written as bytes or, by other tools, as signed ones.
    let bytes: Option<Vec<u8>> =
        bytes.into_iter().map(|b| u8::try_from(b).ok().or_else(|| i8::try_from(b).ok().map(|b| b as u8))).collect();
    let bytes =
        bytes.ok_or_else(|| source.gguf.corrupt(format!("metadata key `{key}`: expected an array of bytes")))?;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    Ok(parts::precompiled(&text))
}
