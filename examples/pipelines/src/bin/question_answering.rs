//! An answer, as it stands in a text.
//!
//!     cargo run --release --bin question_answering [MODEL]

use kiln::{PipelineOptions, Result, pipeline};
use serde_json::{Value, json};

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let answer = pipeline("question-answering", model)?;
    let question = json!({"question": "Where do I live?", "context": "My name is Merve and I live in Istanbul."});
    answer.run(&question, &PipelineOptions::default())
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("distilbert/distilbert-base-cased-distilled-squad".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
