#![no_main]
#[path = "../checks/artifact.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::artifact(data));
