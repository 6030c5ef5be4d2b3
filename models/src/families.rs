//! The architectures, one file each: what `config.json` says, and the modules under their checkpoint's names. What several of them
//! share is in [`causal_lm`] (the entries of a program) and [`layers`].

pub mod causal_lm;
pub mod layers;

pub mod llama;
pub mod qwen2;
