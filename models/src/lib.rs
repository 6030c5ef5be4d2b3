//! Architectures written in kiln's DSL, and everything of a checkpoint that they are made from.
//!
//! A MODEL, as a user names it, comes in: a folder, a `.gguf` file or a hub id. Out come plain values that the rest of
//! the compiler understands, all under Hugging Face names whatever the file's format was:
//!
//! - [`source`] finds the files, on disk or on the hub, and gathers them in [`ModelFiles`](source::ModelFiles);
//! - [`weights`] opens the tensors, memory-mapped, as a [`Checkpoint`](weights::Checkpoint);
//! - [`gguf`] reads GGUF: its container, its names, and the `config.json` and `tokenizer.json` that its metadata amounts to;
//! - [`config`] turns a `config.json` into the checked, typed configuration of one architecture;
//! - [`auto`] traces the architecture that a config names, for a [`Task`];
//! - [`families`] are those architectures, each in the DSL;
//! - [`loss`] is what each task is trained by;
//! - [`sentence`] makes one vector of a text's hidden states, where a model comes from sentence-transformers.
//!
//! Every file is foreign input: whatever is wrong with it becomes an [`Error`] that names the place, what was expected, what
//! was found and what to do about it. Nothing here computes on tensors, except for dequantising one on request.

pub mod auto;
pub mod config;
mod error;
pub mod families;
pub mod gguf;
mod json;
pub mod loss;
pub mod sentence;
pub mod source;
mod task;
mod tokenizer;
mod traced;
pub mod weights;

pub use error::{Error, Result};
pub use task::Task;
