//! GGUF, the one-file format of llama.cpp: container, names, config and tokenizer.
//!
//! In goes a `.gguf` file. [`Gguf`] is the checked container. From it come the same things that a Hugging Face folder holds:
//! [`checkpoint`] gives the tensors under Hugging Face names, [`config_json`] and [`generation_config_json`] what `config.json`
//! and `generation_config.json` would say, and [`tokenizer()`] a `tokenizer.json` with its config. So nothing after this module
//! knows where a model came from.

mod architecture;
mod config;
mod container;
mod keys;
mod metadata;
mod names;
mod rope;
mod rope_freqs;
mod tokenizer;

pub use architecture::Architecture;
pub use config::{config_json, generation_config_json, sentence_transformer};
pub use container::{Gguf, TensorInfo};
pub use metadata::{MetaValue, Metadata};
pub use names::checkpoint;
pub use tokenizer::{GgufTokenizer, tokenizer};

use crate::Error;

impl Gguf {
    pub(crate) fn corrupt(&self, problem: String) -> Error {
        Error::CorruptGguf { path: self.path().to_path_buf(), problem }
    }

    pub(crate) fn unsupported(&self, problem: String) -> Error {
        Error::UnsupportedGguf { path: self.path().to_path_buf(), problem }
    }
}
