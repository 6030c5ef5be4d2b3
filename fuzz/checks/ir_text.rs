//! The text format, given any bytes.

use kiln_ir::{text, verify};

/// Parses, prints and verifies.
pub fn ir_text(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(module) = text::parse(source) else { return };
    let printed = text::print(&module);
    match text::parse(&printed) {
        Ok(again) => assert!(again == module, "prints as another module:\n{printed}"),
        Err(e) => panic!("prints as text that does not parse: {e}\n{printed}"),
    }
    let _ = verify(&module);
}
