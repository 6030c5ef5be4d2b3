//! The hidden states of a text: a vector for each token.
//!
//!     cargo run --release --bin feature_extraction [MODEL]

use kiln::{PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let extract = pipeline("feature-extraction", model)?;
    extract.run(&"This is a simple test.".into(), &PipelineOptions::default())
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("distilbert/distilbert-base-uncased".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
