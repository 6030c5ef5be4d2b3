//! Labels that the model was never trained on.
//!
//!     cargo run --release --bin zero_shot_classification [MODEL]

use kiln::{PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let classify = pipeline("zero-shot-classification", model)?;
    let candidate_labels = ["urgent", "not urgent", "phone"].map(String::from).to_vec();
    let options = PipelineOptions { candidate_labels, ..PipelineOptions::default() };
    classify.run(&"I have a problem with my phone that needs to be resolved asap!".into(), &options)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("facebook/bart-large-mnli".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
