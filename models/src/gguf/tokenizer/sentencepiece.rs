//! `llama`: SentencePiece's BPE with scores instead of merges, and bytes for what is not in the vocabulary (Llama 2, Mistral, Gemma, Phi-3).

use super::parts::{Parts, Source};
use super::vocabulary::{NORMAL, UNKNOWN};
use crate::Result;
use crate::tokenizer::parts::{self, Bpe, SPACE};
use crate::tokenizer::template::{self, Pair};
use crate::tokenizer::ways;
use serde_json::{Value, json};

pub(super) fn parts(source: &mut Source) -> Result<Parts> {
    if let Some(unknown) = source.vocabulary.first_of(UNKNOWN) {
        source.named.entry("unk").or_insert(unknown);
    }
    let prefix = source.flag("add_space_prefix", true)?;
    let adds = source.adds(true, false)?;
    let (first, last) = source.around(adds);
    let spaces = parts::replace(" ", SPACE);
    let bpe = Bpe {
        unknown: source.named.get("unk").map(|(_, token)| *token),
        fuse_unknown: true,
        byte_fallback: true,
        ignore_merges: false,
    };
    let merges = merges(source).map_err(|p| source.gguf.corrupt(p))?;
    Ok(Parts {
        normalizer: match prefix {
            true => parts::sequence("normalizers", [json!({ "type": "Prepend", "prepend": SPACE }), spaces]),
            false => spaces,
        },
        pre_tokenizer: Value::Null,
        post_processor: template::around(first, last, Pair::Again, 0),
        decoder: parts::sentencepiece_decoder(prefix),
        model: parts::bpe(source.vocabulary.json(), json!(merges), bpe),
        adds,
    })
}

/// Every way to put a token together from two others, those of the token with the highest score first; of equal ones, as transformers
/// orders them, that with the longer left part.
fn merges<'a>(source: &Source<'a>) -> std::result::Result<Vec<(&'a str, &'a str)>, String> {
    let vocabulary = &source.vocabulary;
    let scores = vocabulary.scores(source.gguf)?;
    let is_normal = |id: &usize| vocabulary.types[*id] == NORMAL;
    let tokens = vocabulary.reachable().filter(|(id, _)| is_normal(id));
    let mut ways = ways(tokens, |text| vocabulary.ids.get(text).copied().filter(is_normal));
    // Of one token's ways, and of tokens with the same score, those that are equal stay in their order.
    ways.sort_by(|a, b| scores[b.token].total_cmp(&scores[a.token]).then_with(|| b.left_chars.cmp(&a.left_chars)));
    Ok(ways.into_iter().map(|way| way.parts).collect())
}
