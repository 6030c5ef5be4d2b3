//! A long text, made short.
//!
//!     cargo run --release --bin summarization [MODEL]

use kiln::{GenerationConfig, PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let summarize = pipeline("summarization", model)?;
    let text = "The tower is 324 metres tall, about the same height as an 81-storey building, and the tallest structure in Paris. \
                Its base is square, measuring 125 metres on each side.";
    let generation_config = Some(GenerationConfig { max_new_tokens: Some(40), ..GenerationConfig::default() });
    summarize.run(&text.into(), &PipelineOptions { generation_config, ..PipelineOptions::default() })
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("facebook/bart-large-cnn".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
