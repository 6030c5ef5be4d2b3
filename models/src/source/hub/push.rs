//! A model from a folder onto the hub, as one commit.
//!
//! The hub is asked, with a sample of each file, which files it takes in the commit itself and which as large files. Those are
//! uploaded first, to wherever the hub says, by the protocol of Git LFS; the commit then names them by their SHA-256.

use super::client::{Client, Failure, header};
use super::{Hub, HubId, HubOptions};
use crate::source::hex::hex;
use crate::source::progress::{Transfer, Watched};
use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::SendBody;

/// What is uploaded of a folder: config, tokenizer, template, card, weights.
const EXTENSIONS: [&str; 6] = ["json", "jinja", "md", "model", "safetensors", "txt"];
const LFS_JSON: &str = "application/vnd.git-lfs+json";
const README: &str = "README.md";

/// How a model is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOptions {
    /// Whether the repository is private, if it is made.
    pub private: bool,
    /// The first line of the commit's message.
    pub message: String,
}

impl Default for PushOptions {
    fn default() -> Self {
        PushOptions { private: false, message: "Upload model".to_string() }
    }
}

/// A commit on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The commit's hash.
    pub commit: String,
    /// Its page.
    pub url: String,
}

/// Uploads a model from a folder as `save_pretrained` lays it out: config, generation config, tokenizer, README and weights
/// (safetensors), whatever of them lies directly in it. The repository `id` is made if it is not there; a revision (`id@branch`,
/// or in the options) must exist. If neither folder nor repository has a README, a short one is written.
///
/// # Errors
/// [`Error::MissingFile`] without a `config.json`, [`Error::NoSuchModel`] if `id` is no id, [`Error::Hub`] with whatever the hub
/// refuses.
pub fn push_to_hub(folder: &Path, id: &str, push: &PushOptions, options: &HubOptions) -> Result<Pushed> {
    let id = HubId::parse(id, options)
        .ok_or_else(|| Error::NoSuchModel { model: id.to_string(), found: "pushing needs a hub id".to_string() })?;
    let hub = Hub::new(&id, options);
    let client = &hub.client;
    let error = |what: &'static str| move |failure| client.error(what, failure);
    let need = if options.local_files_only {
        Some("the hub may not be asked (HF_HUB_OFFLINE or local_files_only)")
    } else if options.token.is_none() {
        Some("that needs a token that may write: set HF_TOKEN, or run `hf auth login`")
    } else {
        None
    };
    if let Some(need) = need {
        return Err(error("push the files")(Failure::broken(need)));
    }
    let mut files = files_of(folder)?;
    let there: BTreeSet<String> = match hub.listing() {
        Ok(info) => info.siblings.into_iter().map(|file| file.rfilename).collect(),
        Err(failure) if failure.refused() => {
            create(client, &id, push).map_err(error("create the repository"))?;
            BTreeSet::new()
        }
        Err(failure) => return Err(error("list the files")(failure)),
    };
    if !files.contains_key(README) && !there.contains(README) {
        files.insert(README.to_string(), Source::Bytes(card(&id, folder)?.into_bytes()));
    }
    let mut described = Vec::new();
    for (name, source) in &files {
        described.push(Described::of(name, source)?);
    }
    choose_modes(client, &id, &mut described).map_err(error("announce the files"))?;
    described.retain(|file| file.mode != Mode::Ignored);
    let large: Vec<&Described> = described.iter().filter(|file| file.mode == Mode::Lfs).collect();
    upload(client, &id, &large).map_err(error("upload the weights"))?;
    commit(client, &id, push, &described).map_err(error("commit the files"))
}

