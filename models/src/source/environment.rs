//! Paths in environment variables, as Python's `os.path.expanduser` and `os.path.expandvars` read them one after the other, and the one
//! place that says where the user's cache is: the hub's cache and the compile cache lie side by side in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables, and the user's home.
pub(in crate::source) struct Environment<'a> {
    pub(in crate::source) var: &'a dyn Fn(&str) -> Option<OsString>,
    pub(in crate::source) home: Option<&'a Path>,
}

impl Environment<'_> {
    /// A variable that says something.
    pub(in crate::source) fn set(&self, name: &str) -> Option<OsString> {
        (self.var)(name).filter(|value| value.to_str().is_none_or(|text| !text.trim().is_empty()))
    }

    /// The path that a variable means. One that is no UTF-8 is taken as it is.
    pub(in crate::source) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.set(name)?;
        Some(match value.to_str() {
            Some(text) => self.variables(&self.user(text)).into(),
            None => value.into(),
        })
    }

    /// The folder for what can be had again: `XDG_CACHE_HOME`, else `.cache` in the user's home. A relative one is of the working folder,
    /// as `huggingface_hub` has it. None where neither is known.
    ///
    /// A library for this (etcetera, dirs) passes over a relative path and expands nothing, so that the hub's cache would not be the one
    /// that Python uses.
    pub(in crate::source) fn user_cache(&self) -> Option<PathBuf> {
        self.path("XDG_CACHE_HOME").or_else(|| Some(self.home?.join(".cache")))
    }

    /// `~` and `~name` at the beginning become a home; one that is not known stays.
    fn user(&self, path: &str) -> String {
        let Some(rest) = path.strip_prefix('~') else { return path.to_string() };
        let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let home = match name {
            "" => self.home.and_then(Path::to_str).map(str::to_string),
            name => home_of(name),
        };
        let Some(home) = home else { return path.to_string() };
        let whole = format!("{}{rest}", home.trim_end_matches('/'));
        if whole.is_empty() { "/".to_string() } else { whole }
    }

    /// `$NAME` and `${NAME}` become the variable's value, which is not looked into again; one that is not set stays.
    fn variables(&self, path: &str) -> String {
        let mut out = String::new();
        let mut rest = path;
        while let Some(at) = rest.find('$') {
            out += &rest[..at];
            rest = &rest[at + 1..];
            let braced = rest.strip_prefix('{').and_then(|inner| Some((&inner[..inner.find('}')?], 2)));
            let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, marks) = braced.unwrap_or((&rest[..word], 0));
            let (whole, after) = rest.split_at(name.len() + marks);
            match (self.var)(name).filter(|_| !name.is_empty()).and_then(|value| value.into_string().ok()) {
                Some(value) => out += &value,
                None => {
                    out.push('$');
                    out += whole;
                }
            }
            rest = after;
        }
        out + rest
    }
}

/// The home of a user whom the system's list has.
fn home_of(name: &str) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.filter(|fields| fields.first() == Some(&name)).find_map(|fields| Some(fields.get(5)?.to_string()))
}

/// kiln's folder in the user's cache: `kiln` in `$XDG_CACHE_HOME`, which is read as for the hub's cache, else in `~/.cache`; None where
/// neither is known.
pub fn user_cache() -> Option<PathBuf> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let cache = Environment { var: &|name| std::env::var_os(name), home: home.as_deref() }.user_cache()?;
    // Whoever changes the working folder means the same cache.
    Some(std::path::absolute(cache).ok()?.join("kiln"))
}
