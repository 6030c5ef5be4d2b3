//! A text in another language.
//!
//!     cargo run --release --bin translation [MODEL]

use kiln::{GenerationConfig, PipelineOptions, Result, pipeline};
use serde_json::Value;

/// Runs the pipeline with MODEL: a hub id, a folder or an artifact.
pub fn run(model: &str) -> Result<Value> {
    let translate = pipeline("translation_en_to_fr", model)?;
    let generation_config = Some(GenerationConfig { max_new_tokens: Some(40), ..GenerationConfig::default() });
    let options = PipelineOptions { generation_config, ..PipelineOptions::default() };
    translate.run(&"How old are you?".into(), &options)
}

#[allow(dead_code)] // kiln's tests include this file.
fn main() -> Result<()> {
    // Kernels are compiled in child processes of this program.
    if kiln::maybe_run_worker() {
        return Ok(());
    }
    let model = std::env::args().nth(1).unwrap_or("google-t5/t5-small".into());
    println!("{:#}", run(&model)?);
    Ok(())
}
