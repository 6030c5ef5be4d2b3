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
//! What a user of the library needs stands here, in the crate's root: the Auto classes and [`pipeline()`] for whoever runs models,
//! [`compile()`] with [`Model`] and [`Session`] for whoever keeps the artifact, [`target`] for the machines that are known by name.
//! With the feature `lab` there is the laboratory, `kiln::lab`, for whoever works on the compiler; with `cli`, which brings it,
//! the command. Architectures of one's own are written with the crates `kiln-frontend` and `kiln-models`
//! (`examples/own_architecture`).
//!
//! The road, each station a crate: model definitions in the DSL (`kiln-frontend`, `kiln-models`) are traced to a graph (`kiln-ir`),
//! rewritten, fused and scheduled (`kiln-passes`), compiled to machine code (`kiln-codegen`) and written to an artifact that
//! `kiln-runtime` runs without a compiler. [`compile()`] walks it.
//!
//! Compiling happens in child processes of the running executable: the `main` of a program that compiles begins with
//! [`maybe_run_worker`].

mod auto;
mod cache;
#[cfg(feature = "cli")]
pub mod cli;
mod compile;
mod error;
#[cfg(feature = "lab")]
pub mod lab;
pub mod pipeline;
pub mod target;
pub mod train;

pub use auto::{
    AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer,
    Generative, LoadedModel, ModelOutput, Pretrained, PretrainedOptions,
};
pub use cache::{CacheEntry, CompileCache};
pub use compile::{CompileOptions, CompileReport, compile};
pub use error::{Error, Result};
pub use kiln_codegen::{EmitMode, maybe_run_worker};
pub use kiln_core::{CpuSpec, CudaSpec, DType, Rates, TargetSpec};
pub use kiln_models::Task;
pub use kiln_models::source::{
    DEFAULT_MODEL, HubOptions, ModelFiles, Progress, PushOptions, Pushed, Transfer, fetch_default_model, push_to_hub,
};
pub use kiln_passes::{Options as PassOptions, egraph::Numerics};
pub use kiln_runtime::generate::{
    EarlyStopping, FinishReason, GenerationConfig, OneOrMany, Output, RowOutput, Timings,
};
pub use kiln_runtime::text::{Chat, EncodeOptions, Encoding, Padding, Side, Tokenizer, Truncation};
pub use kiln_runtime::{
    Artifact, Element, LoadOptions, Manifest, MemoryReport, Model, OpenOptions, Outputs, Session, SessionOptions,
    TensorView,
};
pub use pipeline::{Pipeline, PipelineOptions, pipeline, pipelines};