type Attempt<T> = std::result::Result<T, Failure>;

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Source {
    fn open(&self) -> std::io::Result<Box<dyn ReadSeek>> {
        Ok(match self {
            Source::File(path) => Box::new(File::open(path)?),
            Source::Bytes(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Regular,
    Lfs,
    Ignored,
}

/// A file with what the hub wants to know of it.
struct Described<'a> {
    name: &'a str,
    source: &'a Source,
    size: u64,
    sha256: String,
    /// The first bytes.
    sample: Vec<u8>,
    mode: Mode,
}

impl<'a> Described<'a> {
    fn of(name: &'a str, source: &'a Source) -> Result<Described<'a>> {
        let failed = Error::io("read", Path::new(name));
        let digest = || -> std::io::Result<_> {
            let mut file = source.open()?;
            let mut sample = Vec::new();
            file.by_ref().take(512).read_to_end(&mut sample)?;
            file.rewind()?;
            let mut hash = Sha256::new();
            let size = std::io::copy(&mut file, &mut hash)?;
            Ok((size, hex(&hash.finalize()), sample))
        };
        let (size, sha256, sample) = digest().map_err(failed)?;
        Ok(Described { name, source, size, sha256, sample, mode: Mode::Regular })
    }
}

fn files_of(folder: &Path) -> Result<BTreeMap<String, Source>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let known = path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known));
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'));
        if let (Some(name), true, true) = (name, known, path.is_file()) {
            files.insert(name.to_string(), Source::File(path));
        }
    }
    if files.contains_key("config.json") {
        return Ok(files);
    }
    Err(Error::MissingFile {
        folder: folder.to_path_buf(),
        expected: "config.json",
        advice: "give the folder that transformers' save_pretrained wrote".to_string(),
    })
}

/// The least that a model's card says.
fn card(id: &HubId, folder: &Path) -> Result<String> {
    let config = crate::json::read(&folder.join("config.json"))?.unwrap_or_default();
    let tag = config.get("model_type").and_then(Value::as_str).map_or(String::new(), |t| format!("tags:\n- {t}\n"));
    let name = id.id.rsplit('/').next().unwrap_or(&id.id);
    Ok(format!("---\nlibrary_name: transformers\n{tag}---\n\n# {name}\n"))
}

/// Makes the repository; that it exists already (and is hidden, or lacks the revision) shows in the next step.
fn create(client: &Client<'_>, id: &HubId, push: &PushOptions) -> Attempt<()> {
    let (owner, name) = id.id.split_once('/').map_or((None, id.id.as_str()), |(owner, name)| (Some(owner), name));
    let body = json!({ "name": name, "organization": owner, "type": "model", "private": push.private });
    match post(client, &format!("{}/api/repos/create", client.options.endpoint), "application/json", &body.to_string())
    {
        Err(failure) if failure.status.is_some_and(|status| status == 409) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Asks which files go into the commit, which are large, and which the repository ignores.
fn choose_modes(client: &Client<'_>, id: &HubId, files: &mut [Described<'_>]) -> Attempt<()> {
    let list: Vec<Value> = files
        .iter()
        .map(|f| json!({ "path": f.name, "sample": BASE64_STANDARD.encode(&f.sample), "size": f.size }))
        .collect();
    let answer = post(
        client,
        &id.api(&client.options.endpoint, "preupload"),
        "application/json",
        &json!({ "files": list }).to_string(),
    )?;
    for file in files {
        let entries = answer.get("files").and_then(Value::as_array).into_iter().flatten();
        let entry = entries.into_iter().find(|entry| entry.get("path").and_then(Value::as_str) == Some(file.name));
        let mode = entry.and_then(|entry| entry.get("uploadMode")).and_then(Value::as_str);
        let ignored = entry.and_then(|entry| entry.get("shouldIgnore")).and_then(Value::as_bool);
        file.mode = match (ignored, mode) {
            (Some(true), _) => Mode::Ignored,
            (_, Some("lfs")) => Mode::Lfs,
            (_, Some("regular")) => Mode::Regular,
            _ => return Err(Failure::broken(format!("the hub does not say how to upload {}: {answer}", file.name))),
        };
    }
    Ok(())
}

/// Uploads large files that the hub does not have yet.
fn upload(client: &Client<'_>, id: &HubId, files: &[&Described<'_>]) -> Attempt<()> {
    if files.is_empty() {
        return Ok(());
    }
    let objects: Vec<Value> = files.iter().map(|f| json!({ "oid": f.sha256, "size": f.size })).collect();
    let body = json!({
        "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
        "ref": { "name": id.revision }, "objects": objects,
    });
    let url = format!("{}/{}.git/info/lfs/objects/batch", client.options.endpoint, id.id);
    let answer = post(client, &url, LFS_JSON, &body.to_string())?;
    for file in files {
        let objects = answer.get("objects").and_then(Value::as_array).into_iter().flatten();
        let object = objects.into_iter().find(|object| object["oid"] == file.sha256.as_str());
        let object =
            object.ok_or_else(|| Failure::broken(format!("the hub does not say where to upload {}", file.name)))?;
        if let Some(error) = object.get("error") {
            return Err(Failure::broken(format!("the hub does not take {}: {error}", file.name)));
        }
        // Without an action, the hub has the content already.
        let Some(action) = object.pointer("/actions/upload") else { continue };
        transfer(client, file, action)?;
        if let Some(verify) = object.pointer("/actions/verify/href").and_then(Value::as_str) {
            post(client, verify, LFS_JSON, &json!({ "oid": file.sha256, "size": file.size }).to_string())?;
        }
    }
    Ok(())
}

