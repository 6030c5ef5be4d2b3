//! The likeliest words for a gap.
//!
//!     cargo run --release --bin fill_mask [MODEL]

use kiln::{PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let fill = pipeline("fill-mask", model)?;
    fill.run(
        &"The capital of France is [MASK].".into(),
        &PipelineOptions { top_k: Some(3), ..PipelineOptions::default() },
    )
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("google-bert/bert-base-uncased".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
