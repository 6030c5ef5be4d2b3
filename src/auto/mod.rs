//! Models by name, as transformers has them: a class for each task.
//!
//! A name (a hub id, a folder, a `.gguf` file or a `.kiln` artifact) comes in, with [`PretrainedOptions`]; a compiled and loaded model
//! comes out. All classes but [`AutoModelForCausalLM`], which generates, are a [`Pretrained`] for their task.

mod causal_lm;
mod config;
mod options;
mod pretrained;

pub use causal_lm::AutoModelForCausalLM;
pub use config::{AutoConfig, AutoTokenizer};
pub use options::PretrainedOptions;
pub use pretrained::{ModelOutput, Pretrained};

use crate::Result;
use kiln_models::Task;
use std::ops::Deref;

macro_rules! auto_classes {
    ($($(#[$doc:meta])* $class:ident = $task:expr;)+) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub struct $class(Pretrained);

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
                Pretrained::load(model, $task, options).map($class)
            }
        }

        impl Deref for $class {
            type Target = Pretrained;

            fn deref(&self) -> &Pretrained {
                &self.0
            }
        }

        impl From<$class> for Pretrained {
            fn from(class: $class) -> Pretrained {
                class.0
            }
        })+
    };
}

auto_classes! {
    /// A model's body. An encoder gives `last_hidden_state` `[batch, seq, hidden]`, where it has a pooler `pooler_output`
    /// `[batch, hidden]`, and for a model of sentence-transformers `sentence_embedding` `[batch, hidden]`.
    AutoModel = Task::Base;
    /// A model that fills in masked tokens: `logits` `[batch, seq, vocab]`.
    AutoModelForMaskedLM = Task::MaskedLm;
    /// A model that classifies texts or pairs of texts: `logits` `[batch, labels]`.
    AutoModelForSequenceClassification = Task::SequenceClassification;
    /// A model that classifies tokens: `logits` `[batch, seq, labels]`.
    AutoModelForTokenClassification = Task::TokenClassification;
    /// A model that finds answers in a text: `start_logits` and `end_logits`, `[batch, seq]`.
    AutoModelForQuestionAnswering = Task::QuestionAnswering;
}
