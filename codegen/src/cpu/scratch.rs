//! Where a compilation writes what it needs only for itself: in memory where the system has files there, else in the temporary folder.

use crate::CodegenError;
use kiln_core::output::TemporaryFolder;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

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

/// A folder for one kernel. The first of a process removes those that killed processes left.
pub(crate) fn folder(root: &Path) -> io::Result<TemporaryFolder> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| roots().iter().for_each(|root| TemporaryFolder::clear_abandoned(root, PREFIX)));
    TemporaryFolder::new_in(root, PREFIX)
}

/// Why nothing more can be written to a folder, if that is so.
pub(crate) fn full(folder: &TemporaryFolder) -> Option<io::Error> {
    std::fs::write(folder.path().join("probe"), [0; 1 << 16]).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_root_serves_and_all_are_named() {
        let good = tempfile::tempdir().unwrap();
        let bad = good.path().join("none");
        let make = |root: &Path| folder(root).map_err(|e| e.to_string());
        let made = in_any(&[bad.clone(), good.path().into()], "a folder", make).unwrap();
        assert!(made.path().starts_with(good.path()) && full(&made).is_none());
        let roots = [bad.clone(), "/dev/null".into()];
        let message = in_any(&roots, "a folder", make).err().unwrap().to_string();
        for part in [bad.to_str().unwrap(), "/dev/null: ", "a folder", "TMPDIR"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
