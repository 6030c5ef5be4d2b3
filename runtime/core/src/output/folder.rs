//! Folders for a while.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A folder that only this user can read and that goes away with this. It is locked as long as it is in use: one that is not was left by a
/// process that was killed, and [`clear_abandoned`](Self::clear_abandoned) removes it.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    _lock: File,
}

impl TemporaryFolder {
    /// Makes one inside of another folder; its name begins with `prefix`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new_in(root: &Path, prefix: &str) -> io::Result<TemporaryFolder> {
        let mut number = 0u32;
        loop {
            let path = root.join(format!("{prefix}{}-{number}", std::process::id()));
            number = number.checked_add(1).ok_or_else(|| io::Error::other("no name is free for a folder"))?;
            match make(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Between making and locking another process may have taken it for abandoned.
            let lock = match File::open(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                lock => lock?,
            };
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                // Where nothing can be locked, nothing is taken for abandoned.
                Ok(()) | Err(TryLockError::Error(_)) if path.is_dir() => {
                    return Ok(TemporaryFolder { path, _lock: lock });
                }
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
        }
    }

    /// Removes the folders inside of another whose names begin with `prefix` and whose processes died. Those of other users stay.
    pub fn clear_abandoned(root: &Path, prefix: &str) {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
            if ours
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Ok(folder) = File::open(entry.path())
                && folder.try_lock().is_ok()
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Nothing more can be done if this fails.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(unix)]
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_cleared() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("work-of-the-dead/inside")).unwrap();
        fs::write(at("work-of-the-dead/inside/file"), "half of it").unwrap();
        fs::create_dir(at("other-work-1")).unwrap();
        fs::write(at("work-file"), "").unwrap();
        let [first, second] = [0, 1].map(|_| TemporaryFolder::new_in(root.path(), "work-").unwrap());
        assert_ne!(first.path(), second.path());
        TemporaryFolder::clear_abandoned(root.path(), "work-");
        assert!(!at("work-of-the-dead").exists() && first.path().is_dir() && second.path().is_dir());
        fs::write(first.path().join("file"), "x").unwrap();
        drop((first, second));
        let mut left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other-work-1", "work-file"]);
        assert!(TemporaryFolder::new_in(&at("none"), "work-").is_err());
    }
}
