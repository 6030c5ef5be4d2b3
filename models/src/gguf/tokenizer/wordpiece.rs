//! `bert`: WordPiece. llama.cpp marks the tokens that begin a word, with `▁`; Hugging Face marks those that do not, with `##`.

use super::parts::{Parts, Source};
use crate::Result;
use crate::tokenizer::parts::{self, WITHIN};
use crate::tokenizer::template::{self, Pair};
use serde_json::{Map, Value, json};

const WORD: char = '▁';

pub(super) fn parts(source: &mut Source) -> Result<Parts> {
    // Older files name bos and eos only, or nothing.
    for (name, other, text) in [("cls", "bos", "[CLS]"), ("sep", "eos", "[SEP]"), ("unk", "unk", "[UNK]")] {
        let by_text = source.vocabulary.ids.get_key_value(text).map(|(token, id)| (*id, *token));
        let token = source.named.get(name).or_else(|| source.named.get(other)).copied().or(by_text);
        let Some(token) = token else {
            return Err(source.gguf.corrupt(format!(
                "its tokenizer has no `{text}`: expected it among the tokens, or a key for the token `{name}`"
            )));
        };
        source.named.insert(name, token);
    }
    let (cls, sep, unk) = (source.named["cls"], source.named["sep"], source.named["unk"]);
    let vocabulary = &source.vocabulary;
    let texts = vocabulary.reachable().map(|(id, token)| match token.strip_prefix(WORD) {
        _ if vocabulary.is_control(id) || id == unk.0 => (token.to_string(), json!(id)),
        Some(word) => (word.to_string(), json!(id)),
        None => (format!("{WITHIN}{token}"), json!(id)),
    });
    let texts: Map<String, Value> = texts.collect();
    // The file does not say whether text is lowercased; a vocabulary without any capital letter has no use for one.
    let words = vocabulary.tokens.iter().filter(|token| token.starts_with(WORD));
    let lowercase = !words.into_iter().any(|word| word.contains(char::is_uppercase));
    Ok(Parts {
        normalizer: parts::bert_normalizer(lowercase, None, true),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        post_processor: template::around(Some(cls), Some(sep), Pair::Continued, 1),
        decoder: parts::wordpiece_decoder(),
        model: parts::wordpiece(texts.into(), unk.1),
        adds: (true, true),
    })
}
