//! What the classes make of a vocabulary.

use super::added::{AddedToken, AddedVocabulary, Ids};
use super::class::Class;
use super::parts::{self, Bpe};
use super::special::{NAMES, Stated};
use super::template::{self, Pair};
use super::vocabulary::Vocabulary;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// A tokenizer that waits for its special tokens.
pub(super) struct Built {
    class: Class,
    /// `tokenizer.json`, with the added tokens and the post-processor that it came with.
    json: Value,
    /// The special tokens by name, the common names first.
    named: Vec<(String, Option<AddedToken>)>,
    /// Those without names.
    extra: Vec<AddedToken>,
}

/// What a class splits a text and joins tokens with.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// A tokenizer whose class takes `tokenizer.json` as it is.
pub(super) fn as_it_is(class: Class, stated: &Stated, json: Value) -> Built {
    let named = NAMES.iter().map(|name| (name.to_string(), stated.named.get(name).cloned().flatten()));
    let own = stated.own.iter().map(|(name, token)| (name.clone(), Some(token.clone())));
    let extra = stated.extra.clone().or_else(|| stated.additional.clone()).unwrap_or_default();
    Built { class, json, named: named.chain(own).collect(), extra }
}

/// A tokenizer that its class builds of a vocabulary. `json` is the `tokenizer.json` that this is from, if it is from one.
pub(super) fn build(class: Class, stated: &Stated, mut vocabulary: Vocabulary, json: Option<&Value>) -> Built {
    let mut named = named(class, stated, &vocabulary);
    let extra = extra(class, stated, &vocabulary);
    let text = |name: &str| {
        let token = named.iter().find(|(known, _)| known == name).and_then(|(_, token)| token.as_ref());
        token.map_or("", |token| &token.content)
    };
    if vocabulary.model.is_some() {
        complete(class, stated, &mut vocabulary, &text);
    }
    let parts = parts_of(class, stated, vocabulary, &text);
    if class == Class::CodeLlama {
        for (name, token) in CODE_LLAMA {
            if !named.iter().any(|(known, _)| known == name) {
                named.push((name.to_string(), Some(AddedToken::special(token))));
            }
        }
    }
    let of_file = |part: &str| json.map_or(&Value::Null, |json| &json[part]);
    let mut json = json!({
        "version": "1.0",
        "truncation": of_file("truncation"),
        "padding": of_file("padding"),
        "added_tokens": [],
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": of_file("post_processor"),
        "decoder": parts.decoder,
    });
    json["model"] = parts.model;
    Built { class, json, named, extra }
}

/// The tokens between which Code Llama fills in.
const CODE_LLAMA: [(&str, &str); 5] = [
    ("prefix_token", "▁<PRE>"),
    ("middle_token", "▁<MID>"),
    ("suffix_token", "▁<SUF>"),
    ("eot_token", "▁<EOT>"),
    ("fill_token", "<FILL_ME>"),
];

fn named(class: Class, stated: &Stated, vocabulary: &Vocabulary) -> Vec<(String, Option<AddedToken>)> {
    // The general class has those of the model.
    let of_model = |name: &str| {
        let model = vocabulary.model.as_ref().filter(|_| class == Class::General)?;
        let token = match name {
            "bos_token" => &model.bos,
            "eos_token" => &model.eos,
            "unk_token" => &model.unknown,
            _ => return None,
        };
        (token.id >= 0).then(|| AddedToken::special(&token.text))
    };
    let default = |name: &str| {
        let of_class = class.special_tokens().iter().find(|(known, _)| *known == name);
        of_class.map(|(_, token)| AddedToken::special(*token)).or_else(|| of_model(name))
    };
    let named = NAMES.iter().map(|name| {
        let token = stated.named.get(name).cloned().unwrap_or_else(|| default(name));
        (name.to_string(), token)
    });
    named.chain(stated.own.iter().map(|(name, token)| (name.clone(), Some(token.clone())))).collect()
}

/// How many sentinels T5 has (`<extra_id_0>`).
fn sentinels(stated: &Stated) -> u64 {
    stated.number("extra_ids").unwrap_or(100)
}

fn extra(class: Class, stated: &Stated, vocabulary: &Vocabulary) -> Vec<AddedToken> {
    let mut additional = vocabulary.added().or_else(|| stated.additional.clone());
    if class == Class::T5 {
        let list = additional.get_or_insert_default();
        if !list.iter().any(|token| token.content.contains("<extra_id_")) {
            list.extend((0..sentinels(stated)).map(|n| AddedToken::special(format!("<extra_id_{n}>"))));
        }
    }
    if class == Class::CodeLlama {
        let tokens = CODE_LLAMA.iter().map(|(_, token)| AddedToken::special(*token));
        additional.get_or_insert_default().extend(tokens);
    }
    stated.extra.clone().or(additional).unwrap_or_default()
}

