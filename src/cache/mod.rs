//! The compile cache: the same road, with the artifact kept under the user's cache folder.
//!
//! An entry's name is a hash of everything that its bytes come from (`key`), and the entry says its key itself, so that it is right for as
//! long as it is whole and has its own name; opening checks both, and an entry that is damaged is made anew. Entries are written beside and renamed, so that processes can share a folder; one that
//! is removed while another process has it mapped stays with that process. Where nothing can be kept, a model is compiled at each start,
//! into a temporary file or into memory.

mod contents;
mod key;
mod limit;

use crate::compile::{self, Program, build_traced, check_texts, trace};
use crate::{CompileOptions, CompileReport, Error, Result};
use contents::Contents;
use kiln_core::output::{Output, clear_abandoned};
use kiln_models::source::{ModelFiles, user_cache};
use kiln_runtime::{Artifact, ArtifactWriter, Manifest, OpenOptions};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The section of an entry that holds its key: a file that was copied to another's name is not what that name says.
const KEY: &str = "cache_key";

/// A folder of compiled models.
#[derive(Clone, Debug)]
pub struct CompileCache {
    /// `None` where the user has no cache folder.
    folder: Option<PathBuf>,
    /// The most bytes that entries take together; `None` without a limit.
    limit: Option<u64>,
}

/// A compiled model in the cache.
#[derive(Debug)]
pub struct CacheEntry {
    /// The artifact.
    pub path: PathBuf,
    /// Its size; 0 for what is no file.
    pub bytes: u64,
    /// When it was made or last opened.
    pub used: SystemTime,
    /// What it says about itself; `None` if it is damaged: no regular file, not whole, or under another name than its own.
    pub manifest: Option<Manifest>,
}

impl CompileCache {
    /// The user's: `kiln/artifacts` in `$XDG_CACHE_HOME`, else in `~/.cache`; of the size that `KILN_CACHE_SIZE` says (`20GB`, `512MiB`,
    /// `unlimited`; 0 keeps nothing), else of 32 GiB.
    ///
    /// # Errors
    /// A `KILN_CACHE_SIZE` that is no size.
    pub fn from_env() -> Result<CompileCache> {
        Ok(CompileCache { folder: user_cache().map(|cache| cache.join("artifacts")), limit: limit::from_env()? })
    }

    /// One in a folder, of the same size.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn in_folder(folder: impl Into<PathBuf>) -> Result<CompileCache> {
        Ok(CompileCache { folder: Some(folder.into()), limit: limit::from_env()? })
    }

    /// The folder, if the user has one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The most bytes that entries take together; `None` without a limit. Where they would take more, those go first that were not used for
    /// the longest time; the one in use stays, whatever its size.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The artifact of a model, opened: from this cache, or compiled if that does not hold it, and then what compiling took.
    ///
    /// # Errors
    /// As [`compile`](crate::compile()). That nothing can be kept is no error.
    pub fn artifact(
        &self,
        files: &ModelFiles,
        options: &CompileOptions,
        open: &OpenOptions,
    ) -> Result<(Artifact, Option<CompileReport>)> {
        // What cannot be loaded is not compiled either.
        kiln_runtime::device::threads(open.threads)?;
        let start = Instant::now();
        let traced = trace(files, options)?;
        let trace_seconds = start.elapsed().as_secs_f64();
        let folder = self.folder.as_deref().filter(|_| self.limit != Some(0));
        let contents = Contents::remembered_in(folder);
        let key = key::of(files, options, &traced, &contents);
        let path = folder.map(|folder| folder.join(key::file_of(&key)));
        if let Some(path) = &path
            && let Some(artifact) = kept(path, &key, open)?
        {
            return Ok((artifact, None));
        }
        check_texts(files)?;
        let program = build_traced(&traced, trace_seconds, options)?;
        let start = Instant::now();
        let model = Compiled { files, options, program: &program, open };
        let artifact = match &path {
            Some(path) => model.keep_at(path, &key).or_else(|e| {
                let e = only_refused(e)?;
                let advice = match path.symlink_metadata() {
                    Ok(found) if found.is_dir() => "remove that folder, which kiln did not make",
                    _ => "XDG_CACHE_HOME names a folder for it",
                };
                tracing::warn!(
                    "the compile cache cannot keep `{}`, which is compiled at each start: {e}; {advice}",
                    files.id
                );
                model.keep_nowhere()
            })?,
            None => {
                if self.limit != Some(0) {
                    tracing::warn!(
                        "there is no cache folder, so models are compiled at each start: set XDG_CACHE_HOME or HOME"
                    );
                }
                model.keep_nowhere()?
            }
        };
        let report = CompileReport { write_seconds: start.elapsed().as_secs_f64(), ..program.report.clone() };
        // What was mapped may have been written to meanwhile: then the entry is not what its name says.
        if contents.changed(files) {
            if let Some(path) = &path {
                let _ = std::fs::remove_file(path);
            }
            return Err(Error::Option(format!(
                "the weights of `{}` were changed while they were compiled: run it again",
                files.id
            )));
        }
        if let (Some(folder), Some(limit), Some(path)) = (folder, self.limit, &path) {
            limit::trim(folder, limit, path);
        }
        Ok((artifact, Some(report)))
    }

    /// What the cache holds, the last used first.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn entries(&self) -> Result<Vec<CacheEntry>> {
        let Some(folder) = self.folder.as_deref().filter(|folder| folder.exists()) else { return Ok(vec![]) };
        let open = OpenOptions { trust_weights: true, ..OpenOptions::default() };
        let mut entries: Vec<CacheEntry> = limit::named_as_entries(folder)
            .map_err(Error::io("read", folder))?
            .into_iter()
            .map(|(path, meta)| {
                let artifact = key::key_in(&path).and_then(|key| whole(&path, key, &open).ok());
                let bytes = if meta.is_file() { meta.len() } else { 0 };
                let manifest = artifact.map(|artifact| artifact.manifest().clone());
                CacheEntry { used: limit::used(&meta), path, bytes, manifest }
            })
            .collect();
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        Ok(entries)
    }

    /// Removes all entries, and what is remembered of weights; gives how many entries there were, and their bytes. What has an entry's name
    /// goes with them, whatever it is, but for a folder with something in it: that is nothing of kiln's.
    ///
    /// # Errors
    /// When the folder is there and cannot be read, or something with an entry's name cannot be removed; everything else is.
    pub fn clear(&self) -> Result<(usize, u64)> {
        let Some(folder) = self.folder.as_deref().filter(|folder| folder.exists()) else { return Ok((0, 0)) };
        let (mut removed, mut bytes, mut refused) = (0, 0, None);
        for (path, meta) in limit::named_as_entries(folder).map_err(Error::io("read", folder))? {
            match remove(&path, &meta) {
                Ok(()) => {
                    removed += 1;
                    bytes += if meta.is_file() { meta.len() } else { 0 };
                }
                // Another process was faster.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => refused = Some(Error::io("remove", &path)(e)),
            }
        }
        clear_abandoned(folder);
        Contents::remembered_in(Some(folder)).forget();
        refused.map_or(Ok((removed, bytes)), Err)
    }
}

