//! The checkpoint side of kiln-models: what good files give, and what bad ones say.

mod support;

mod architectures;
mod config;
mod decoders;
mod default_model;
mod families;
mod gguf;
mod gguf_families;
mod gguf_metadata;
mod rope;
mod safetensors;
mod source;
