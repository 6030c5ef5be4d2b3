//! A text for a text: the task stands in the input.
//!
//!     cargo run --release --bin text2text_generation [MODEL]

use kiln::{GenerationConfig, PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let answer = pipeline("text2text-generation", model)?;
    let generation_config = Some(GenerationConfig { max_new_tokens: Some(40), ..GenerationConfig::default() });
    let options = PipelineOptions { generation_config, ..PipelineOptions::default() };
    answer.run(&"Answer the question: what is the capital of France?".into(), &options)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("google/flan-t5-small".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
