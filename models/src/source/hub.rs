//! Models on the Hugging Face hub, in the cache that Python's `huggingface_hub` keeps too.
//!
//! The repository's listing pins the commit and says which files there are; those that the cache lacks are downloaded into the
//! cache's snapshot of that commit, which then is a folder like any other. Where the hub does not answer, the snapshot that the
//! cache last knew is used; where it says no, that is an error. The layout of the cache is `hf-hub`'s; the requests are our own, on the same HTTP
//! client: `hf-hub` checks no hash, does not wait for a busy server, keeps the server's explanations to itself, and locks and resumes in
//! another way than `huggingface_hub`.

mod cache;
mod client;
mod download;
mod id;
mod options;
mod push;

pub(super) use id::HubId;
pub use options::HubOptions;
pub use push::{PushOptions, Pushed, push_to_hub};

use super::gguf_files;
use super::names::{MORE_TEMPLATES, PROCESSOR_CONFIG};
use crate::tokenizer;
use crate::weights::WEIGHTS;
use crate::{Error, Result};
use cache::Repository;
use client::{Client, Failure};
use download::Download;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The small files that are taken where the repository has them.
const OPTIONAL: [&str; 4] = ["generation_config.json", "chat_template.jinja", "chat_template.json", MODULES];
/// What sentence-transformers adds to a model; the modules' own files are in folders such as `1_Pooling`.
const MODULES: &str = "modules.json";

/// Downloads what the cache lacks; gives a folder or a GGUF file that holds the model, and its commit.
pub(super) fn snapshot(id: &HubId, options: &HubOptions) -> Result<(PathBuf, String)> {
    Hub::new(id, options).snapshot()
}

/// Whether the hub, or the cache in its place, has the model: one small request.
pub(super) fn reachable(id: &str, options: &HubOptions) -> Result<()> {
    let Some(id) = HubId::parse(id, options) else { return Ok(()) };
    let hub = Hub::new(&id, options);
    match hub.cached() {
        Ok(_) => Ok(()),
        Err(error) if options.local_files_only => Err(error),
        Err(_) => hub.listing().map(|_| ()).map_err(|failure| hub.client.error("list the files", failure)),
    }
}

/// What the hub says of a revision.
#[derive(Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    /// A file's path in the repository.
    rfilename: String,
}

struct Hub<'a> {
    id: &'a HubId,
    options: &'a HubOptions,
    cached: Repository,
    client: Client<'a>,
}

