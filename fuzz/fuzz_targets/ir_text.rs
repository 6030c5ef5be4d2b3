#![no_main]
#[path = "../checks/ir_text.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::ir_text(data));
