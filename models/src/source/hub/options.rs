//! [`HubOptions`]: which hub, which revision, which file, which cache. The one place that reads the environment.

use std::fmt;
use std::path::{Path, PathBuf};

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
}

impl HubOptions {
    /// What the environment says, by the rules of `huggingface_hub`:
    ///
    /// - the cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `$XDG_CACHE_HOME/huggingface`, else in `~/.cache/huggingface`;
    /// - the token: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `token` beside `hub`, where `hf auth login` puts it;
    /// - the server: `HF_ENDPOINT`; `HF_HUB_OFFLINE=1` allows the cache only.
    pub fn from_env() -> HubOptions {
        Self::from_vars(|name| std::env::var(name).ok(), std::env::home_dir().as_deref())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>, user_home: Option<&Path>) -> HubOptions {
        let set = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| {
            set(name).map(|value| match (value.strip_prefix('~'), user_home) {
                (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                    home.join(rest.trim_start_matches('/'))
                }
                _ => PathBuf::from(value),
            })
        };
        let user_cache = path("XDG_CACHE_HOME").or_else(|| user_home.map(|home| home.join(".cache")));
        let home = path("HF_HOME").unwrap_or_else(|| user_cache.unwrap_or_else(std::env::temp_dir).join("huggingface"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = set("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        let offline =
            set("HF_HUB_OFFLINE").is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()));
        HubOptions {
            revision: None,
            gguf_file: None,
            endpoint: set("HF_ENDPOINT")
                .map_or("https://huggingface.co".into(), |e| e.trim_end_matches('/').to_string()),
            cache_dir: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()),
            local_files_only: offline,
            retries: 4,
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
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> HubOptions {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        HubOptions::from_vars(var, Some(Path::new("/home/me")))
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let cache = |vars: &[(&str, &str)]| of(vars).cache_dir.to_str().unwrap().to_string();
        let (xdg, home, own) = (("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c"));
        assert_eq!(cache(&[]), "/home/me/.cache/huggingface/hub");
        assert_eq!(cache(&[xdg]), "/x/huggingface/hub");
        assert_eq!(cache(&[xdg, home]), "/h/hub");
        assert_eq!(cache(&[xdg, home, own]), "/c");
        assert_eq!(cache(&[("HF_HOME", "~/models"), ("HF_HUB_CACHE", "")]), "/home/me/models/hub");
    }

    #[test]
    fn the_token_comes_from_variable_or_file_and_stays_out_of_logs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other").unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        let other = folder.path().join("other");
        let path = ("HF_TOKEN_PATH", other.to_str().unwrap());
        let token = |vars: &[(&str, &str)]| of(vars).token;
        assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[home, path]).as_deref(), Some("hf_other"));
        assert_eq!(token(&[home, path, ("HF_TOKEN", " hf_var ")]).as_deref(), Some("hf_var"));
        assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
        assert!(!format!("{:?}", of(&[home])).contains("hf_file"));
    }

    #[test]
    fn server_and_offline() {
        let plain = of(&[]);
        assert_eq!((plain.endpoint.as_str(), plain.local_files_only), ("https://huggingface.co", false));
        assert_eq!(of(&[("HF_ENDPOINT", "http://hub.local/")]).endpoint, "http://hub.local");
        for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(of(&[("HF_HUB_OFFLINE", value)]).local_files_only, offline, "{value:?}");
        }
    }
}
