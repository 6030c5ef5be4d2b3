//! Which of transformers' tokenizer classes a folder's tokenizer is of.

use super::names::{BPE, MERGES, SENTENCEPIECE, WORDS};
use serde_json::Value;

/// The classes that kiln's families come with. Names with and without `Fast` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `TokenizersBackend`, transformers' general class (`PreTrainedTokenizerFast` in older files): `tokenizer.json` as it is.
    General,
    /// A class that is not known here: as the general one, as far as there is a `tokenizer.json`.
    Other,
    Bert,
    DistilBert,
    CodeLlama,
    Gemma,
    Gpt2,
    GptNeoX,
    Llama,
    Qwen2,
    Roberta,
    T5,
    XlmRoberta,
}

/// By name, as far as names stand for a class of another name.
#[rustfmt::skip]
const NAMES: [(&str, Class); 26] = [
    ("BertTokenizer",        Class::Bert),
    ("ElectraTokenizer",     Class::Bert),
    ("LayoutLMTokenizer",    Class::Bert),
    ("LxmertTokenizer",      Class::Bert),
    ("MobileBertTokenizer",  Class::Bert),
    ("SqueezeBertTokenizer", Class::Bert),
    ("DistilBertTokenizer",  Class::DistilBert),
    ("CodeLlamaTokenizer",   Class::CodeLlama),
    ("GemmaTokenizer",       Class::Gemma),
    ("GPT2Tokenizer",        Class::Gpt2),
    ("GPTNeoXTokenizer",     Class::GptNeoX),
    ("LlamaTokenizer",       Class::Llama),
    ("Phi3Tokenizer",        Class::Llama),
    ("Qwen2Tokenizer",       Class::Qwen2),
    ("BartTokenizer",        Class::Roberta),
    ("LEDTokenizer",         Class::Roberta),
    ("LongformerTokenizer",  Class::Roberta),
    ("MvpTokenizer",         Class::Roberta),
    ("RobertaTokenizer",     Class::Roberta),
    ("T5Tokenizer",          Class::T5),
    ("XLMRobertaTokenizer",  Class::XlmRoberta),
    ("BloomTokenizer",       Class::General),
    ("PreTrainedTokenizer",  Class::General),
    ("PythonBackend",        Class::General),
    ("TokenizersBackend",    Class::General),
    ("MistralCommonBackend", Class::General),
];

/// The class of a model type, for the types that transformers gives one.
#[rustfmt::skip]
const REGISTERED: [(&str, Class); 19] = [
    ("bart",        Class::Roberta),
    ("bert",        Class::Bert),
    ("distilbert",  Class::Bert),
    ("electra",     Class::Bert),
    ("gemma2",      Class::Gemma),
    ("gemma3",      Class::Gemma),
    ("gemma3_text", Class::Gemma),
    ("gpt2",        Class::Gpt2),
    ("gpt_neox",    Class::GptNeoX),
    ("mistral",     Class::General),
    ("modernbert",  Class::General),
    ("mt5",         Class::T5),
    ("olmo2",       Class::General),
    ("phi3",        Class::General),
    ("qwen2",       Class::Qwen2),
    ("qwen3",       Class::Qwen2),
    ("roberta",     Class::Roberta),
    ("t5",          Class::T5),
    ("xlm-roberta", Class::XlmRoberta),
];

/// Types whose files often name a wrong class: the type's class is taken instead.
const OFTEN_WRONG: [&str; 3] = ["modernbert", "phi3", "qwen2"];

impl Class {
    fn of_name(name: &str) -> Class {
        NAMES.iter().find(|(known, _)| *known == name).map_or(Class::Other, |(_, class)| *class)
    }

    /// The class that transformers registers for a model's type.
    pub fn registered(model: &Value) -> Option<Class> {
        let model_type = model.get("model_type").and_then(Value::as_str)?;
        REGISTERED.iter().find(|(known, _)| *known == model_type).map(|(_, class)| *class)
    }

    /// The class that transformers' AutoTokenizer chooses: the one that `tokenizer_config.json` (`stated`) or `config.json` (`model`)
    /// names, but for types and names where it knows better.
    pub fn of_model(model: &Value, stated: Option<&str>, has_byte_level: bool) -> Class {
        let text = |name: &str| model.get(name).and_then(Value::as_str);
        let stated = stated.or_else(|| text("tokenizer_class"));
        let registered = Class::registered(model);
        let Some(name) = stated.map(|name| name.strip_suffix("Fast").unwrap_or(name)) else {
            return registered.unwrap_or(Class::General);
        };
        let class = Class::of_name(name);
        let often_wrong = text("model_type").is_some_and(|model_type| OFTEN_WRONG.contains(&model_type));
        // Llama 3's tokenizers call themselves LlamaTokenizer, which they are not.
        if name == "LlamaTokenizer" && has_byte_level && !often_wrong {
            return Class::General;
        }
        match registered {
            Some(Class::General) => Class::General,
            Some(registered) if often_wrong => registered,
            _ => class,
        }
    }

