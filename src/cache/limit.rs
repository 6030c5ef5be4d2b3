//! How much a cache may hold, and what goes when it holds more.

use super::key::{END, is_key};
use crate::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Sets the limit.
const VARIABLE: &str = "KILN_CACHE_SIZE";
/// The limit where nothing is said: two large models or many small ones.
const DEFAULT: u64 = 32 << 30;

/// What the environment says; `None` for no limit.
pub(super) fn from_env() -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(Some(DEFAULT)) };
    let text = text.to_string_lossy();
    parse(&text).ok_or_else(|| {
        Error::Option(format!(
            "{VARIABLE}: expected a number of bytes, such as 500MB, 20GiB or 0, or `unlimited`, found `{text}`"
        ))
    })
}

/// A number and a unit; the outer `None` for what is neither.
fn parse(text: &str) -> Option<Option<u64>> {
    let text = text.trim().to_ascii_lowercase();
    if text == "unlimited" {
        return Some(None);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit.trim().trim_end_matches('b') {
        "" => 1,
        "k" => 1000,
        "m" => 1000_u64.pow(2),
        "g" => 1000_u64.pow(3),
        "t" => 1000_u64.pow(4),
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return None,
    };
    // Whole numbers exactly.
    let bytes = match number.parse::<u64>() {
        Ok(number) => number.checked_mul(unit)?,
        Err(_) => number.parse::<f64>().ok().map(|n| n * unit as f64).filter(|n| *n < u64::MAX as f64)? as u64,
    };
    Some(Some(bytes))
}

/// The entries in a folder: path, bytes, and when each was last used.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_entry = name.to_str().and_then(|name| name.strip_suffix(END)).is_some_and(is_key);
        // Another process may have removed it since.
        if let (true, Ok(meta)) = (is_entry, entry.metadata())
            && meta.is_file()
        {
            files.push((entry.path(), meta.len(), meta.modified()?));
        }
    }
    Ok(files)
}

/// Notes that an entry was used: the time of its modification is that of its last use, since systems as a rule do not keep the time of the
/// last access. In a folder of another user's it stays as it is.
pub(super) fn touch(path: &Path) {
    if let Err(e) = File::open(path).and_then(|file| file.set_modified(SystemTime::now())) {
        tracing::debug!("{}: {e}", path.display());
    }
}

/// Removes the entries that were not used for the longest time, until the rest is within the limit. `keep` stays.
pub(super) fn trim(folder: &Path, limit: u64, keep: &Path) {
    let mut files = files(folder).unwrap_or_default();
    files.sort_by_key(|(_, _, used)| *used);
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (path, bytes, _) in files {
        if total <= limit {
            break;
        }
        if path == keep {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!("{} made room in the compile cache", path.display()),
            Err(e) => tracing::debug!("{}: {e}", path.display()),
        }
        total -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_have_units() {
        for (text, want) in [
            ("0", Some(Some(0))),
            ("1234", Some(Some(1234))),
            ("20GB", Some(Some(20_000_000_000))),
            ("20 gib", Some(Some(20 << 30))),
            ("1.5Ki", Some(Some(1536))),
            ("500m", Some(Some(500_000_000))),
            ("2t", Some(Some(2_000_000_000_000))),
            ("unlimited", Some(None)),
            ("much", None),
            ("-1", None),
            ("1.2.3G", None),
            ("5 parsecs", None),
            ("99999999999999999999T", None),
            ("GB", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |i: u32| folder.path().join(format!("{i:032x}.kiln"));
        let make = |i: u32, seconds: u64| {
            std::fs::write(name(i), [0; 100]).expect("writes");
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            File::options().write(true).open(name(i)).expect("opens").set_modified(used).expect("sets the time");
        };
        let left = || (0..5).filter(|i| name(*i).exists()).collect::<Vec<_>>();
        [(0, 50), (1, 10), (2, 40), (3, 20), (4, 30)].into_iter().for_each(|(i, seconds)| make(i, seconds));
        let other = folder.path().join("mine.kiln");
        std::fs::write(&other, [0; 1000]).expect("writes");
        trim(folder.path(), 500, &name(0));
        assert_eq!(left(), [0, 1, 2, 3, 4]);
        trim(folder.path(), 499, &name(0));
        assert_eq!(left(), [0, 2, 3, 4]);
        touch(&name(3));
        trim(folder.path(), 250, &name(4));
        assert_eq!(left(), [3, 4]);
        // The one in use stays, whatever its size, and so does what is no entry.
        trim(folder.path(), 0, &name(4));
        assert_eq!(left(), [4]);
        assert!(other.exists());
    }
}
