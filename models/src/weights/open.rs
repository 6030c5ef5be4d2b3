//! Opening a checkpoint, whatever its files are.

use super::{Checkpoint, pytorch, safetensors};
use crate::gguf::{self, Gguf};
use crate::{Error, Result};
use std::path::Path;

/// The files that hold a folder's weights, or list those that do: the first that is there counts.
pub(crate) const WEIGHTS: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

impl Checkpoint {
    /// Opens a folder, a `.safetensors` or `.bin` (PyTorch) file, an index of either (`.index.json`), or a `.gguf` file.
    ///
    /// In a folder, `model.safetensors` comes before `model.safetensors.index.json`, and these before `pytorch_model.bin` and its index.
    ///
    /// # Errors
    /// Whatever is wrong with the files: see [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            Self::open_folder(path)
        } else if name.ends_with(".gguf") {
            gguf::checkpoint(&Gguf::open(path)?)
        } else if name.ends_with(".index.json") {
            let open = if name.ends_with(".bin.index.json") { pytorch::open_files } else { safetensors::open_files };
            safetensors::open_sharded(path, open)
        } else {
            let open = if name.ends_with(".bin") { pytorch::open_files } else { safetensors::open_files };
            open(path, vec![path.to_path_buf()])
        }
    }

    fn open_folder(folder: &Path) -> Result<Checkpoint> {
        match WEIGHTS.into_iter().map(|name| folder.join(name)).find(|path| path.exists()) {
            Some(path) => Self::open(path),
            None => Err(Error::MissingFile {
                folder: folder.to_path_buf(),
                expected: "model.safetensors and no model.safetensors.index.json",
                advice: "give the folder that holds the weights, or the path of a .gguf file".to_string(),
            }),
        }
    }
}
