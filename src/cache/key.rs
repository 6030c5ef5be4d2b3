//! The name of an entry: a hash of everything that an artifact's bytes come from.
//!
//! The program as it was traced, and what compiles it; the texts that go into the artifact; the contents of the weights, and where in them
//! each tensor lies. Paths and times are no part of it, so that a model that was moved is still known.

use super::contents::Contents;
use crate::CompileOptions;
use crate::compile::{model_info, texts};
use kiln_codegen::EmitMode;
use kiln_models::auto::Traced;
use kiln_models::source::ModelFiles;
use sha2::{Digest, Sha256};

/// A change of what a key is made of, or of how, takes another number.
const VERSION: u32 = 3;
/// The end of an entry's name.
pub(super) const END: &str = ".kiln";
/// Hex digits of a key.
const LENGTH: usize = 32;

pub(super) fn of(files: &ModelFiles, options: &CompileOptions, traced: &Traced, contents: &Contents) -> String {
    let mut key = Key(Sha256::new());
    key.part("version", format!("{VERSION} {}", env!("CARGO_PKG_VERSION")));
    key.part("compiler", contents.of_this_program());
    // A worker program of another build makes other code.
    match &options.emit {
        EmitMode::Worker(program) => key.part("worker", contents.of_program(program)),
        mode => key.part("emit", format!("{mode:?}")),
    }
    let CompileOptions { target, more_targets, dtype, task, max_seq, passes, emit: _ } = options;
    key.part("options", format!("{target:?} {more_targets:?} {dtype:?} {task:?} {max_seq:?} {passes:?}"));
    key.part("rules", passes.rules());
    let Traced { module, unused_tensors: _, max_seq: _, cache_limit } = traced;
    key.part("program", module.to_string());
    key.part("model", format!("{:?} {cache_limit:?}", model_info(files, options)));
    for (section, text) in texts(files) {
        key.part(section, text);
    }
    for (name, entry) in files.checkpoint.iter() {
        key.part(name, format!("{entry:?}"));
    }
    for (_, metadata, bytes) in files.checkpoint.contents() {
        key.part("weights", contents.of_mapped(metadata, bytes));
    }
    key.finish()
}

struct Key(Sha256);

impl Key {
    /// Names and lengths keep the parts apart.
    fn part(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        for (len, bytes) in [(name.len(), name.as_bytes()), (bytes.len(), bytes)] {
            self.0.update((len as u64).to_le_bytes());
            self.0.update(bytes);
        }
    }

    fn finish(self) -> String {
        let mut hex: String = self.0.finalize().iter().map(|b| format!("{b:02x}")).collect();
        hex.truncate(LENGTH);
        hex
    }
}

/// Whether a file's name, without its end, is a key.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == LENGTH && name.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
