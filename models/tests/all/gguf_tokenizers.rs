//! Tokenizers as llama.cpp's converter writes them, against SentencePiece and transformers: tests/goldens/gguf_tokenizers.py.

use crate::support::gguf_writer::*;
use crate::support::{assert_says, folder, golden};
use kiln_models::gguf::{self, Gguf, GgufTokenizer};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(golden("gguf_tokenizers.json")).unwrap()).unwrap()
}

/// A golden vocabulary as a file.
fn written(case: &Value, kind: &str) -> GgufWriter {
    let list = |field: &str| case[field].as_array().unwrap().iter();
    let tokens: Vec<&str> = list("tokens").map(|t| t.as_str().unwrap()).collect();
    let types = list("types").map(|t| t.as_i64().unwrap() as i32).collect();
    let mut writer = GgufWriter::new("llama")
        .meta("tokenizer.ggml.model", text(kind))
        .meta("tokenizer.ggml.tokens", texts(&tokens))
        .meta("tokenizer.ggml.token_type", Meta::I32s(types));
    if case["scores"].is_array() {
        let scores = list("scores").map(|s| s.as_f64().unwrap() as f32).collect();
        writer = writer.meta("tokenizer.ggml.scores", Meta::F32s(scores));
    }
    if case["charsmap"].is_array() {
        let bytes: Vec<u8> = list("charsmap").map(|b| b.as_u64().unwrap() as u8).collect();
        let array = [&0u32.to_le_bytes()[..], &(bytes.len() as u64).to_le_bytes(), &bytes].concat();
        writer = writer.meta("tokenizer.ggml.precompiled_charsmap", Meta::Raw(9, array));
    }
    writer
}

fn llama(name: &str) -> GgufWriter {
    let case = &goldens()[name];
    let writer = written(case, "llama")
        .meta("tokenizer.ggml.bos_token_id", Meta::U32(1))
        .meta("tokenizer.ggml.eos_token_id", Meta::U32(2));
    match case["prefix"].as_bool() {
        Some(true) => writer,
        _ => writer.meta("tokenizer.ggml.add_space_prefix", Meta::Bool(false)),
    }
}

fn t5() -> GgufWriter {
    written(&goldens()["t5"], "t5").meta("tokenizer.ggml.eos_token_id", Meta::U32(1))
}

fn read(writer: &GgufWriter) -> kiln_models::Result<GgufTokenizer> {
    let folder = folder();
    let path = folder.path().join("model.gguf");
    writer.write(&path);
    gguf::tokenizer(&Gguf::open(path).unwrap()).map(Option::unwrap)
}

fn tokenizer(writer: &GgufWriter) -> Tokenizer {
    read(writer).unwrap().tokenizer_json.to_string().parse().unwrap()
}

fn assert_ids(name: &str, tokenizer: &Tokenizer) {
    for case in goldens()[name]["cases"].as_array().unwrap() {
        let got = tokenizer.encode(case[0].as_str().unwrap(), true).unwrap();
        assert_eq!(json!(got.get_ids()), case[1], "{name}: {:?}", case[0]);
    }
}

#[test]
fn sentencepiece_with_scores_gives_its_ids() {
    for name in ["llama", "gemma"] {
        let tokenizer = tokenizer(&llama(name));
        assert_ids(name, &tokenizer);
        for case in goldens()[name]["cases"].as_array().unwrap() {
            let ids: Vec<u32> = serde_json::from_value(case[1].clone()).unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), case[0].as_str().unwrap(), "{name}");
        }
    }
    let both = tokenizer(&llama("llama").meta("tokenizer.ggml.add_eos_token", Meta::Bool(true)));
    assert_eq!(both.encode("text</s>", true).unwrap().get_ids().iter().filter(|id| **id == 2).count(), 2);
}

#[test]
fn phi3_takes_the_spaces_after_its_special_tokens() {
    let writer = llama("llama");
    let ids = |writer: &GgufWriter| tokenizer(writer).encode("</s> \n text", false).unwrap().get_ids().to_vec();
    let spaces = ids(&writer).len();
    let phi3 = writer.set("general.architecture", text("phi3"));
    assert_eq!(spaces - ids(&phi3).len(), 3, "two spaces and a new line");
}

#[test]
fn user_defined_tokens_are_found_in_the_text_itself() {
    let mut case = goldens()["gemma"].clone();
    // As the converter writes Gemma's runs of spaces.
    case["tokens"][329] = json!("  ");
    case["types"][329] = json!(4);
    let writer = written(&case, "llama").meta("tokenizer.ggml.bos_token_id", Meta::U32(1));
    let tokenizer = tokenizer(&writer.meta("tokenizer.ggml.add_space_prefix", Meta::Bool(false)));
    let ids = tokenizer.encode("a  b", false).unwrap().get_ids().to_vec();
    assert_eq!(ids[1], 329);
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a  b");
}

