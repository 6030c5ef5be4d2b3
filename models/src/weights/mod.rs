//! The tensors of a checkpoint, under their Hugging Face names.
//!
//! In goes a path: a folder with `model.safetensors` or `model.safetensors.index.json` (else `pytorch_model.bin` or its index), one
//! `.safetensors` or `.bin` file, or a `.gguf` file. Out comes a [`Checkpoint`]: names, shapes in PyTorch order, storage, and bytes. The files are memory-mapped, and what
//! the format requires is checked once, at opening; nothing is copied until somebody reads, and reading holds one tensor at
//! most; only pickled weights (`.bin`) are copied at opening. Block-quantised tensors stay as they are: only [`Checkpoint::to_f32`] opens the blocks.

mod checkpoint;
mod open;
mod pretrained;
mod pytorch;
mod read;
mod safetensors;

pub use checkpoint::{Checkpoint, Conversion, TensorEntry};
pub(crate) use checkpoint::{Mapped, map_file};
pub(crate) use open::WEIGHTS;
pub(crate) use pretrained::Pretrained;
pub use safetensors::{from_safetensors, to_safetensors};