impl<'a> Hub<'a> {
    fn new(id: &'a HubId, options: &'a HubOptions) -> Hub<'a> {
        Hub { id, options, cached: Repository::of(&options.cache_dir, &id.id), client: Client::new(id, options) }
    }

    fn not_cached(&self, missing: String) -> Error {
        let HubId { id, revision } = self.id.clone();
        Error::NotCached { id, revision, missing, cache: self.options.cache_dir.clone() }
    }

    /// A folder or a GGUF file that holds the model, and its commit.
    fn snapshot(&self) -> Result<(PathBuf, String)> {
        if self.options.local_files_only {
            return self.cached();
        }
        match self.listing() {
            Ok(info) => {
                let files = info.siblings.into_iter().map(|file| file.rfilename).collect();
                Ok((self.complete(&info.sha, &files)?, info.sha))
            }
            Err(mut failure) => match self.cached() {
                Ok((place, commit)) if !failure.refused() => {
                    tracing::warn!("taking `{}` at {commit} from the cache: {}", self.id.id, failure.problem);
                    Ok((place, commit))
                }
                Ok((_, commit)) => {
                    failure.problem += &format!(". The cache holds commit {commit}: HF_HUB_OFFLINE=1 takes that");
                    Err(self.client.error("list the files", failure))
                }
                Err(_) => Err(self.client.error("list the files", failure)),
            },
        }
    }

    /// The commit and its files.
    fn listing(&self) -> std::result::Result<Listing, Failure> {
        let url = self.id.api(&self.options.endpoint, "revision");
        let info = self.client.get(&url, &[])?.body_mut().read_json::<Listing>();
        let info = info.map_err(|e| Failure::broken(format!("its answer is no listing ({e}); is it a hub?")))?;
        // The commit becomes a folder's name in the cache.
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Failure::broken(format!(
                "it gives {:?} as the commit, expected a hash; is it a hub?",
                info.sha
            )));
        }
        Ok(info)
    }

    /// Makes the snapshot of a commit hold every file that a model needs; gives its folder, or its GGUF file.
    fn complete(&self, commit: &str, files: &BTreeSet<String>) -> Result<PathBuf> {
        let snapshot = self.cached.snapshot(commit);
        let unusable = |problem| self.client.error("use it", Failure::broken(problem));
        let weights = WEIGHTS.into_iter().find(|name| files.contains(*name));
        let others = weights.is_some() && files.contains("config.json");
        let ggufs = gguf_files::among(files.iter().map(String::as_str).filter(|name| plain(name)));
        if let Some(gguf) = gguf_files::choose(&self.id.id, &ggufs, others, self.options.gguf_file.as_deref())? {
            let path = self.download(&snapshot, commit, gguf)?;
            self.remember(commit, &snapshot, gguf)?;
            return Ok(path);
        }
        let (true, Some(weights)) = (others, weights) else {
            return Err(unusable(why_unusable(files)));
        };
        self.download(&snapshot, commit, "config.json")?;
        let is_template = |name: &&str| {
            let file = name.strip_prefix(MORE_TEMPLATES).and_then(|rest| rest.strip_prefix('/'));
            file.is_some_and(|file| file.ends_with(".jinja") && !file.contains('/'))
        };
        let templates = files.iter().map(String::as_str).filter(is_template);
        let tokenizer = tokenizer::files(|name| files.contains(name));
        let optional = OPTIONAL.into_iter().filter(|name| files.contains(*name));
        let is_config = |name: &&str| name.ends_with(PROCESSOR_CONFIG) && !name.contains('/');
        let configs = files.iter().map(String::as_str).filter(is_config);
        for name in optional.chain(tokenizer).chain(templates).chain(configs) {
            self.download(&snapshot, commit, name)?;
        }
        let of_module = |name: &&String| match name.split_once('/') {
            Some((folder, "config.json")) => files.contains(MODULES) && plain(folder),
            _ => false,
        };
        for name in files.iter().filter(of_module) {
            self.download(&snapshot, commit, name)?;
        }
        let path = self.download(&snapshot, commit, weights)?;
        if weights.ends_with(".json") {
            let shards = shards(&path)?;
            if let Some(absent) = shards.iter().find(|shard| !files.contains(*shard)) {
                return Err(unusable(format!(
                    "its {weights} lists {absent}, which it does not hold; tell its authors, or give another revision"
                )));
            }
            for shard in shards {
                self.download(&snapshot, commit, &shard)?;
            }
        }
        self.remember(commit, &snapshot, "config.json")?;
        Ok(snapshot)
    }

    /// Notes the revision's commit, so that the next run finds the snapshot without a network. A cache that knows it already, as its file
    /// `name` shows, may be read-only.
    fn remember(&self, commit: &str, snapshot: &Path, name: &str) -> Result<()> {
        let revision = &self.id.revision;
        let known = self.cached.commit(revision).is_some_and(|known| known == commit) && snapshot.join(name).exists();
        if revision != commit && !known {
            let noted = self.cached.set_commit(revision, commit);
            noted.map_err(|source| Error::CacheWrite { path: snapshot.to_path_buf(), source })?;
        }
        Ok(())
    }

    fn download(&self, snapshot: &Path, commit: &str, name: &str) -> Result<PathBuf> {
        let download = Download {
            client: &self.client,
            cached: &self.cached,
            snapshot,
            name,
            url: format!("{}/{}/resolve/{commit}/{name}", self.options.endpoint, self.id.id),
        };
        download.run()
    }

    /// What the cache last knew for the revision, and its commit.
    fn cached(&self) -> Result<(PathBuf, String)> {
        let missing = |what: String| self.not_cached(what);
        // A revision that is no branch is a commit.
        let commit = self.cached.commit(&self.id.revision).unwrap_or_else(|| self.id.revision.clone());
        let folder = self.cached.snapshot(&commit);
        if !folder.is_dir() {
            return Err(missing("a snapshot".to_string()));
        }
        let weights = WEIGHTS.into_iter().find(|name| folder.join(name).exists());
        let has_config = folder.join("config.json").exists();
        let (ggufs, wanted) = (gguf_files::in_folder(&folder)?, self.options.gguf_file.as_deref());
        match gguf_files::choose(&self.id.id, &ggufs, has_config && weights.is_some(), wanted) {
            Ok(None) => {}
            Ok(Some(gguf)) => return Ok((folder.join(gguf), commit)),
            // The repository may hold what the cache does not.
            Err(_) => return Err(missing(wanted.unwrap_or("a single .gguf file").to_string())),
        }
        let Some(weights) = weights else { return Err(missing(WEIGHTS.join(" or "))) };
        if !has_config {
            return Err(missing("config.json".to_string()));
        }
        if !weights.ends_with(".json") {
            return Ok((folder, commit));
        }
        let shards = shards(&folder.join(weights)).map_err(|e| missing(format!("a readable {weights} ({e})")))?;
        match shards.into_iter().find(|shard| !folder.join(shard).exists()) {
            Some(absent) => Err(missing(absent)),
            None => Ok((folder, commit)),
        }
    }
}

impl Client<'_> {
    fn error(&self, what: &str, failure: Failure) -> Error {
        let HubId { id, revision } = self.id;
        Error::Hub {
            what: format!("{what} of `{id}` (revision {revision})"),
            endpoint: self.options.endpoint.clone(),
            problem: failure.problem,
        }
    }
}

/// Why a repository with these files is no model for us, and what to do about it.
fn why_unusable(files: &BTreeSet<String>) -> String {
    let lacks = if WEIGHTS.into_iter().any(|name| files.contains(name)) {
        "it holds no config.json".to_string()
    } else {
        format!("it holds none of {}", WEIGHTS.join(", "))
    };
    format!("{lacks}; it is no model as transformers saves one")
}

/// The files that an index lists. [`Checkpoint::open`](crate::weights::Checkpoint::open) checks the rest of it.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let bytes = std::fs::read(index).map_err(Error::io("read", index))?;
    let json: Value = crate::json::parse(index, &bytes)?;
    let names = json.get("weight_map").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    Ok(names.filter_map(Value::as_str).filter(|name| plain(name)).map(str::to_string).collect())
}

/// Whether a path leads nowhere but downwards.
fn plain(path: &str) -> bool {
    Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
}
