//! Where a compilation writes what it needs only for itself: in memory where the system has files there, else in the temporary folder.
//!
//! A folder is locked for as long as its process uses it. One that is not was left by a process that was killed; the next one that needs a
//! folder removes it.

use crate::CodegenError;
use std::fs::{File, read_dir, remove_dir_all};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;
use tempfile::TempDir;

const PREFIX: &str = "kiln-emit-";
const MEMORY: &str = "/dev/shm";

/// The folders that may take it, the better first.
pub(crate) fn roots() -> Vec<PathBuf> {
    let memory = Some(PathBuf::from(MEMORY)).filter(|path| path.is_dir());
    memory.into_iter().chain([std::env::temp_dir()]).collect()
}

/// What the first root that can gives; an error names all of them and says why each could not.
pub(crate) fn in_any<T>(
    roots: &[PathBuf],
    what: &str,
    make: impl Fn(&Path) -> Result<T, String>,
) -> Result<T, CodegenError> {
    let mut failures = vec![];
    for root in roots {
        match make(root) {
            Ok(made) => return Ok(made),
            Err(why) => failures.push(format!("{}: {why}", root.display())),
        }
    }
    Err(CodegenError::Scratch { what: what.into(), failures: failures.join("; ") })
}

/// A file without a name.
pub(crate) fn file() -> Result<File, CodegenError> {
    in_any(&roots(), "a scratch file", |root| tempfile::tempfile_in(root).map_err(|e| e.to_string()))
}

/// A folder that goes away with this.
pub(crate) struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    pub(crate) fn new_in(root: &Path) -> io::Result<Scratch> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| roots().iter().for_each(|root| clear_abandoned(root)));
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
            let lock = File::open(folder.path())?;
            // Between making and locking another process may have taken it for abandoned. Where nothing can be locked, nothing is.
            match lock.try_lock() {
                Err(std::fs::TryLockError::WouldBlock) => {}
                Ok(()) | Err(_) if folder.path().is_dir() => return Ok(Scratch { folder, _lock: lock }),
                Ok(()) | Err(_) => {}
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Why nothing more can be written to it, if that is so.
    pub(crate) fn full(&self) -> Option<io::Error> {
        std::fs::write(self.path().join("probe"), [0; 1 << 16]).err()
    }
}

/// Removes the folders in a root whose processes died. Those of other users stay.
pub(crate) fn clear_abandoned(root: &Path) {
    for entry in read_dir(root).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_cleared() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("kiln-emit-dead");
        std::fs::create_dir_all(dead.join("kernel")).unwrap();
        std::fs::write(dead.join("kernel/llvm.ll"), "; half of it").unwrap();
        for other in ["kiln-other", "emit"] {
            std::fs::create_dir(root.path().join(other)).unwrap();
        }
        std::fs::write(root.path().join("kiln-emit-file"), "").unwrap();
        let lives = Scratch::new_in(root.path()).unwrap();
        clear_abandoned(root.path());
        assert!(!dead.exists() && lives.path().is_dir());
        let path = lives.path().to_path_buf();
        drop(lives);
        assert!(!path.exists());
        assert_eq!(read_dir(root.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_next_root_serves_and_all_are_named() {
        let good = tempfile::tempdir().unwrap();
        let bad = good.path().join("none");
        let make = |root: &Path| Scratch::new_in(root).map_err(|e| e.to_string());
        let made = in_any(&[bad.clone(), good.path().into()], "a folder", make).unwrap();
        assert!(made.path().starts_with(good.path()) && made.full().is_none());
        let roots = [bad.clone(), "/dev/null".into()];
        let message = in_any(&roots, "a folder", make).err().unwrap().to_string();
        for part in [bad.to_str().unwrap(), "/dev/null: ", "a folder", "TMPDIR"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
