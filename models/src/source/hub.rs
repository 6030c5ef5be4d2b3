//! Models from the Hugging Face hub, through `hf-hub` and its cache.
//!
//! The repository's listing pins the commit and says which files there are; those that the cache lacks are downloaded into the
//! cache's snapshot of that commit, which then is a folder like any other. Without a network (or with `HF_HUB_OFFLINE=1`) the
//! snapshot that the cache last knew is used.

use super::ModelFiles;
use crate::{Error, Result};
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The small files that are taken where the repository has them.
const OPTIONAL: [&str; 5] =
    ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"];
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// `owner/name` with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubId {
    id: String,
    revision: String,
}

impl HubId {
    /// `None` if the text cannot be an id: ids are one or two parts of letters, digits, `-`, `_` and `.`.
    pub(super) fn parse(text: &str) -> Option<HubId> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let part = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let sound = id.split('/').count() <= 2
            && id.split('/').all(part)
            && !id.ends_with(".gguf")
            && revision.split('/').all(part);
        sound.then(|| HubId { id: id.to_string(), revision: revision.to_string() })
    }
}

/// Which hub, and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// The server, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache, shared with `huggingface_hub`.
    pub cache: PathBuf,
    /// The token for gated models.
    pub token: Option<String>,
    /// Whether to use the cache only.
    pub offline: bool,
}

impl HubOptions {
    /// What the environment says: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (else the token that `hf auth login`
    /// wrote), `HF_HUB_OFFLINE`.
    pub fn from_env() -> HubOptions {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match (set("HF_HOME"), set("XDG_CACHE_HOME"), std::env::home_dir()) {
            (Some(home), ..) => PathBuf::from(home),
            (None, Some(cache), _) => Path::new(&cache).join("huggingface"),
            (None, None, Some(home)) => home.join(".cache/huggingface"),
            (None, None, None) => std::env::temp_dir().join("huggingface"),
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        let cache = set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        HubOptions {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: set("HF_TOKEN").or_else(|| Cache::new(home.join("hub")).token()),
            cache,
            offline: set("HF_HUB_OFFLINE").is_some_and(|v| v != "0"),
        }
    }
}

/// Downloads what the cache lacks, and opens the snapshot.
pub(super) fn resolve(id: &HubId, options: &HubOptions) -> Result<ModelFiles> {
    let hub = Hub::new(id, options)?;
    let (folder, revision) = match hub.listing() {
        Ok((revision, files)) => (hub.complete(&revision, &files)?, revision),
        Err(error) => match hub.cached() {
            Some((folder, revision)) => {
                tracing::info!(model = id.id, revision, "taking the model from the cache, since {error}");
                (folder, revision)
            }
            None => return Err(error),
        },
    };
    let mut files = ModelFiles::open_folder(&folder)?;
    files.id.clone_from(&id.id);
    files.revision = Some(revision);
    Ok(files)
}

/// Whether the hub, or the cache in its place, has the model: one small request.
pub(super) fn reachable(id: &str, options: &HubOptions) -> Result<()> {
    let Some(id) = HubId::parse(id) else { return Ok(()) };
    let hub = Hub::new(&id, options)?;
    match hub.listing() {
        Err(error) if hub.cached().is_none() => Err(error),
        _ => Ok(()),
    }
}

struct Hub<'a> {
    id: &'a HubId,
    options: &'a HubOptions,
    cache: Cache,
    api: Api,
}

