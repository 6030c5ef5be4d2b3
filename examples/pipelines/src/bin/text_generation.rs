//! An answer in a conversation.
//!
//!     cargo run --release --bin text_generation [MODEL]

use kiln::{GenerationConfig, PipelineOptions, Result, pipeline};
use serde_json::{Value, json};

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let generate = pipeline("text-generation", model)?;
    let generation_config = Some(GenerationConfig { max_new_tokens: Some(32), ..GenerationConfig::default() });
    let options = PipelineOptions { generation_config, ..PipelineOptions::default() };
    generate.run(&json!([{"role": "user", "content": "What is the capital of France?"}]), &options)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("HuggingFaceTB/SmolLM2-135M-Instruct".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
