//! `llama`: SentencePiece's BPE with scores instead of merges, and bytes for what is not in the vocabulary (Llama 2, Mistral, Gemma, Phi-3).

use super::template::{self, Pair};
use super::vocabulary::{NORMAL, UNKNOWN};
use super::{Parts, Source};
use crate::Result;
use serde_json::{Value, json};

pub(super) fn parts(source: &mut Source) -> Result<Parts> {
    if let Some(unknown) = source.vocabulary.first_of(UNKNOWN) {
        source.named.entry("unk").or_insert(unknown);
    }
    let prefix = source.flag("add_space_prefix", true)?;
    let adds = source.adds(true, false)?;
    let (first, last) = source.around(adds);
    let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    Ok(Parts {
        normalizer: match prefix {
            true => json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, spaces] }),
            false => spaces,
        },
        pre_tokenizer: Value::Null,
        post_processor: template::around(first, last, Pair::Again, 0),
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": source.named.get("unk").map(|(_, token)| token),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": source.vocabulary.json(),
            "merges": merges(source).map_err(|p| source.gguf.corrupt(p))?,
        }),
        adds,
    })
}

/// Every way to put a token together from two others, those of the token with the highest score first; of equal ones, as transformers
/// orders them, that with the longer left part.
fn merges<'a>(source: &Source<'a>) -> std::result::Result<Vec<(&'a str, &'a str)>, String> {
    let vocabulary = &source.vocabulary;
    let scores = vocabulary.scores(source.gguf)?;
    let part = |text: &str| vocabulary.ids.get(text).copied().filter(|id| vocabulary.types[*id] == NORMAL);
    let mut merges = vec![];
    for (id, token) in vocabulary.reachable().filter(|(id, _)| vocabulary.types[*id] == NORMAL) {
        let first = merges.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(l), Some(r)) = (part(left), part(right)) {
                merges.push((scores[id], left.chars().count(), (l, r), (left, right)));
            }
        }
        merges[first..].sort_by_key(|(.., ids, _)| *ids);
    }
    // Of one token's ways, and of tokens with the same score, those that are equal stay in their order.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
    Ok(merges.into_iter().map(|(.., pair)| pair).collect())
}
