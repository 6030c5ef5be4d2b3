//! What is wrong with a `tokenizer.json` that the library does not take, in the file's words: the library says at best that a part fits no
//! form that it knows.

use super::TextError;
use kiln_core::json::{from_slice, kind, shown};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::utils::SysRegex;
use tokenizers::{DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

/// Whether a value is of a kind.
type Fits = fn(&Value) -> bool;

/// The parts that may be left out; else they are objects.
const PARTS: [&str; 6] = ["truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"];

/// Fields that are the same kind of value wherever they stand.
#[rustfmt::skip]
const FIELDS: &[(&str, Fits, &[&str])] = &[
    ("true or false",          Value::is_boolean, &["add_prefix_space", "trim_offsets", "use_regex", "lowercase", "strip_accents", "clean_text",
                                                    "handle_chinese_chars", "fuse_unk", "byte_fallback", "ignore_merges", "invert", "special",
                                                    "individual_digits", "split", "cleanup", "strip_left", "strip_right", "single_word",
                                                    "lstrip", "rstrip", "normalized"]),
    ("a text",                 Value::is_string,  &["version", "type", "replacement", "prepend_scheme", "behavior", "prefix", "suffix",
                                                    "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "prepend", "direction",
                                                    "pad_token", "word_delimiter_token", "content"]),
    ("a number",               Value::is_number,  &["dropout", "max_length", "stride", "pad_id", "pad_type_id", "max_input_chars_per_word",
                                                    "unk_id", "start", "stop", "type_id"]),
    ("a list",                 Value::is_array,   &["added_tokens", "merges", "single", "pair", "normalizers", "pretokenizers", "processors",
                                                    "decoders"]),
    ("an object",              Value::is_object,  &["special_tokens", "model"]),
    ("an object or a list",    is_vocabulary,     &["vocab"]),
];

fn is_vocabulary(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// What is wrong with it; `None` where the library says it better.
pub(super) fn of(json: &[u8]) -> Option<TextError> {
    let file: Value = from_slice(json).ok()?;
    let wrong = |text: String| Some(TextError::Parse(text));
    let Some(fields) = file.as_object() else { return wrong(format!("expected a JSON object, found {}", kind(&file))) };
    if !fields.contains_key("model") {
        return wrong("`model`: expected an object, found nothing".into());
    }
    for part in PARTS {
        if let Some(found) = fields.get(part).filter(|found| !found.is_object() && !found.is_null()) {
            return wrong(format!("`{part}`: expected an object or null, found {}", shown(found)));
        }
    }
    if let Some(found) = fields.get("model").filter(|found| !found.is_object()) {
        return wrong(format!("`model`: expected an object, found {}", shown(found)));
    }
    let regex = ["normalizer", "pre_tokenizer", "decoder"].iter().find_map(|part| unknown_regex(fields.get(*part)?));
    if regex.is_some() {
        return regex;
    }
    for (name, value) in fields {
        if let Some(problem) = field(name, name, value) {
            return wrong(problem);
        }
    }
    for (name, fits) in LIBRARY {
        let Some(part) = fields.get(name).filter(|part| !part.is_null() && !fits(part)) else { continue };
        match part.get("type").and_then(Value::as_str) {
            // What is wrong with its tokens, the library says.
            Some("BPE" | "WordPiece" | "Unigram" | "WordLevel") if name == "model" => {}
            Some(kind) => {
                return wrong(format!(
                    "`{name}` of the type `{kind}`: expected one that the Rust library `tokenizers` has, with all its fields, found {}",
                    shown(part)
                ));
            }
            None => return wrong(format!("`{name}`: expected an object with a `type`, found {}", shown(part))),
        }
    }
    None
}

/// What the library takes.
const LIBRARY: [(&str, Fits); 5] = [
    ("normalizer", |part| NormalizerWrapper::deserialize(part).is_ok()),
    ("pre_tokenizer", |part| PreTokenizerWrapper::deserialize(part).is_ok()),
    ("post_processor", |part| PostProcessorWrapper::deserialize(part).is_ok()),
    ("decoder", |part| DecoderWrapper::deserialize(part).is_ok()),
    ("model", |part| ModelWrapper::deserialize(part).is_ok()),
];

/// The first field of another kind than it has wherever it stands. A vocabulary's words are no fields.
fn field(path: &str, name: &str, value: &Value) -> Option<String> {
    let row = FIELDS.iter().find(|(.., names)| names.contains(&name));
    if let Some((expected, fits, _)) = row
        && !value.is_null()
        && !fits(value)
    {
        return Some(format!("`{path}`: expected {expected}, found {}", shown(value)));
    }
    match value {
        _ if ["vocab", "merges", "special_tokens"].contains(&name) => None,
        Value::Object(fields) => fields.iter().find_map(|(name, value)| field(&format!("{path}.{name}"), name, value)),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| field(&format!("{path}[{i}]"), "", item)),
        _ => None,
    }
}

/// The first expression of a part that the engine does not take.
fn unknown_regex(part: &Value) -> Option<TextError> {
    match part {
        Value::Object(fields) => {
            let pattern = fields.get("Regex").and_then(Value::as_str);
            let refused = pattern.and_then(|pattern| Some((pattern, SysRegex::new(pattern).err()?)));
            let refused =
                refused.map(|(pattern, e)| TextError::Regex { pattern: pattern.into(), reason: e.to_string() });
            refused.or_else(|| fields.values().find_map(unknown_regex))
        }
        Value::Array(parts) => parts.iter().find_map(unknown_regex),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::super::fixtures::byte_level_json;
    use serde_json::{Value, json};

    /// What is said of the fixture with a value at a path.
    fn said(path: &str, value: Value) -> String {
        let mut json: Value = serde_json::from_str(&byte_level_json()).unwrap();
        *json.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_value_of_another_kind_is_named_with_its_place() {
        for (path, name, wrong) in [
            ("/pre_tokenizer", "pre_tokenizer", vec![json!(3), json!("x"), json!([]), json!(true), json!({"a": 1})]),
            ("/decoder", "decoder", vec![json!(2.5), json!([1])]),
            ("/model", "model", vec![json!(null), json!("x"), json!({"type": "New"}), json!({"a": 1})]),
            ("/model/vocab", "model.vocab", vec![json!(3), json!("x")]),
            ("/model/merges", "model.merges", vec![json!(3), json!({"a": 1})]),
            ("/model/type", "model", vec![json!("Other"), json!(3)]),
            ("/added_tokens", "added_tokens", vec![json!(3), json!({"a": 1})]),
            ("/added_tokens/0/special", "added_tokens[0].special", vec![json!("yes"), json!(1)]),
            ("/added_tokens/0/content", "added_tokens[0].content", vec![json!(5)]),
            ("/pre_tokenizer/add_prefix_space", "pre_tokenizer.add_prefix_space", vec![json!("no"), json!(0)]),
        ] {
            for value in wrong {
                let message = said(path, value.clone());
                let named = message.starts_with(&format!("tokenizer.json: `{name}"));
                assert!(
                    named && message.contains("expected ") && message.contains("found "),
                    "{path} {value}: {message}"
                );
                for word in ["untagged", "struct", "variant", "invalid type", "line 1"] {
                    assert!(!message.contains(word), "{path} {value}: {message}");
                }
            }
        }
        for (text, found) in
            [("[]", "a list"), ("null", "null"), ("\"x\"", "a string"), ("NaN", "a string"), ("{}", "nothing")]
        {
            let message = Tokenizer::from_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains("expected ") && message.contains(&format!("found {found}")), "{text}: {message}");
        }
    }

    #[test]
    fn an_expression_that_the_engine_lacks_is_named() {
        let with = |part: &str, value: serde_json::Value| {
            let mut json: serde_json::Value = serde_json::from_str(&byte_level_json()).unwrap();
            json[part] = value;
            Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_err().to_string()
        };
        let split = |pattern: &str| {
            let split = serde_json::json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            serde_json::json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, split]})
        };
        // Sound for Oniguruma: a subroutine call, and a property's negation within.
        for pattern in [r"(?<word>\p{L}+) \g<word>", r"\p{^L}+"] {
            let message = with("pre_tokenizer", split(pattern));
            assert!(message.contains(&format!("`{pattern}`")) && message.contains("fancy-regex"), "{message}");
        }
        let replace = serde_json::json!({"type": "Replace", "pattern": {"Regex": "(?<n>a)\\g<n>"}, "content": ""});
        assert!(with("normalizer", replace.clone()).contains("`(?<n>a)\\g<n>`"));
        assert!(with("decoder", serde_json::json!({"type": "Sequence", "decoders": [replace]})).contains("`(?<n>a)"));
        // Another fault has another message.
        assert!(with("pre_tokenizer", serde_json::json!({"type": "Nothing"})).contains("`pre_tokenizer`"));
    }
}
