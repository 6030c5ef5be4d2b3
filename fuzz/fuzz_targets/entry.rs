#![no_main]
#[path = "../checks/artifact.rs"]
mod artifact;
#[path = "../checks/entry.rs"]
mod check;

use std::sync::{Arc, OnceLock};

static MODEL: OnceLock<Arc<kiln_runtime::Model>> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let model = MODEL.get_or_init(|| {
        let plan = serde_json::from_slice(include_bytes!("../corpus/plan/decoder.json")).expect("a plan");
        artifact::model_of(&check::with_ranges(plan))
    });
    check::entry(model, data);
});
