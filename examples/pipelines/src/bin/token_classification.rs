//! Names in a sentence: words, what they name, and where they stand.
//!
//!     cargo run --release --bin token_classification [MODEL]

use kiln::pipeline::AggregationStrategy;
use kiln::{PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let ner = pipeline("ner", model)?;
    let options = PipelineOptions { aggregation_strategy: AggregationStrategy::Simple, ..PipelineOptions::default() };
    ner.run(&"My name is Sarah and I live in London.".into(), &options)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("dslim/bert-base-NER".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