/// Puts one file where the action says: as a whole, or, if it gives a size of chunks, in parts.
fn transfer(client: &Client<'_>, file: &Described<'_>, action: &Value) -> Attempt<()> {
    let unclear =
        || Failure::broken(format!("the hub's instructions for uploading {} are unclear: {action}", file.name));
    let href = action.get("href").and_then(Value::as_str).ok_or_else(unclear)?;
    let headers: BTreeMap<&str, &str> = action
        .get("header")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let transfer = client.options.progress.begin(file.name, file.size);
    let Some(chunk) = headers.get("chunk_size") else {
        let headers: Vec<_> = headers.into_iter().collect();
        put(client, file, href, &headers, 0..file.size, &transfer)?;
        return Ok(());
    };
    let chunk: u64 = chunk.parse().ok().filter(|chunk| *chunk > 0).ok_or_else(unclear)?;
    let mut urls: Vec<(u64, &str)> = headers.iter().filter_map(|(k, url)| Some((k.parse().ok()?, *url))).collect();
    urls.sort_unstable();
    if urls.len() as u64 != file.size.div_ceil(chunk) {
        return Err(unclear());
    }
    let mut parts = Vec::new();
    for (i, (number, url)) in urls.into_iter().enumerate() {
        let from = i as u64 * chunk;
        let etag = put(client, file, url, &[], from..(from + chunk).min(file.size), &transfer)?;
        parts.push(json!({ "partNumber": number, "etag": etag.ok_or_else(unclear)? }));
    }
    post(client, href, LFS_JSON, &json!({ "oid": file.sha256, "parts": parts }).to_string())?;
    Ok(())
}

/// Puts some bytes of a file to a storage; gives the etag.
fn put(
    client: &Client<'_>,
    file: &Described<'_>,
    url: &str,
    headers: &[(&str, &str)],
    bytes: std::ops::Range<u64>,
    transfer: &Arc<dyn Transfer>,
) -> Attempt<Option<String>> {
    let length = (bytes.end - bytes.start).to_string();
    let mut headers = headers.to_vec();
    headers.push(("content-length", &length));
    let answer = client.send("PUT", url, &headers, || {
        let mut reader = file.source.open()?;
        reader.seek(SeekFrom::Start(bytes.start))?;
        transfer.at(bytes.start);
        let reader = reader.take(bytes.end - bytes.start);
        Ok(SendBody::from_owned_reader(Watched { reader, at: bytes.start, transfer: transfer.clone() }))
    })?;
    Ok(header(answer.headers(), "etag").map(str::to_string))
}

fn commit(client: &Client<'_>, id: &HubId, push: &PushOptions, files: &[Described<'_>]) -> Attempt<Pushed> {
    let header = json!({ "key": "header", "value": { "summary": push.message, "description": "" } });
    let mut lines = vec![header.to_string()];
    for file in files {
        let line = if file.mode == Mode::Lfs {
            let value = json!({ "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size });
            json!({ "key": "lfsFile", "value": value })
        } else {
            let mut content = Vec::new();
            let read = file.source.open().and_then(|mut source| source.read_to_end(&mut content));
            read.map_err(|e| Failure::broken(format!("{} cannot be read: {e}", file.name)))?;
            let content = BASE64_STANDARD.encode(content);
            json!({ "key": "file", "value": { "path": file.name, "encoding": "base64", "content": content } })
        };
        lines.push(line.to_string());
    }
    let answer = post(client, &id.api(&client.options.endpoint, "commit"), "application/x-ndjson", &lines.join("\n"))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_string);
    match (text("commitOid"), text("commitUrl")) {
        (Some(commit), Some(url)) => Ok(Pushed { commit, url }),
        _ => Err(Failure::broken(format!("the hub does not name the commit: {answer}"))),
    }
}

/// Posts a text; gives the JSON that comes back, null if nothing does.
fn post(client: &Client<'_>, url: &str, kind: &str, body: &str) -> Attempt<Value> {
    let mut answer = client.send("POST", url, &[("content-type", kind), ("accept", kind)], || Ok(body))?;
    let text = answer.body_mut().read_to_string().map_err(|e| Failure::broken(format!("{url}: {e}")))?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}
