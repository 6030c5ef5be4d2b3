//! Models by name, as transformers has them: a class for each task.
//!
//! A name (a hub id, a folder, a `.gguf` file or a `.kiln` artifact) comes in, with [`PretrainedOptions`]; a compiled and loaded model
//! comes out, a [`LoadedModel`]. [`AutoModelForCausalLM`] and [`AutoModelForSeq2SeqLM`] generate: they are a [`Generative`]; the others
//! are a [`Pretrained`] for their task.

mod config;
mod generative;
mod loaded;
mod options;
mod output;
mod pretrained;

pub use config::{AutoConfig, AutoTokenizer};
pub use generative::Generative;
pub use loaded::LoadedModel;
pub use options::PretrainedOptions;
pub use output::ModelOutput;
pub use pretrained::Pretrained;

use crate::{LoadOptions, Result};
use kiln_models::Task;
use std::ops::Deref;
use std::path::Path;

macro_rules! auto_classes {
    ($($(#[$doc:meta])* $class:ident($kind:ident) = $task:expr;)+) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub struct $class($kind);

        impl $class {
            /// Loads MODEL (a hub id, a folder, a `.gguf` file or a `.kiln` artifact), compiling it if the compile cache does not hold it.
            ///
            /// # Errors
            /// A checkpoint without a head for the task, or whatever is wrong with the model's files.
            pub fn from_pretrained(model: &str) -> Result<Self> {
                Self::from_pretrained_with(model, &PretrainedOptions::default())
            }

            /// As [`from_pretrained`](Self::from_pretrained), with options.
            ///
            /// # Errors
            /// The same, and options that make no sense.
            pub fn from_pretrained_with(model: &str, options: &PretrainedOptions) -> Result<Self> {
                $kind::load(model, $task, options).map($class)
            }
        }

        impl Deref for $class {
            type Target = $kind;

            fn deref(&self) -> &$kind {
                &self.0
            }
        }

        impl From<$class> for $kind {
            fn from(class: $class) -> $kind {
                class.0
            }
        })+
    };
}

auto_classes! {
    /// A causal language model, which continues texts.
    AutoModelForCausalLM(Generative) = Task::CausalLm;
    /// An encoder-decoder, which makes a text of a text.
    AutoModelForSeq2SeqLM(Generative) = Task::Seq2SeqLm;
    /// A model's body. An encoder gives `last_hidden_state` `[batch, seq, hidden]`, where it has a pooler `pooler_output`
    /// `[batch, hidden]`, and for a model of sentence-transformers `sentence_embedding` `[batch, hidden]`.
    AutoModel(Pretrained) = Task::Base;
    /// A model that fills in masked tokens: `logits` `[batch, seq, vocab]`.
    AutoModelForMaskedLM(Pretrained) = Task::MaskedLm;
    /// A model that classifies texts or pairs of texts: `logits` `[batch, labels]`.
    AutoModelForSequenceClassification(Pretrained) = Task::SequenceClassification;
    /// A model that classifies tokens: `logits` `[batch, seq, labels]`.
    AutoModelForTokenClassification(Pretrained) = Task::TokenClassification;
    /// A model that finds answers in a text: `start_logits` and `end_logits`, `[batch, seq]`.
    AutoModelForQuestionAnswering(Pretrained) = Task::QuestionAnswering;
}

impl AutoModelForCausalLM {
    /// Loads an artifact. It holds machine code: load only artifacts you trust.
    ///
    /// # Errors
    /// When the artifact is damaged or was built for another machine.
    pub fn from_artifact(path: &Path, options: &LoadOptions) -> Result<Self> {
        Generative::from_artifact(path, Task::CausalLm, options).map(Self)
    }
}

impl AutoModelForSeq2SeqLM {
    /// Loads an artifact. It holds machine code: load only artifacts you trust.
    ///
    /// # Errors
    /// When the artifact is damaged or was built for another machine.
    pub fn from_artifact(path: &Path, options: &LoadOptions) -> Result<Self> {
        Generative::from_artifact(path, Task::Seq2SeqLm, options).map(Self)
    }
}