/// What transformers adds to the pieces of SentencePiece's models: their ids are not those that some models were trained with.
fn complete<'a>(class: Class, stated: &Stated, vocabulary: &mut Vocabulary, text: &impl Fn(&str) -> &'a str) {
    let pieces = vocabulary.vocab.as_array_mut();
    match (class, pieces) {
        (Class::T5, Some(pieces)) => {
            pieces.extend((0..sentinels(stated)).rev().map(|n| json!([format!("<extra_id_{n}>"), 0.0])));
        }
        (Class::XlmRoberta, Some(pieces)) => {
            let first = ["bos_token", "pad_token", "eos_token", "unk_token"].map(|name| json!([text(name), 0.0]));
            pieces.splice(..pieces.len().min(3), first);
            pieces.push(json!([text("mask_token"), 0.0]));
        }
        (Class::General, None) => {
            // Places that a model was trained without are given to tokens of later.
            let Some(ids) = vocabulary.vocab.as_object_mut() else { return };
            let by_id: Map<String, Value> = ids.iter().map(|(token, id)| (id.to_string(), json!(token))).collect();
            for (id, token) in &stated.added {
                let old = by_id.get(&id.to_string()).and_then(Value::as_str);
                if let Some(old) = old.filter(|old| *old != token.content && !ids.contains_key(&token.content)) {
                    ids.remove(old);
                    ids.insert(token.content.clone(), json!(id));
                }
            }
        }
        _ => {}
    }
}

fn parts_of<'a>(class: Class, stated: &Stated, vocabulary: Vocabulary, text: &impl Fn(&str) -> &'a str) -> Parts {
    let Vocabulary { vocab, merges, charsmap, model } = vocabulary;
    let flag = |name: &str, default: bool| stated.flag(name).unwrap_or(default);
    let prefix = |default: bool| flag("add_prefix_space", default);
    let charsmap = charsmap.as_deref().map(parts::precompiled);
    let bytes = Bpe { fuse_unknown: true, byte_fallback: true, ..Bpe::default() };
    match class {
        Class::Bert | Class::DistilBert => Parts {
            normalizer: parts::bert_normalizer(
                flag("do_lower_case", true),
                stated.flag("strip_accents"),
                flag("tokenize_chinese_chars", true),
            ),
            pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
            decoder: parts::wordpiece_decoder(),
            model: parts::wordpiece(vocab, text("unk_token")),
        },
        Class::Gpt2 | Class::Roberta | Class::GptNeoX => Parts {
            normalizer: if class == Class::GptNeoX { json!({ "type": "NFC" }) } else { Value::Null },
            pre_tokenizer: parts::byte_level(prefix(false), true, true),
            decoder: parts::byte_level(true, true, true),
            model: parts::bpe(vocab, merges, Bpe::default()),
        },
        Class::Qwen2 => Parts {
            normalizer: json!({ "type": "NFC" }),
            pre_tokenizer: parts::sequence(
                "pretokenizers",
                [parts::split(parts::QWEN2), parts::byte_level(prefix(false), false, true)],
            ),
            decoder: parts::byte_level(true, true, true),
            model: parts::bpe(vocab, merges, Bpe::default()),
        },
        Class::Llama => Parts {
            normalizer: Value::Null,
            pre_tokenizer: parts::metaspace(
                match (prefix(true), flag("legacy", false)) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                },
                false,
            ),
            decoder: parts::sentencepiece_decoder(prefix(true)),
            model: parts::bpe(vocab, merges, bytes),
        },
        Class::CodeLlama => Parts {
            normalizer: Value::Null,
            pre_tokenizer: parts::metaspace(if prefix(true) { "first" } else { "never" }, false),
            decoder: parts::sentencepiece_decoder(true),
            model: parts::bpe(vocab, merges, Bpe { unknown: Some(text("unk_token")), ..bytes }),
        },
        Class::Gemma => Parts {
            normalizer: parts::replace(" ", parts::SPACE),
            pre_tokenizer: json!({
                "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false,
            }),
            decoder: parts::sentencepiece_decoder(false),
            model: parts::bpe(vocab, merges, Bpe { unknown: Some(text("unk_token")), ..bytes }),
        },
        Class::T5 => Parts {
            normalizer: charsmap.unwrap_or_default(),
            pre_tokenizer: parts::words("always"),
            decoder: parts::metaspace("always", true),
            model: parts::unigram(vocab, Some(2), false),
        },
        Class::XlmRoberta => {
            let scheme = if prefix(true) { "always" } else { "never" };
            Parts {
                normalizer: charsmap.unwrap_or_default(),
                pre_tokenizer: parts::words(scheme),
                decoder: parts::metaspace(scheme, true),
                model: parts::unigram(vocab, Some(3), false),
            }
        }
        Class::General | Class::Other => {
            let fallback = model.as_ref().is_some_and(|model| model.byte_fallback);
            let unknown = model.as_ref().map(|model| &model.unknown);
            let spaces = parts::replace(" ", parts::SPACE);
            Parts {
                normalizer: parts::sequence("normalizers", charsmap.into_iter().chain([spaces])),
                pre_tokenizer: Value::Null,
                decoder: match fallback {
                    true => parts::sentencepiece_decoder(false),
                    false => parts::sequence("decoders", [parts::replace(parts::SPACE, " ")]),
                },
                model: match vocab.is_array() {
                    true => parts::unigram(vocab, unknown.and_then(|token| usize::try_from(token.id).ok()), fallback),
                    false => {
                        let unknown = unknown.map(|token| token.text.as_str());
                        parts::bpe(vocab, merges, Bpe { unknown, byte_fallback: fallback, ..bytes })
                    }
                },
            }
        }
    }
}

