//! The checkpoint side of kiln-models: what good files give, and what bad ones say.

mod support;

mod architectures;
mod config;
mod default_model;
mod gguf;
mod gguf_metadata;
mod hub;
mod hub_faults;
mod pytorch;
mod rope;
mod safetensors;
mod source;
