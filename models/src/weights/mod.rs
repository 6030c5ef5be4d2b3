//! The tensors of a checkpoint, under their Hugging Face names.
//!
//! In goes a path: a folder with `model.safetensors` or `model.safetensors.index.json`, one `.safetensors` file, or a `.gguf`
//! file. Out comes a [`Checkpoint`]: names, shapes in PyTorch order, storage, and bytes. The files are memory-mapped, and what
//! the format requires is checked once, at opening; nothing is copied until somebody reads, and reading holds one tensor at
//! most. Block-quantised tensors stay as they are: only [`Checkpoint::to_f32`] opens the blocks.

mod checkpoint;
mod pretrained;
mod read;
mod safetensors;

pub use checkpoint::{Checkpoint, RowOrder, TensorEntry};
pub(crate) use checkpoint::{Mapped, map_file};
pub(crate) use pretrained::Pretrained;