/// The whole `tokenizer.json`; what `tokenizer_config.json` should say besides; and whether special tokens changed the first.
pub(super) fn finish(built: Built, stated: &Stated) -> (Value, Map<String, Value>, bool) {
    let Built { class, mut json, named, extra } = built;
    let model = Ids::of(&json["model"]);
    let mut added = AddedVocabulary::default();
    // Of a tokenizer that is built anew, those in the file are among the stated ones.
    added.add(json["added_tokens"].as_array().into_iter().flatten().filter_map(AddedToken::from_json), &model);

    let mut tokens: Vec<AddedToken> = stated.added.values().cloned().collect();
    let specials = named.iter().filter_map(|(_, token)| token.as_ref()).chain(&extra);
    // Those that the files list are found as these say; of one that is named twice, the last counts.
    let listed: HashSet<String> = tokens.iter().map(|token| token.content.clone()).collect();
    let is_new = |token: &&AddedToken| !added.contains(&token.content) && !listed.contains(&token.content);
    tokens.extend(specials.clone().filter(is_new).cloned());
    for token in &mut tokens {
        token.special |= named.iter().any(|(_, named)| named.as_ref().is_some_and(|n| n.content == token.content));
    }
    added.add(tokens, &model);
    if class == Class::Qwen2 {
        added.add(specials.map(|token| AddedToken::special(&token.content)), &model);
    }

    let name = |name: &str| {
        let token = named.iter().find(|(known, _)| known == name)?.1.as_ref()?;
        Some((added.id(&token.content, &model)?, token.content.as_str()))
    };
    let post_processor = post_processor(class, stated, &json["post_processor"], &name);
    let added = added.json();
    let changed = json["added_tokens"] != added || json["post_processor"] != post_processor;
    let besides = besides(class, &named, &json);
    json["added_tokens"] = added;
    json["post_processor"] = post_processor;
    (json, besides, changed)
}

/// What puts special tokens around texts: the class's own way, or that of the file unless the config says whether bos and eos are added.
fn post_processor<'a>(
    class: Class,
    stated: &Stated,
    of_file: &Value,
    name: &impl Fn(&str) -> Option<(usize, &'a str)>,
) -> Value {
    let flag = |name: &str| stated.flag(name).unwrap_or(true);
    match class {
        Class::Bert | Class::DistilBert => {
            return template::around(name("cls_token"), name("sep_token"), Pair::Continued, 1);
        }
        Class::Roberta => {
            if let (Some(cls), Some(sep)) = (name("cls_token"), name("sep_token")) {
                let prefix = stated.flag("add_prefix_space").unwrap_or(false);
                return parts::roberta_processing(cls, sep, flag("trim_offsets"), prefix);
            }
        }
        Class::T5 => {
            let eos = name("eos_token").map(|(id, _)| (id, "</s>"));
            return template::around(None, eos, Pair::Continued, 0);
        }
        Class::XlmRoberta => {
            return template::around(name("bos_token"), name("eos_token"), Pair::Separated, 0);
        }
        _ => {}
    }
    let bos = stated.add_bos.or((class == Class::CodeLlama).then_some(true));
    let is_said = bos.is_some() || stated.add_eos.is_some() || class == Class::GptNeoX;
    if !is_said && !of_file.is_null() {
        return of_file.clone();
    }
    let (bos, eos) = (bos.unwrap_or(false), stated.add_eos.unwrap_or(false));
    let wanted = |wanted: bool, token: &str| name(token).filter(|_| wanted);
    match (wanted(bos, "bos_token"), wanted(eos, "eos_token")) {
        (None, None) => Value::Null,
        (bos, eos) => template::around(bos, eos, Pair::Again, 1),
    }
}

/// What a class says where `tokenizer_config.json` does not.
fn besides(class: Class, named: &[(String, Option<AddedToken>)], json: &Value) -> Map<String, Value> {
    let mut besides = Map::new();
    for (name, token) in named.iter().filter(|(name, _)| NAMES.contains(&name.as_str())) {
        if let Some(token) = token {
            besides.insert(name.clone(), json!(token.content));
        }
    }
    for (part, side) in [("padding", "padding_side"), ("truncation", "truncation_side")] {
        if let Some(direction) = json[part]["direction"].as_str() {
            besides.insert(side.into(), json!(direction.to_lowercase()));
        }
    }
    if class.pads_left() {
        besides.entry("padding_side").or_insert(json!("left"));
    }
    besides.insert("model_input_names".into(), json!(class.inputs()));
    besides
}