impl<'a> Hub<'a> {
    fn new(id: &'a HubId, options: &'a HubOptions) -> Result<Hub<'a>> {
        let cache = Cache::new(options.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(options.endpoint.clone())
            .with_token(options.token.clone())
            .with_retries(2)
            .with_user_agent("kiln", env!("CARGO_PKG_VERSION"))
            .build();
        let problem = |e| Error::Hub { what: id.id.clone(), endpoint: options.endpoint.clone(), problem: text_of(&e) };
        Ok(Hub { api: api.map_err(problem)?, id, options, cache })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.id.clone(), RepoType::Model, revision.to_string())
    }

    fn error(&self, what: &str, problem: String) -> Error {
        Error::Hub {
            what: format!("{what} of `{}` (revision {})", self.id.id, self.id.revision),
            endpoint: self.options.endpoint.clone(),
            problem,
        }
    }

    /// The commit and its files.
    fn listing(&self) -> Result<(String, BTreeSet<String>)> {
        if self.options.offline {
            return Err(self.error(
                "the listing",
                "only the cache may be used (HF_HUB_OFFLINE), and it does not hold the model".to_string(),
            ));
        }
        let info = self.api.repo(self.repo(&self.id.revision)).info();
        let info = info.map_err(|e| self.error("the listing", text_of(&e)))?;
        // The commit becomes a folder's name in the cache.
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(self.error("the listing", format!("it gives {:?} as the commit, expected a hash", info.sha)));
        }
        Ok((info.sha, info.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// Makes the snapshot of a commit hold every file that a model needs; gives its folder.
    fn complete(&self, revision: &str, files: &BTreeSet<String>) -> Result<PathBuf> {
        let snapshot = self.cache.repo(self.repo(revision)).pointer_path(revision);
        self.download(&snapshot, revision, "config.json")?;
        let is_template = |name: &str| {
            let file = name.strip_prefix(super::MORE_TEMPLATES).and_then(|rest| rest.strip_prefix('/'));
            file.is_some_and(|file| file.ends_with(".jinja") && !file.contains('/'))
        };
        let templates = files.iter().map(String::as_str).filter(|name| is_template(name));
        for name in OPTIONAL.into_iter().filter(|name| files.contains(*name)).chain(templates) {
            self.download(&snapshot, revision, name)?;
        }
        if files.contains(SINGLE) {
            self.download(&snapshot, revision, SINGLE)?;
        } else if files.contains(INDEX) {
            let index = self.download(&snapshot, revision, INDEX)?;
            for shard in shards(&index)? {
                self.download(&snapshot, revision, &shard)?;
            }
        } else {
            let gguf = files.iter().find(|f| f.ends_with(".gguf"));
            return Err(self.error(
                "the weights",
                match gguf {
                    Some(gguf) => {
                        format!("it holds neither {SINGLE} nor {INDEX}, but {gguf}: download that and give its path")
                    }
                    None => format!("it holds neither {SINGLE} nor {INDEX}"),
                },
            ));
        }
        // So that the next run finds the snapshot without a network.
        let main = self.cache.repo(self.repo(&self.id.revision));
        main.create_ref(revision).map_err(Error::io("write the reference of", &snapshot))?;
        Ok(snapshot)
    }

    fn download(&self, snapshot: &Path, revision: &str, name: &str) -> Result<PathBuf> {
        let there = snapshot.join(name);
        if there.exists() {
            return Ok(there);
        }
        self.api.repo(self.repo(revision)).download(name).map_err(|e| self.error(name, text_of(&e)))
    }

    /// The snapshot that the cache last knew, if it holds a model.
    fn cached(&self) -> Option<(PathBuf, String)> {
        let config = self.cache.repo(self.repo(&self.id.revision)).get("config.json")?;
        let folder = config.parent()?.to_path_buf();
        let revision = folder.file_name()?.to_str()?.to_string();
        (folder.join(SINGLE).exists() || folder.join(INDEX).exists()).then_some((folder, revision))
    }
}

/// The files that an index lists. [`Checkpoint::open`](crate::weights::Checkpoint::open) checks the rest of it.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let bytes = std::fs::read(index).map_err(Error::io("read", index))?;
    let json: Value =
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: index.to_path_buf(), source })?;
    let names = json.get("weight_map").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let plain = |name: &&str| Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    Ok(names.filter_map(Value::as_str).filter(plain).map(str::to_string).collect())
}

/// An error with its causes, of which `hf-hub` keeps the interesting one inside.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::HubId;

    #[test]
    fn ids_are_told_from_paths() {
        let id = |text| HubId::parse(text).map(|id| (id.id, id.revision));
        assert_eq!(id("gpt2"), Some(("gpt2".to_string(), "main".to_string())));
        assert_eq!(id("a-b/C_d.1@v1.0"), Some(("a-b/C_d.1".to_string(), "v1.0".to_string())));
        for path in [
            "",
            "/tmp/x",
            "./x",
            "../x",
            "a/b/c",
            "a//b",
            "model.gguf",
            "a/b.gguf",
            "a b",
            "~/x",
            "a/b@",
            "a/..",
            "a@../b",
        ] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }
}
