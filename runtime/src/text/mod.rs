//! Text: a model's tokenizer, text that streams out token by token, and chat templates.
//!
//! In come the bytes of a `tokenizer.json` and texts or token ids; out go token ids or texts. Special tokens written in a text
//! (`<|im_start|>`) are recognised, as in transformers. The module knows nothing of models; it implements
//! [`Detokenizer`](crate::generate::Detokenizer) for the generation loop.

pub mod chat;
mod config;
mod encoding;
mod error;
mod fields;
mod misfit;
mod options;
mod stream;
mod tokenizer;

#[cfg(test)]
pub(crate) mod fixtures;

pub use chat::{Chat, ChatTemplates};
pub use encoding::Encoding;
pub use error::TextError;
pub use options::{EncodeOptions, Padding, Side, Truncation};
pub use stream::StreamDecoder;
pub use tokenizer::{PaddedBatch, Tokenizer};
