//! Where the files of a model lie in the cache, as Python's `huggingface_hub` and the crate `hf-hub` lay it out: contents in `blobs`, a folder
//! of links for each commit in `snapshots`, and the commits of branches and tags in `refs`.

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use std::path::{Path, PathBuf};

/// A model's part of the cache.
#[derive(Debug)]
pub(super) struct Repository {
    cache: Cache,
    id: String,
    locks: PathBuf,
}

impl Repository {
    /// Of a model in the cache in a folder.
    pub(super) fn of(cache: &Path, id: &str) -> Repository {
        let locks = cache.join(".locks").join(Repo::model(id.to_string()).folder_name());
        Repository { cache: Cache::new(cache.to_path_buf()), id: id.to_string(), locks }
    }

    fn at(&self, revision: &str) -> CacheRepo {
        self.cache.repo(Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_string()))
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join(Repo::model(self.id.clone()).folder_name())
    }

    /// The contents with that etag.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.at("main").pointer_path(commit)
    }

    /// The folder of locks.
    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    /// The commit of a branch or a tag, where the cache knows it.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let commit = std::fs::read_to_string(self.folder().join("refs").join(revision)).ok()?;
        Some(commit.trim().to_string())
    }

    /// Notes the commit of a branch or a tag.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> std::io::Result<()> {
        self.at(revision).create_ref(commit)
    }
}
