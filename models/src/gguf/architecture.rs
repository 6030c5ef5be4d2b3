//! The architectures that a GGUF file may name.

use super::Gguf;
use crate::Result;

/// The architectures (`general.architecture`) whose names and metadata are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `llama`: Llama and what is shaped like it (SmolLM2, …). llama.cpp's converter leaves Mistral's window out, so that Mistral is Llama
    /// here too.
    Llama,
    /// `llama` with a window.
    Mistral,
    /// `qwen2`.
    Qwen2,
    /// `qwen3`.
    Qwen3,
    /// `smollm3`.
    SmolLm3,
    /// `olmo2`.
    Olmo2,
    /// `phi3`.
    Phi3,
    /// `gemma2`.
    Gemma2,
    /// `gemma3`, the text model.
    Gemma3,
    /// `gptneox`.
    GptNeoX,
    /// `gpt2`.
    Gpt2,
    /// `bert`: BERT, and RoBERTa and XLM-RoBERTa, of whose position embeddings llama.cpp's converter leaves out what comes before the
    /// first token's.
    Bert,
    /// `bert` without token types.
    DistilBert,
    /// `modern-bert`.
    ModernBert,
    /// `t5`.
    T5,
}

/// Each with llama.cpp's name, transformers' `model_type`, and the model class. Of encoders there is the body alone: the converter leaves
/// most heads out.
#[rustfmt::skip]
const ALL: [(Architecture, &str, &str, &str); 15] = [
    (Architecture::Llama,      "llama",       "llama",       "LlamaForCausalLM"),
    (Architecture::Mistral,    "llama",       "mistral",     "MistralForCausalLM"),
    (Architecture::Qwen2,      "qwen2",       "qwen2",       "Qwen2ForCausalLM"),
    (Architecture::Qwen3,      "qwen3",       "qwen3",       "Qwen3ForCausalLM"),
    (Architecture::SmolLm3,    "smollm3",     "smollm3",     "SmolLM3ForCausalLM"),
    (Architecture::Olmo2,      "olmo2",       "olmo2",       "Olmo2ForCausalLM"),
    (Architecture::Phi3,       "phi3",        "phi3",        "Phi3ForCausalLM"),
    (Architecture::Gemma2,     "gemma2",      "gemma2",      "Gemma2ForCausalLM"),
    (Architecture::Gemma3,     "gemma3",      "gemma3_text", "Gemma3ForCausalLM"),
    (Architecture::GptNeoX,    "gptneox",     "gpt_neox",    "GPTNeoXForCausalLM"),
    (Architecture::Gpt2,       "gpt2",        "gpt2",        "GPT2LMHeadModel"),
    (Architecture::Bert,       "bert",        "bert",        "BertModel"),
    (Architecture::DistilBert, "bert",        "distilbert",  "DistilBertModel"),
    (Architecture::ModernBert, "modern-bert", "modernbert",  "ModernBertModel"),
    (Architecture::T5,         "t5",          "t5",          "T5ForConditionalGeneration"),
];

impl Architecture {
    /// Reads `general.architecture`, and what tells apart the architectures that share a name.
    ///
    /// # Errors
    /// [`Error::UnsupportedGguf`](crate::Error::UnsupportedGguf) for any other one,
    /// [`Error::CorruptGguf`](crate::Error::CorruptGguf) if the key is missing.
    pub fn of(gguf: &Gguf) -> Result<Architecture> {
        let found = gguf.metadata.string("general.architecture").map_err(|p| gguf.corrupt(p))?;
        let Some(found) = found else {
            return Err(gguf.corrupt("it lacks the metadata key `general.architecture`".to_string()));
        };
        let Some((architecture, ..)) = ALL.iter().find(|(_, key, ..)| *key == found) else {
            let mut known: Vec<&str> = ALL.iter().map(|(_, key, ..)| *key).collect();
            known.dedup();
            return Err(gguf.unsupported(format!(
                "its architecture is `{found}`; from GGUF, kiln supports {}. Use the model's safetensors folder",
                known.join(", ")
            )));
        };
        let window = gguf.metadata.unsigned("llama.attention.sliding_window").map_err(|p| gguf.corrupt(p))?;
        Ok(match architecture {
            Architecture::Llama if window.is_some_and(|window| window > 0) => Architecture::Mistral,
            Architecture::Bert if gguf.tensor("token_types.weight").is_none() => Architecture::DistilBert,
            other => *other,
        })
    }

    /// The prefix of the architecture's metadata keys.
    pub fn key(self) -> &'static str {
        ALL[self as usize].1
    }

    /// What transformers calls it.
    pub fn model_type(self) -> &'static str {
        ALL[self as usize].2
    }

    /// The class of the model in transformers.
    pub fn class(self) -> &'static str {
        ALL[self as usize].3
    }
}
