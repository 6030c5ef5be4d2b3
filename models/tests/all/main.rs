//! The checkpoint side of kiln-models: what good files give, and what bad ones say.

mod support;

mod architectures;
mod config;
mod decoders;
mod default_model;
mod encoders;
mod families;
mod gguf;
mod gguf_families;
mod gguf_metadata;
mod gguf_tokenizers;
mod hub;
mod hub_faults;
mod pytorch;
mod quantization;
mod rope;
mod safetensors;
mod save;
mod sentence;
mod seq2seq;
mod source;
mod tied;
mod tokenizer_files;