    /// The kind of model that a class builds; `None` for those that take what they find.
    pub fn model(self) -> Option<&'static str> {
        match self {
            Class::General | Class::Other => None,
            Class::Bert | Class::DistilBert => Some("WordPiece"),
            Class::T5 | Class::XlmRoberta => Some("Unigram"),
            _ => Some("BPE"),
        }
    }

    /// The files that hold the vocabulary where there is no `tokenizer.json`; of several models of SentencePiece, the first that is there.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Class::Other => &[],
            Class::Bert | Class::DistilBert => &[WORDS],
            Class::Gpt2 | Class::GptNeoX | Class::Qwen2 | Class::Roberta => &[BPE, MERGES],
            Class::T5 => &[SENTENCEPIECE, "spiece.model"],
            Class::XlmRoberta => &[SENTENCEPIECE, "sentencepiece.bpe.model"],
            Class::CodeLlama | Class::Gemma | Class::General | Class::Llama => &[SENTENCEPIECE],
        }
    }

    /// The special tokens that a class has where the files do not name them.
    pub fn special_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Class::General | Class::Other => &[],
            Class::Bert | Class::DistilBert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Class::CodeLlama | Class::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Class::Gemma => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Class::Gpt2 => {
                &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")]
            }
            Class::GptNeoX => &[
                ("unk_token", "<|endoftext|>"),
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|padding|>"),
            ],
            Class::Qwen2 => {
                &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
            }
            Class::Roberta | Class::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("sep_token", "</s>"),
                ("cls_token", "<s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Class::T5 => &[("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
        }
    }

    /// Whether a class says what the padding token is, or that there is none, and so leaves it to no `tokenizer.json`.
    pub fn names_padding(self) -> bool {
        !matches!(self, Class::CodeLlama | Class::General | Class::Llama | Class::Other)
    }

    /// Whether texts are padded on the left.
    pub fn pads_left(self) -> bool {
        matches!(self, Class::CodeLlama | Class::Gemma | Class::Llama)
    }

    /// The inputs that a model is given.
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            Class::Bert => &["input_ids", "token_type_ids", "attention_mask"],
            _ => &["input_ids", "attention_mask"],
        }
    }
}

/// Whether any part of a `tokenizer.json` works on bytes.
pub(super) fn has_byte_level(json: &Value) -> bool {
    fn within(part: &Value) -> bool {
        match part {
            Value::Object(fields) => {
                fields.get("type").is_some_and(|name| name == "ByteLevel") || fields.values().any(within)
            }
            Value::Array(parts) => parts.iter().any(within),
            _ => false,
        }
    }
    ["normalizer", "pre_tokenizer", "post_processor", "decoder"].iter().any(|part| json.get(part).is_some_and(within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Right values: `type(AutoTokenizer.from_pretrained(folder))` of transformers 5.23.
    #[test]
    fn the_class_is_the_one_that_transformers_takes() {
        let of =
            |model_type: &str, name: Option<&str>| Class::of_model(&json!({"model_type": model_type}), name, false);
        for (model_type, name, want) in [
            ("bert", None, Class::Bert),
            ("bert", Some("DistilBertTokenizerFast"), Class::DistilBert),
            ("bert", Some("PreTrainedTokenizerFast"), Class::General),
            ("bert", Some("BertJapaneseTokenizer"), Class::Other),
            ("electra", Some("ElectraTokenizerFast"), Class::Bert),
            ("gpt2", Some("BertTokenizer"), Class::Bert),
            ("llama", None, Class::General),
            ("llama", Some("LlamaTokenizerFast"), Class::Llama),
            ("llama", Some("CodeLlamaTokenizer"), Class::CodeLlama),
            ("mistral", Some("LlamaTokenizer"), Class::General),
            ("phi3", Some("LlamaTokenizer"), Class::General),
            ("qwen2", Some("PreTrainedTokenizerFast"), Class::Qwen2),
            ("qwen3", Some("PreTrainedTokenizerFast"), Class::General),
            ("olmo2", Some("GPT2Tokenizer"), Class::General),
            ("smollm3", Some("PreTrainedTokenizerFast"), Class::General),
            ("bart", Some("BartTokenizer"), Class::Roberta),
            ("modernbert", Some("BertTokenizer"), Class::General),
        ] {
            assert_eq!(of(model_type, name), want, "{model_type} {name:?}");
        }
        let llama = json!({"model_type": "llama"});
        assert_eq!(Class::of_model(&llama, Some("LlamaTokenizerFast"), true), Class::General);
        let named = json!({"model_type": "llama", "tokenizer_class": "LlamaTokenizer"});
        assert_eq!(Class::of_model(&named, None, false), Class::Llama);
    }
}