/// Removes what has an entry's name: a link and not what it leads to, a folder if it is empty.
fn remove(path: &Path, meta: &Metadata) -> std::io::Result<()> {
    if meta.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
}

/// Opens an entry, which is a regular file with that key.
fn whole(path: &Path, key: &str, open: &OpenOptions) -> kiln_runtime::Result<Artifact> {
    let error = |problem: &str| kiln_runtime::Error::Io {
        action: "take",
        path: path.to_path_buf(),
        source: std::io::Error::other(problem.to_string()),
    };
    // Links are no entries either: what they lead to is elsewhere, where kiln does not look after it.
    match path.symlink_metadata() {
        Ok(meta) if !meta.is_file() => return Err(error("it is not a regular file")),
        _ => {}
    }
    let artifact = Artifact::open(path, open)?;
    match artifact.named_section(KEY) == Some(key.as_bytes()) {
        true => Ok(artifact),
        false => Err(error("it was made for something else and was put under this name")),
    }
}

/// An entry that is there and whole.
///
/// # Errors
/// What is wrong with the options or with the machine, and not with the entry.
fn kept(path: &Path, key: &str, open: &OpenOptions) -> Result<Option<Artifact>> {
    use kiln_runtime::Error;
    match whole(path, key, open) {
        Ok(artifact) => {
            limit::touch(path);
            Ok(Some(artifact))
        }
        Err(e @ (Error::Memory { .. } | Error::Thread { .. } | Error::Threads { .. })) => Err(e.into()),
        Err(Error::Io { source, .. }) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(Error::Io { action, path, source }) if source.kind() == ErrorKind::OutOfMemory => {
            Err(Error::Io { action, path, source }.into())
        }
        Err(e) => {
            tracing::warn!("the compile cache's entry is of no use and is made anew: {e}");
            Ok(None)
        }
    }
}

/// The error, where it is the system that refused to write; any other is the model's own.
fn only_refused(error: Error) -> Result<Error> {
    match error {
        Error::Io { .. } | Error::Runtime(kiln_runtime::Error::Io { .. }) => Ok(error),
        error => Err(error),
    }
}

/// A compiled model on its way into an artifact.
struct Compiled<'a> {
    files: &'a ModelFiles,
    options: &'a CompileOptions,
    program: &'a Program,
    open: &'a OpenOptions,
}

impl Compiled<'_> {
    /// In the cache. The file that was written is the one that is opened: another process may remove it from the folder at any time.
    fn keep_at(&self, path: &Path, key: &str) -> Result<Artifact> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        // A link would lead out of the cache, and a FIFO, a device or a folder holds no entry: none was put here by kiln.
        if let Some(found) = path.symlink_metadata().ok().filter(|found| !found.is_file()) {
            remove(path, &found).map_err(Error::io("remove", path))?;
        }
        let out = Output::at(path).and_then(Output::create).map_err(Error::io("write", path))?;
        let mut writer = ArtifactWriter::over(out, path)?;
        writer.named_section(KEY, key.as_bytes())?;
        compile::write(self.files, self.program, &mut writer, self.options)?;
        let out = writer.into_inner()?;
        let file = out.file().try_clone().map_err(Error::io("open", path))?;
        out.finish().map_err(Error::io("write", path))?;
        Ok(Artifact::from_file(file, path, self.open)?)
    }

    /// In a temporary file without a name, or in memory.
    fn keep_nowhere(&self) -> Result<Artifact> {
        let folder = std::env::temp_dir();
        let in_file = || {
            let file = tempfile::tempfile_in(&folder).map_err(Error::io("create a file in", &folder))?;
            let mut writer = ArtifactWriter::over(file, &folder)?;
            compile::write(self.files, self.program, &mut writer, self.options)?;
            Ok(Artifact::from_file(writer.into_inner()?, &folder, self.open)?)
        };
        in_file().or_else(|e| {
            let e = only_refused(e)?;
            tracing::info!("the artifact is made in memory: {e}");
            let mut writer = ArtifactWriter::in_memory()?;
            compile::write(self.files, self.program, &mut writer, self.options)?;
            Ok(Artifact::from_bytes(writer.finish()?, self.open)?)
        })
    }
}
