//! kiln compiles Hugging Face models ahead of time, from Rust, into one native artifact, and runs it.
//!
//! ```no_run
//! use kiln::{AutoModelForCausalLM, GenerationConfig};
//!
//! # fn main() -> kiln::Result<()> {
//! let model = AutoModelForCausalLM::from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")?;
//! let config = GenerationConfig { max_new_tokens: Some(32), ..model.generation_config().clone() };
//! let output = model.generate("The capital of France is", &config, |piece| print!("{piece}"))?;
//! println!("\n{:.1} tokens/s", output.timings.decode_tokens_per_second);
//! # Ok(())
//! # }
//! ```
//!
//! The road, each station a crate: model definitions in the DSL ([`frontend`], [`models`]) are traced to a graph ([`ir`]), rewritten, fused and
//! scheduled ([`passes`]), compiled to machine code ([`codegen`]) and written to an artifact that [`runtime`] runs without a compiler.
//! [`compile()`] walks it.
//!
//! Compiling happens in child processes of the running executable: the `main` of a program that compiles begins with
//! [`maybe_run_worker`].

pub mod ablation;
mod auto;
pub mod bench;
pub mod bisect;
mod cache;
#[cfg(feature = "cli")]
pub mod cli;
pub mod compile;
pub mod costs;
mod error;
pub mod graph;
pub mod pipeline;
pub mod target;
pub mod train;
pub mod verify;

pub use auto::{
    AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer,
    Generative, LoadedModel, ModelOutput, Pretrained, PretrainedOptions,
};
pub use cache::{CacheEntry, CompileCache, cached_artifact};
pub use compile::{CompileOptions, CompileReport, compile};
pub use error::{Error, Result};
pub use kiln_codegen::maybe_run_worker;
pub use kiln_core::{CpuSpec, CudaSpec, Rates, TargetSpec};
pub use kiln_models::source::{
    DEFAULT_MODEL, HubOptions, ModelFiles, Progress, PushOptions, Pushed, Transfer, fetch_default_model, push_to_hub,
};
pub use kiln_runtime::generate::{GenerationConfig, Output};
pub use kiln_runtime::text::Chat;
pub use kiln_runtime::{LoadOptions, Model, Session, SessionOptions, TensorView};
pub use pipeline::{Pipeline, PipelineOptions, pipeline, pipelines};

pub use kiln_codegen as codegen;
pub use kiln_frontend as frontend;
pub use kiln_ir as ir;
pub use kiln_models as models;
pub use kiln_passes as passes;
pub use kiln_runtime as runtime;
