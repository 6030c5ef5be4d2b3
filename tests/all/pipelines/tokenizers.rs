//! Tokenizers with the options of transformers' call.

use super::{goldens, list};
use crate::golden;
use kiln::{EncodeOptions, Encoding, Tokenizer};
use serde_json::{Value, json};

/// The encodings under the names of transformers' fields.
fn fields(encodings: &[Encoding], overflow: bool) -> Value {
    let all = |field: &dyn Fn(&Encoding) -> Value| encodings.iter().map(field).collect::<Value>();
    let mut fields = json!({
        "input_ids": all(&|e| json!(e.ids)),
        "token_type_ids": all(&|e| json!(e.type_ids)),
        "attention_mask": all(&|e| json!(e.attention_mask)),
        "special_tokens_mask": all(&|e| e.special.iter().map(|&s| u32::from(s)).collect()),
        "offset_mapping": all(&|e| json!(e.offsets)),
        "sequence_ids": all(&|e| json!(e.sequence_ids)),
        "word_ids": all(&|e| json!(e.word_ids)),
    });
    if overflow {
        fields["overflow_to_sample_mapping"] = all(&|e| json!(e.input));
    }
    fields
}

#[test]
fn tokenizers_are_as_transformers() {
    let goldens = goldens();
    let tokenizers = goldens["tokenizers"].as_object().expect("tokenizers");
    assert_eq!(tokenizers.len(), 4);
    for (name, cases) in tokenizers {
        let read = |file: &str| std::fs::read(golden("tokenizers").join(name).join(file)).expect(file);
        let tokenizer = Tokenizer::from_bytes(&read("tokenizer.json")).expect("parses");
        let tokenizer = tokenizer.with_config(&read("tokenizer_config.json")).expect("parses");
        for case in list(cases) {
            let mut options = case["options"].as_object().expect("options").clone();
            let are_words = options.remove("is_split_into_words").is_some();
            let options: EncodeOptions = serde_json::from_value(options.into()).expect("options");
            let place = format!("{name}, {} and {} with {}", case["texts"], case["pairs"], case["options"]);
            let got = if are_words {
                let words: Vec<Vec<String>> = serde_json::from_value(case["texts"].clone()).expect("words");
                tokenizer.encode_words(&words, &options)
            } else {
                let texts = list(&case["texts"]).iter().map(|t| t.as_str().expect("a text"));
                let pair = |i: usize| case["pairs"][i].as_str();
                let inputs: Vec<_> = texts.enumerate().map(|(i, text)| (text, pair(i))).collect();
                tokenizer.encode_batch(&inputs, &options)
            };
            let got = got.unwrap_or_else(|e| panic!("{place}: {e}"));
            let got = fields(&got, options.return_overflowing_tokens);
            for (field, want) in case["output"].as_object().expect("fields") {
                assert_eq!(&got[field], want, "{place}: {field}");
            }
        }
    }
}
