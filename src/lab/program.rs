//! A compiled program, run without a file.

use crate::compile::{CompileOptions, Program, write_program};
use crate::{LoadOptions, Model, PassOptions, Result};
use kiln_runtime::{ArtifactWriter, ModelInfo};
use std::io::Write;
use std::sync::Arc;

impl CompileOptions {
    /// The same for a module that is compiled as it was written, without rewriting.
    pub(super) fn as_written(&self) -> CompileOptions {
        let passes = PassOptions { rewrite: false, ..self.passes.clone() };
        CompileOptions { passes, ..self.clone() }
    }
}

impl Program {
    /// Loads the program without writing a file: the same road, with the artifact in memory. `weight` gives the bytes of a
    /// parameter.
    ///
    /// # Errors
    /// When `weight` fails or gives another number of bytes than the parameter has, or loading does.
    pub fn load(
        self,
        options: &CompileOptions,
        load: &LoadOptions,
        weight: impl Fn(&str, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Arc<Model>> {
        let mut w = ArtifactWriter::in_memory()?;
        let model = ModelInfo { cache_limit: self.cache_limit, ..ModelInfo::default() };
        write_program(&mut w, &self, model, options, weight)?;
        Ok(Model::from_bytes(w.finish()?, load)?)
    }
}
