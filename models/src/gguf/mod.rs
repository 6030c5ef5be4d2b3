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
}

impl Architecture {
    /// Reads `general.architecture`.
    ///
    /// # Errors
    /// [`Error::UnsupportedGguf`] for any other one, [`Error::CorruptGguf`] if the key is missing.
    pub fn of(gguf: &Gguf) -> Result<Architecture> {
        match gguf.metadata.string("general.architecture").map_err(|p| gguf.corrupt(p))? {
            Some("llama") => Ok(Architecture::Llama),
            Some("qwen2") => Ok(Architecture::Qwen2),
            Some(other) => Err(gguf.unsupported(format!(
                "its architecture is `{other}`; from GGUF, kiln supports llama and qwen2. Use the model's safetensors folder"
            ))),
            None => Err(gguf.corrupt("it lacks the metadata key `general.architecture`".to_string())),
        }
    }

    /// The prefix of the architecture's metadata keys.
    pub fn key(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
        }
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
