//! A model's files as a folder, which this crate and transformers read.

use super::{MORE_TEMPLATES, ModelFiles};
use crate::weights::Checkpoint;
use crate::{Error, Result};
use kiln_core::output::Output;
use kiln_core::{DType, Storage};
use safetensors::{Dtype, View};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

impl ModelFiles {
    /// Writes the model into a folder, which is made if it is not there: `model.safetensors`, the tokenizer with its config and its chat
    /// templates, `generation_config.json`, and last `config.json`. [`open_folder`](Self::open_folder) reads it back. Tensors keep their
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
        if let Some(json) = &self.tokenizer_json {
            self.save(&folder.join("tokenizer.json"), json)?;
        }
        if let Some(config) = &self.tokenizer_config {
            self.save_tokenizer_config(config, folder)?;
        }
        if let Some(template) = &self.chat_template {
            self.save(&folder.join("chat_template.jinja"), template.as_bytes())?;
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
    fn save_tokenizer_config(&self, config: &Value, folder: &Path) -> Result<()> {
        let mut config = config.clone();
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
        self.save_json(&folder.join("tokenizer_config.json"), &config)
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

    fn output(&self, path: &Path) -> std::io::Result<Output> {
        let output = Output::at(path)?;
        if path.is_symlink() { output.not_among(self.inputs()) } else { Ok(output) }
    }

    fn save_weights(&self, path: &Path) -> Result<()> {
        let checkpoint = &self.checkpoint;
        let file = self.output(path).and_then(Output::create).map_err(Error::io("write", path))?;
        let failure = Mutex::new(None);
        let tensors = checkpoint.iter().map(|(name, entry)| {
            let tensor =
                Tensor { checkpoint, name, shape: &entry.shape, dtype: dtype(entry.storage), failure: &failure };
            (name, tensor)
        });
        // transformers asks for the format.
        let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
        let written = safetensors::serialize_to_file(tensors, Some(metadata), &file.path());
        written.map_err(|e| Error::io("write", path)(std::io::Error::other(e)))?;
        match failure.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => file.finish().map_err(Error::io("write", path)),
        }
    }
}

/// A tensor that is read when it is written.
struct Tensor<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    shape: &'a [usize],
    /// The type in the file; `None` to write it as f32.
    dtype: Option<Dtype>,
    /// What reading has said, which [`View::data`] cannot.
    failure: &'a Mutex<Option<Error>>,
}

impl Tensor<'_> {
    fn read(&self) -> Result<Cow<'_, [u8]>> {
        match self.dtype {
            Some(_) => self.checkpoint.bytes(self.name),
            None => Ok(self.checkpoint.to_f32(self.name)?.iter().flat_map(|x| x.to_le_bytes()).collect()),
        }
    }
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype.unwrap_or(Dtype::F32)
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.read().unwrap_or_else(|error| {
            if let Ok(mut failure) = self.failure.lock() {
                *failure = Some(error);
            }
            vec![0; self.data_len()].into()
        })
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bitsize() / 8
    }
}

fn dtype(storage: Storage) -> Option<Dtype> {
    let Storage::Dense(dtype) = storage else { return None };
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    })
}
