//! The compile cache: the same road, with the artifact kept under the user's cache folder.

use crate::compile::{auto_class, check_texts, compile_traced, sha256, trace};
use crate::{CompileOptions, CompileReport, Error, Result};
use kiln_models::source::ModelFiles;
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

/// `$XDG_CACHE_HOME/kiln`, else `~/.cache/kiln`.
pub(crate) fn folder() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|h| h.join(".cache")));
    base.map(|b| b.join("kiln").join("artifacts"))
        .ok_or_else(|| Error::Option("there is no cache folder: set XDG_CACHE_HOME or HOME".into()))
}

/// The artifact of a model, compiled if the cache does not hold it, and what compiling took if it was.
///
/// The key covers kiln's version, the traced program, the options, and path, size and time of the weight files.
///
/// # Errors
/// As [`compile`](crate::compile()).
pub fn cached_artifact(files: &ModelFiles, options: &CompileOptions) -> Result<(PathBuf, Option<CompileReport>)> {
    cached_artifact_in(&folder()?, files, options)
}

/// As [`cached_artifact`], with the cache's folder.
pub(crate) fn cached_artifact_in(
    folder: &Path,
    files: &ModelFiles,
    options: &CompileOptions,
) -> Result<(PathBuf, Option<CompileReport>)> {
    let start = Instant::now();
    let traced = trace(files, options)?;
    let trace_seconds = start.elapsed().as_secs_f64();
    let mut key = format!("{} {:?}\n{}", env!("CARGO_PKG_VERSION"), options.target, options.passes.rules());
    key += auto_class(files, options);
    key += build_id();
    key += &traced.module.to_string();
    for part in [&files.generation_config, &files.tokenizer_config].into_iter().flatten() {
        key += &part.to_string();
    }
    key += files.chat_template.as_deref().unwrap_or_default();
    key += &sha256(files.tokenizer_json.as_deref().unwrap_or_default());
    for path in files.checkpoint.files() {
        let meta = path.metadata().map_err(Error::io("read", path))?;
        let time = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        key += &format!("{} {} {time:?}\n", path.display(), meta.len());
    }
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let path = folder.join(format!("{}.kiln", &sha256(key.as_bytes())[..32]));
    if path.is_file() {
        return Ok((path, None));
    }
    check_texts(files)?;
    let report = compile_traced(files, traced, trace_seconds, &path, options)?;
    Ok((path, Some(report)))
}

/// What tells one build of the compiler from another of the same version: the executable's size and time.
fn build_id() -> &'static str {
    static ID: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let meta = std::env::current_exe().and_then(|p| p.metadata());
        meta.map(|m| format!("{} {:?}", m.len(), m.modified().ok())).unwrap_or_default()
    });
    &ID
}
