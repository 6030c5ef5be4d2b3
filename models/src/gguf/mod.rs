//! GGUF, the one-file format of llama.cpp: container, names, config and tokenizer.
//!
//! In goes a `.gguf` file. [`Gguf`] is the checked container. From it come the same things that a Hugging Face folder holds:
//! [`checkpoint`] gives the tensors under Hugging Face names, [`config_json`] and [`generation_config_json`] what `config.json`
//! and `generation_config.json` would say, and [`tokenizer()`] a `tokenizer.json` with its config. So nothing after this module
//! knows where a model came from.

mod config;
mod container;
mod metadata;
mod names;
mod rope_freqs;
mod tokenizer;

pub use config::{config_json, generation_config_json};
pub use container::{Gguf, TensorInfo};
pub use metadata::{MetaValue, Metadata};
pub use names::checkpoint;
pub use tokenizer::{GgufTokenizer, tokenizer};

use crate::{Error, Result};

/// The architectures (`general.architecture`) whose names and metadata are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `llama`: Llama and what is shaped like it (SmolLM2, Mistral without a window, …).
    Llama,
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
    /// `gptneox`.
    GptNeoX,
}

impl Architecture {
    /// All of them, each with llama.cpp's name, transformers' `model_type`, and the model class.
    #[rustfmt::skip]
    const ALL: [(Architecture, &str, &str, &str); 7] = [
        (Architecture::Llama,   "llama",   "llama",    "LlamaForCausalLM"),
        (Architecture::Qwen2,   "qwen2",   "qwen2",    "Qwen2ForCausalLM"),
        (Architecture::Qwen3,   "qwen3",   "qwen3",    "Qwen3ForCausalLM"),
        (Architecture::SmolLm3, "smollm3", "smollm3",  "SmolLM3ForCausalLM"),
        (Architecture::Olmo2,   "olmo2",   "olmo2",    "Olmo2ForCausalLM"),
        (Architecture::Phi3,    "phi3",    "phi3",     "Phi3ForCausalLM"),
        (Architecture::GptNeoX, "gptneox", "gpt_neox", "GPTNeoXForCausalLM"),
    ];

    /// Reads `general.architecture`.
    ///
    /// # Errors
    /// [`Error::UnsupportedGguf`] for any other one, [`Error::CorruptGguf`] if the key is missing.
    pub fn of(gguf: &Gguf) -> Result<Architecture> {
        let found = gguf.metadata.string("general.architecture").map_err(|p| gguf.corrupt(p))?;
        let Some(found) = found else {
            return Err(gguf.corrupt("it lacks the metadata key `general.architecture`".to_string()));
        };
        Self::ALL.iter().find(|(_, key, ..)| *key == found).map(|(architecture, ..)| *architecture).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(_, key, ..)| *key).collect();
            gguf.unsupported(format!(
                "its architecture is `{found}`; from GGUF, kiln supports {}. Use the model's safetensors folder",
                known.join(", ")
            ))
        })
    }

    /// The prefix of the architecture's metadata keys.
    pub fn key(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What transformers calls it.
    pub fn model_type(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// The class of the model in transformers.
    pub fn class(self) -> &'static str {
        Self::ALL[self as usize].3
    }
}

impl Gguf {
    pub(crate) fn corrupt(&self, problem: String) -> Error {
        Error::CorruptGguf { path: self.path().to_path_buf(), problem }
    }

    pub(crate) fn unsupported(&self, problem: String) -> Error {
        Error::UnsupportedGguf { path: self.path().to_path_buf(), problem }
    }
}
