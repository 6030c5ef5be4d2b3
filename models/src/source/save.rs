//! A model's files as a folder, which this crate and transformers read.

use super::ModelFiles;
use super::names::{MORE_TEMPLATES, TOKENIZER_CONFIG};
use crate::weights::{TensorEntry, to_safetensors};
use crate::{Error, Result};
use kiln_core::Storage;
use kiln_core::output::{Output, OutputFile};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

impl ModelFiles {
    /// Writes the model into a folder, which is made if it is not there: `model.safetensors`, the tokenizer with its config and its chat
    /// templates, other processors' configs, `generation_config.json`, and last `config.json`. [`open_folder`](Self::open_folder) reads it back. Tensors keep their
    /// type; those in blocks become f32, and those of types that nothing is computed in are left out.
    ///
    /// Each file appears when it is whole, also over the one that the model is read from. A link to one of those is not written through: it
    /// leads into a cache, of the hub for example, whose files are what their names say.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be written.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        self.save_weights(&folder.join("model.safetensors"))?;
        for (name, bytes) in self.processors.iter().filter(|(name, _)| *name != TOKENIZER_CONFIG) {
            self.save(&folder.join(name), bytes)?;
        }
        if let Some(config) = self.processors.json(TOKENIZER_CONFIG) {
            self.save_tokenizer_config(config, folder)?;
        }
        if let Some(modules) = &self.sentence_transformer {
            self.save_modules(modules, folder)?;
        }
        if let Some(config) = &self.generation_config {
            self.save_json(&folder.join("generation_config.json"), config)?;
        }
        self.save_json(&folder.join("config.json"), &self.config)
    }

    /// The tokenizer's config, its templates as files beside it.
    fn save_tokenizer_config(&self, mut config: Value, folder: &Path) -> Result<()> {
        let templates = config.as_object_mut().and_then(|fields| fields.remove("chat_template"));
        for template in templates.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let field = |name| template.get(name).and_then(Value::as_str);
            if let (Some(name), Some(text)) = (field("name"), field("template"))
                && name != "default"
            {
                // A name is a word; one that is a path stays in its folder.
                let name = name.replace(['/', '\\'], "_");
                let more = folder.join(MORE_TEMPLATES);
                std::fs::create_dir_all(&more).map_err(Error::io("create", &more))?;
                self.save(&more.join(format!("{name}.jinja")), text.as_bytes())?;
            }
        }
        self.save_json(&folder.join(TOKENIZER_CONFIG), &config)
    }

    /// `modules.json` of sentence-transformers, and the configs of the folders that it names.
    fn save_modules(&self, modules: &Value, folder: &Path) -> Result<()> {
        let mut modules = modules.clone();
        for module in modules.as_array_mut().into_iter().flatten() {
            let config = module.as_object_mut().and_then(|fields| fields.remove("config"));
            // Reading has looked at the path: it lies in the folder.
            if let (Some(config), Some(path)) = (config, module.get("path").and_then(Value::as_str)) {
                let inner = folder.join(path);
                std::fs::create_dir_all(&inner).map_err(Error::io("create", &inner))?;
                self.save_json(&inner.join("config.json"), &config)?;
            }
        }
        self.save_json(&folder.join("modules.json"), &modules)
    }

    fn save_json(&self, path: &Path, json: &Value) -> Result<()> {
        self.save(path, format!("{json:#}\n").as_bytes())
    }

    fn save(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.output(path).and_then(|output| output.write(bytes)).map_err(Error::io("write", path))
    }

    fn output(&self, path: &Path) -> io::Result<Output> {
        let output = Output::at(path)?;
        if path.is_symlink() { output.not_among(self.inputs()) } else { Ok(output) }
    }

    /// Tensor by tensor, in the order that safetensors has: those of the largest types first, so that all are aligned.
    fn save_weights(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::io("write", path)(source);
        let file = self.output(path).and_then(Output::create).map_err(failed)?;
        let stored = |entry: &TensorEntry| dtype(entry.storage).unwrap_or(Dtype::F32);
        let mut tensors: Vec<(&str, &TensorEntry)> = self.checkpoint.iter().collect();
        tensors.sort_by(|(a, x), (b, y)| stored(y).cmp(&stored(x)).then(a.cmp(b)));
        let mut end = 0;
        let infos = tensors.iter().map(|(name, entry)| {
            let (dtype, start) = (stored(entry), end);
            end += entry.elements() * dtype.bitsize() / 8;
            (name.to_string(), TensorInfo { dtype, shape: entry.shape.clone(), data_offsets: (start, end) })
        });
        // transformers asks for the format.
        let format = HashMap::from([("format".to_string(), "pt".to_string())]);
        let metadata = Metadata::new(Some(format), infos.collect()).map_err(|e| failed(io::Error::other(e)))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|e| failed(e.into()))?;
        header.resize(header.len().next_multiple_of(8), b' ');

        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(failed)?;
        for (name, entry) in tensors {
            let bytes = match dtype(entry.storage) {
                Some(_) => self.checkpoint.bytes(name)?,
                None => self.checkpoint.to_f32(name)?.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            out.write_all(&bytes).map_err(failed)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error).and_then(OutputFile::finish).map_err(failed)
    }
}

/// The type in the file; `None` for blocks, which become f32.
fn dtype(storage: Storage) -> Option<Dtype> {
    storage.dense().map(to_safetensors)
}
