//! The architectures, one file each: the modules under their checkpoint's names, and the entries of the program.

pub mod llama;
pub mod qwen2;
