//! Where the files of a model lie in the cache, as Python's `huggingface_hub` lays it out: contents in `blobs`, a folder of links for
//! each commit in `snapshots`, and the commits of branches and tags in `refs`.

use std::path::{Path, PathBuf};

/// A model's part of the cache.
#[derive(Debug)]
pub(super) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// Of a model in the cache in a folder.
    pub(super) fn of(cache: &Path, id: &str) -> Repository {
        let name = format!("models--{}", id.replace('/', "--"));
        Repository { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The contents with that etag.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The folder of locks.
    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    /// The commit of a branch or a tag, where the cache knows it.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let commit = std::fs::read_to_string(self.reference(revision)).ok()?;
        Some(commit.trim().to_string())
    }

    /// Notes the commit of a branch or a tag.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> std::io::Result<()> {
        let reference = self.reference(revision);
        // The name of a branch may have slashes.
        std::fs::create_dir_all(reference.parent().unwrap_or(&self.folder))?;
        std::fs::write(reference, commit)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}
