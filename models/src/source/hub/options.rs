//! [`HubOptions`]: which hub, which revision, which file, which cache. The one place that reads the hub's variables.

use crate::source::environment::Environment;
use crate::source::progress::Progress;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Which hub, and how to talk to it.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The branch, tag or commit of a model that is given without one (`owner/name@revision`); `None` for `main`.
    pub revision: Option<String>,
    /// The GGUF file to take of a model that has several, as a path in its folder or repository; comes before safetensors.
    pub gguf_file: Option<String>,
    /// The server, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache, laid out as Python's `huggingface_hub` does, which may share it.
    pub cache_dir: PathBuf,
    /// The token for private and gated models.
    pub token: Option<String>,
    /// Whether to use the cache only.
    pub local_files_only: bool,
    /// How often a request that failed on its way is sent again.
    pub retries: u32,
    /// Who is told how far transfers are.
    pub progress: Progress,
}

impl HubOptions {
    /// What the environment says, by the rules of `huggingface_hub`, paths with `~`, `~user`, `$NAME` and `${NAME}` in them:
    ///
    /// - the cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME`, else in `$XDG_CACHE_HOME/huggingface`, else in
    ///   `~/.cache/huggingface`;
    /// - the token: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `token` in `HF_HOME`, where
    ///   `hf auth login` puts it; none with `HF_HUB_DISABLE_IMPLICIT_TOKEN=1`;
    /// - the server: `HF_ENDPOINT`; `HF_HUB_OFFLINE=1` or `TRANSFORMERS_OFFLINE=1` allows the cache only.
    ///
    /// A variable that is empty counts as not set, also one of a path, which `huggingface_hub` takes for the working folder.
    pub fn from_env() -> HubOptions {
        Self::from_vars(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>, user_home: Option<PathBuf>) -> HubOptions {
        let environment = Environment { var: &var, home: user_home.as_deref() };
        let path = |name: &str| environment.path(name);
        let text = |name: &str| environment.set(name).map(|value| value.to_string_lossy().into_owned());
        let is_true = |value: Option<String>| {
            value.is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
        };
        let user_cache = || environment.user_cache().unwrap_or_else(std::env::temp_dir);
        let home = path("HF_HOME").unwrap_or_else(|| user_cache().join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token = || {
            let given = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
            let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
            given.or_else(|| std::fs::read_to_string(file).ok())
        };
        let token = if is_true(text("HF_HUB_DISABLE_IMPLICIT_TOKEN")) { None } else { token() };
        HubOptions {
            revision: None,
            gguf_file: None,
            endpoint: text("HF_ENDPOINT")
                .map_or("https://huggingface.co".into(), |e| e.trim_end_matches('/').to_string()),
            cache_dir: cache.unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()),
            local_files_only: is_true(text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE"))),
            retries: 4,
            progress: Progress::default(),
        }
    }
}

/// Without the token, which has no place in a log.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("revision", &self.revision)
            .field("gguf_file", &self.gguf_file)
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("local_files_only", &self.local_files_only)
            .field("retries", &self.retries)
            .field("progress", &self.progress)
            .finish()
    }
}

#[cfg(test)]
mod tests;
