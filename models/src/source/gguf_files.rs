//! Which GGUF file of several.

use crate::{Error, Result};
use std::path::Path;

const END: &str = ".gguf";

/// The GGUF file to take of those that MODEL has, which are paths in it: the wanted one, else, where it has no `others` (weights of another
/// kind), the only one. `None` for the other weights.
pub(super) fn choose<'a>(
    model: &str,
    files: &'a [String],
    others: bool,
    wanted: Option<&str>,
) -> Result<Option<&'a str>> {
    let refused = |found: &str| {
        let expected = match files {
            [] => format!("none, since `{model}` holds no {END} file"),
            _ => format!("one of the {END} files that `{model}` holds: {}", files.join(", ")),
        };
        Error::InvalidOption { option: "gguf_file", expected, found: found.to_string() }
    };
    match (wanted, files) {
        (Some(wanted), _) => match files.iter().find(|file| *file == wanted) {
            Some(file) => Ok(Some(file)),
            None => Err(refused(wanted)),
        },
        (None, []) => Ok(None),
        (None, _) if others => Ok(None),
        (None, [only]) => Ok(Some(only)),
        (None, _) => Err(refused("nothing")),
    }
}

/// The GGUF files among a repository's, sorted.
pub(super) fn among<'a>(files: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = files.filter(|file| file.ends_with(END)).map(str::to_string).collect();
    found.sort();
    found
}

/// The GGUF files in a folder and in its folders, as paths in it, sorted.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<String>> {
    let mut all = names(folder)?;
    for inner in all.clone() {
        let path = folder.join(&inner);
        if path.is_dir() {
            all.extend(names(&path)?.into_iter().map(|name| format!("{inner}/{name}")));
        }
    }
    Ok(among(all.iter().map(String::as_str)))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.map_err(Error::io("read", folder))?;
        // What is no UTF-8 can be named on no command line either.
        Ok(entry.file_name().into_string().ok())
    };
    entries.filter_map(|entry| name(entry).transpose()).collect()
}
