//! The files that a model is read from, for those that write others: none of them may be written over.

use super::ModelFiles;
use std::path::{Path, PathBuf};

/// The ends of files that are read as weights, configs, tokenizers or chat templates.
const ENDS: [&str; 8] = ["bin", "gguf", "jinja", "json", "model", "safetensors", "tiktoken", "txt"];

impl ModelFiles {
    /// The files that the model is or may be read from: its weights, and, where they lie in a folder with a config, what else of the kind is
    /// in that folder and in the folders in it.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs: Vec<PathBuf> = self.checkpoint.files().map(Path::to_path_buf).collect();
        inputs.push(self.checkpoint.path().to_path_buf());
        let folder = self.checkpoint.path().parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.join("config.json").exists() {
            inputs.extend(in_folder(folder));
        }
        inputs
    }
}

/// The same of a MODEL on disk that is not opened: what is in the folder that it is, or the file itself. None for a hub id.
pub fn inputs(model: &str) -> Vec<PathBuf> {
    let path = Path::new(model);
    if path.is_dir() { in_folder(path) } else { vec![path.to_path_buf()] }
}

/// What a model in the folder may be read from.
fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder).into_iter().partition(|entry| entry.is_dir());
    let inner = folders.iter().flat_map(|folder| entries(folder));
    files.into_iter().chain(inner).filter(|path| is_read(path)).collect()
}

fn is_read(path: &Path) -> bool {
    path.extension().and_then(|end| end.to_str()).is_some_and(|end| ENDS.contains(&end))
}

/// What is in a folder that can be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
