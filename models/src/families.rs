//! The architectures, one file each: what `config.json` says, and the modules under their checkpoint's names. What several of them
//! share is in [`causal_lm`], [`encoder`] and [`seq2seq`] (the entries of a program) and [`layers`].

mod bert_config;
pub mod causal_lm;
pub mod encoder;
mod encoder_layers;
pub mod layers;
mod position_bias;
pub mod seq2seq;

pub mod bart;
pub mod bert;
pub mod distilbert;
pub mod electra;
pub mod gemma2;
pub mod gemma3;
pub mod gpt2;
pub mod gpt_neox;
pub mod llama;
pub mod mistral;
pub mod modernbert;
pub mod olmo2;
pub mod phi3;
pub mod qwen2;
pub mod qwen3;
pub mod roberta;
pub mod smollm3;
pub mod t5;
