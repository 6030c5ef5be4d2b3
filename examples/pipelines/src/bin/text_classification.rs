//! Is a review friendly? Each text gets its label and the label's probability.
//!
//!     cargo run --release --bin text_classification [MODEL]

use kiln::{PipelineOptions, Result, pipeline};
use serde_json::{Value, json};

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let classify = pipeline("sentiment-analysis", model)?;
    let reviews = json!(["We are very happy to show you this.", "We hope you don't hate it."]);
    classify.run(&reviews, &PipelineOptions::default())
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("distilbert/distilbert-base-uncased-finetuned-sst-2-english".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