#[test]
fn unigram_gives_its_ids() {
    let one = tokenizer(&t5());
    assert_ids("t5", &one);
    let pair = |tokenizer: &Tokenizer| tokenizer.encode(("the", "the"), true).unwrap().get_ids().to_vec();
    let the = one.encode("the", false).unwrap().get_ids().to_vec();
    assert_eq!(pair(&one), [&the[..], &[1], &the, &[1]].concat());
    // XLM-RoBERTa has both, and the end twice between two texts.
    let roberta =
        t5().meta("tokenizer.ggml.add_bos_token", Meta::Bool(true)).meta("tokenizer.ggml.bos_token_id", Meta::U32(0));
    assert_eq!(pair(&tokenizer(&roberta)), [&[0][..], &the, &[1, 1], &the, &[1]].concat());
    let config = read(&t5()).unwrap().tokenizer_config;
    assert_eq!((&config["unk_token"], &config["eos_token"]), (&json!("<unk>"), &json!("</s>")));
}

#[test]
fn wordpiece_gives_its_ids() {
    for name in ["bert", "bert-cased"] {
        let case = &goldens()[name];
        let by_text = written(case, "bert");
        let named = by_text
            .clone()
            .meta("tokenizer.ggml.cls_token_id", Meta::U32(2))
            .meta("tokenizer.ggml.seperator_token_id", Meta::U32(3))
            .meta("tokenizer.ggml.unknown_token_id", Meta::U32(1))
            .meta("tokenizer.ggml.mask_token_id", Meta::U32(4));
        for writer in [&by_text, &named] {
            let tokenizer = tokenizer(writer);
            assert_ids(name, &tokenizer);
            let pair = tokenizer.encode(("the text", "small words"), true).unwrap();
            assert_eq!(json!([pair.get_ids(), pair.get_type_ids()]), case["pair"]);
            assert_eq!(tokenizer.decode(&[5, 7, 8], true).unwrap(), "the words");
        }
        let config = read(&named).unwrap().tokenizer_config;
        assert_eq!((&config["mask_token"], &config["cls_token"]), (&json!("[MASK]"), &json!("[CLS]")));
    }
}

#[test]
fn words_are_split_where_their_models_split_them() {
    // Every letter is a token, and so is every pair of letters that merges.
    let tokens = ["a", "b", "A", "B", "1", "'", "s", "Ġ", "aA", "Ab", "11", "111", "'s", "a'"];
    let merges = ["a A", "A b", "1 1", "11 1", "a '", "' s"];
    let ids = |pre: &str, string: &str| {
        let writer = GgufWriter::new("llama")
            .meta("tokenizer.ggml.model", text("gpt2"))
            .meta("tokenizer.ggml.pre", text(pre))
            .meta("tokenizer.ggml.tokens", texts(&tokens))
            .meta("tokenizer.ggml.merges", texts(&merges));
        let encoding = tokenizer(&writer).encode(string, false).unwrap();
        encoding.get_tokens().join("|")
    };
    // Large letters begin a word in newer ones; digits stand alone, in threes, or together.
    for (pre, want) in [
        ("gpt-2", "aA|b|11|111"),
        ("olmo", "aA|b|11|111"),
        ("dbrx", "aA|b|111|11"),
        ("smollm", "aA|b|1|1|1|1|1"),
        ("tekken", "a|Ab|1|1|1|1|1"),
        ("gpt-4o", "a|Ab|111|11"),
    ] {
        assert_eq!(ids(pre, "aAb11111"), want, "{pre}");
    }
    assert_eq!((ids("tekken", "a's"), ids("gpt-4o", "a's")), ("a|'s".to_string(), "a'|s".to_string()));
}

/// A golden vocabulary with more tokens behind it, each with its type.
fn with_more(case: &Value, kind: &str, more: &[(&str, i64)]) -> GgufWriter {
    let mut case = case.clone();
    for (token, kind) in more {
        case["tokens"].as_array_mut().unwrap().push(json!(token));
        case["types"].as_array_mut().unwrap().push(json!(kind));
        // With the score of the equal one.
        let equal = case["tokens"].as_array().unwrap().iter().position(|t| t == token).unwrap();
        if let Some(scores) = case["scores"].as_array_mut() {
            scores.push(scores[equal].clone());
        }
    }
    written(&case, kind)
}

#[test]
fn a_token_that_is_there_twice_has_two_ids() {
    let goldens = goldens();
    let tokens =
        |name: &str| goldens[name]["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_string());
    for (name, kind) in [("llama", "llama"), ("gemma", "llama"), ("t5", "t5"), ("bert", "bert"), ("bert-cased", "bert")]
    {
        let case = &goldens[name];
        // An ordinary one in the middle, and the last.
        let all: Vec<String> = tokens(name).collect();
        let ordinary = (all.len() / 2..).find(|id| case["types"][*id] == json!(1)).unwrap();
        let writer = with_more(case, kind, &[(&all[ordinary], 1)]);
        let writer = match kind {
            "bert" => writer,
            _ => writer.meta("tokenizer.ggml.eos_token_id", Meta::U32(if kind == "t5" { 1 } else { 2 })),
        };
        let read = read(&writer).unwrap();
        let tokenizer: Tokenizer = read.tokenizer_json.to_string().parse().unwrap();
        // As in llama.cpp, text becomes the last; the other one is known as the same.
        let text = tokenizer.id_to_token(all.len() as u32).expect(name);
        assert_eq!(tokenizer.token_to_id(&text), Some(all.len() as u32), "{name}");
        assert_eq!(read.tokenizer_config["same_tokens"], json!({ ordinary.to_string(): all.len() }), "{name}");
        let ids = |t: &Tokenizer, text: &str| t.encode(text, false).unwrap().get_ids().to_vec();
        let plain = self::tokenizer(&written(case, kind).meta("tokenizer.ggml.eos_token_id", Meta::U32(1)));
        let as_before = |id: u32| if id as usize == all.len() { ordinary as u32 } else { id };
        let words = format!("the text of {text} words");
        let got: Vec<u32> = ids(&tokenizer, &words).into_iter().map(as_before).collect();
        assert_eq!(got, ids(&plain, &words), "{name}");
    }
}

#[test]
fn of_equal_tokens_the_special_one_counts_and_before_it_the_one_with_a_name() {
    let read = |more: &[(&str, i64)]| {
        let writer = GgufWriter::new("llama")
            .meta("tokenizer.ggml.model", text("gpt2"))
            .meta("tokenizer.ggml.pre", text("gpt-2"))
            .meta("tokenizer.ggml.merges", texts(&["a b"]))
            .meta("tokenizer.ggml.eos_token_id", Meta::U32(0));
        let all: Vec<(&str, i64)> = [("</s>", 3), ("a", 1), ("b", 1), ("ab", 1)].iter().chain(more).copied().collect();
        let tokens: Vec<&str> = all.iter().map(|(token, _)| *token).collect();
        let types = all.iter().map(|(_, kind)| *kind as i32).collect();
        let writer =
            writer.meta("tokenizer.ggml.tokens", texts(&tokens)).meta("tokenizer.ggml.token_type", Meta::I32s(types));
        self::read(&writer).unwrap()
    };
    let ids = |t: &GgufTokenizer, text: &str| {
        let tokenizer: Tokenizer = t.tokenizer_json.to_string().parse().unwrap();
        tokenizer.encode(text, false).unwrap().get_ids().to_vec()
    };
    let same = |t: &GgufTokenizer| t.tokenizer_config["same_tokens"].clone();
    let plain = read(&[]);
    assert_eq!((ids(&plain, "ab</s>"), same(&plain)), (vec![3, 0], Value::Null));
    let ordinary = read(&[("ab", 1), ("b", 1)]);
    assert_eq!((ids(&ordinary, "ab</s>b"), same(&ordinary)), (vec![4, 0, 5], json!({ "2": 5, "3": 4 })));
    // A special one is looked for before a text is split, wherever it stands.
    let special = read(&[("<x>", 4), ("<x>", 1), ("</s>", 3)]);
    assert_eq!((ids(&special, "a<x></s>"), same(&special)), (vec![1, 4, 0], json!({ "5": 4, "6": 0 })));
}

#[test]
fn bad_vocabularies_are_named() {
    let says = |writer: GgufWriter, says: &[&str]| assert_says(read(&writer), says);
    let scores = "tokenizer.ggml.scores";
    says(llama("llama").without(scores), &["lacks the metadata key", scores]);
    says(llama("llama").set(scores, Meta::F32s(vec![0.0])), &[scores, "1 entries for 330 tokens"]);
    says(t5().set(scores, Meta::F32s(vec![f32::NAN; 60])), &[scores, "finite numbers"]);
    says(t5().set("tokenizer.ggml.precompiled_charsmap", Meta::I32s(vec![300])), &["precompiled_charsmap", "bytes"]);
    let mut bert = goldens()["bert"].clone();
    bert["tokens"][2] = json!("▁cls");
    says(written(&bert, "bert"), &["no `[CLS]`", "`cls`"]);
    says(llama("llama").set("tokenizer.ggml.model", text("rwkv")), &["`rwkv`", "gpt2", "llama", "t5", "bert"]);
}
