//! One file from the hub into the cache.
//!
//! The cache is that of `huggingface_hub`: contents lie in `blobs` under their etag (for large files, their SHA-256), and a
//! snapshot links to them. A download grows in `<etag>.incomplete`, under a lock that other processes honour, and becomes a blob
//! only when it is whole: whoever dies on the way leaves a beginning that the next run goes on from.

use super::cache::Repository;
use super::client::{Client, Failure, backoff, header};
use crate::source::hex::hex;
use crate::source::progress::Transfer;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use ureq::http::{StatusCode, Uri};

/// What the hub says of a file.
struct Metadata {
    /// The blob's name.
    etag: String,
    size: u64,
}

impl Metadata {
    /// The SHA-256, where the etag is one.
    fn sha256(&self) -> Option<&str> {
        (self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit())).then_some(&self.etag)
    }
}

/// Where a file comes from, and where it goes.
pub(super) struct Download<'a> {
    pub client: &'a Client<'a>,
    /// The model's part of the cache.
    pub cached: &'a Repository,
    /// The snapshot that gets the link.
    pub snapshot: &'a Path,
    /// The file's name in the repository.
    pub name: &'a str,
    /// Where the hub has it.
    pub url: String,
}

impl Download<'_> {
    /// Makes the snapshot hold the file; gives its path there. Nothing is asked if it does already.
    pub(super) fn run(&self) -> Result<PathBuf> {
        let link = self.snapshot.join(self.name);
        if link.exists() {
            return Ok(link);
        }
        let metadata = self.metadata().map_err(|failure| self.error(failure))?;
        let blob = self.cached.blob(&metadata.etag);
        make_parent(&blob)?;
        let lock = self.lock(&metadata.etag)?;
        // Another process may have had the lock, and made the link: its readers may be at it.
        if link.exists() {
            return Ok(link);
        }
        if !blob.metadata().is_ok_and(|blob| blob.len() == metadata.size) {
            self.fetch(&metadata, &blob)?;
        }
        make_link(&blob, self.name, &link)?;
        drop(lock);
        Ok(link)
    }

    fn error(&self, failure: Failure) -> Error {
        self.client.error(&format!("fetch {}", self.name), failure)
    }

    /// Asks for size and etag. The answer to large files is a redirection to another host, which these headers come with.
    fn metadata(&self) -> std::result::Result<Metadata, Failure> {
        let mut url = self.url.clone();
        for _ in 0..5 {
            let answer = self.client.head(&url)?;
            let headers = answer.headers();
            let next = header(headers, "location").filter(|_| answer.status().is_redirection());
            if let Some(next) = next.and_then(|next| on_same_host(&url, next)) {
                url = next;
                continue;
            }
            let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag")).unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"');
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if etag.is_empty() || etag.starts_with('.') || !etag.chars().all(plain) {
                return Err(Failure::broken(format!(
                    "the server gives {etag:?} as the etag, expected a hash; is it a hub?"
                )));
            }
            let size = header(headers, "x-linked-size").or_else(|| header(headers, "content-length"));
            let size = size.and_then(|size| size.parse().ok());
            let size =
                size.ok_or_else(|| Failure::broken("the server does not say how long the file is; is it a hub?"))?;
            return Ok(Metadata { etag: etag.to_string(), size });
        }
        Err(Failure::broken("the server redirects in a circle"))
    }

    /// The lock on a blob: where `huggingface_hub` has it, so that it works across both.
    fn lock(&self, etag: &str) -> Result<File> {
        let path = self.cached.locks().join(format!("{etag}.lock"));
        make_parent(&path)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(store(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting for another process that fetches {}", self.name);
                file.lock().map_err(store(&path))?;
            }
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
                tracing::warn!("{} cannot be locked; do not fetch with several processes at once", path.display());
            }
            Err(TryLockError::Error(e)) => return Err(store(&path)(e)),
        }
        Ok(file)
    }

    /// Fetches the blob, from where an earlier run stopped.
    fn fetch(&self, metadata: &Metadata, blob: &Path) -> Result<()> {
        let path = blob.with_file_name(format!("{}.incomplete", metadata.etag));
        let mut part = Part::open(path)?;
        if part.len > metadata.size {
            part.restart()?;
        }
        let resumed = part.len > 0;
        self.complete(&mut part, metadata.size)?;
        if let (Some(expected), true) = (metadata.sha256(), resumed) {
            // The beginning may be of another time: once more, from the start.
            if part.sha256() != expected {
                part.restart()?;
                self.complete(&mut part, metadata.size)?;
            }
        }
        let found = part.sha256();
        match metadata.sha256() {
            Some(expected) if expected != found => {
                std::fs::remove_file(&part.path).map_err(Error::io("remove", &part.path))?;
                let path = self.snapshot.join(self.name);
                Err(Error::Checksum { path, expected: expected.to_string(), found })
            }
            _ => {
                part.file.sync_data().map_err(store(&part.path))?;
                std::fs::rename(&part.path, blob).map_err(store(blob))
            }
        }
    }

    /// Appends to the part until it has `size` bytes, asking again whenever the connection breaks.
    fn complete(&self, part: &mut Part, size: u64) -> Result<()> {
        let transfer = self.client.options.progress.begin(self.name, size);
        let mut tries = 0;
        loop {
            if part.len == size {
                return Ok(());
            }
            let before = part.len;
            let failure = match self.receive(part, size, &*transfer) {
                Ok(None) => continue,
                Ok(Some(failure)) if failure.refused() => return Err(self.error(failure)),
                Ok(Some(failure)) => failure,
                Err(error) => return Err(error),
            };
            tries = if part.len > before { 0 } else { tries };
            if tries >= self.client.options.retries {
                let rest =
                    format!("{} of {size} bytes are there and kept, and the next run goes on from them", part.len);
                return Err(self.error(Failure::broken(format!("{}; {rest}", failure.problem))));
            }
            tracing::info!("{}: {}; trying again", self.name, failure.problem);
            std::thread::sleep(backoff(tries));
            tries += 1;
        }
    }

    /// One request for what is missing. What is wrong with the network is the inner result, for another try; what is wrong here is
    /// the outer one.
    fn receive(&self, part: &mut Part, size: u64, transfer: &dyn Transfer) -> Result<Option<Failure>> {
        let range = format!("bytes={}-", part.len);
        // Compressed, ranges would count other bytes.
        let answer = match self.client.get(&self.url, &[("range", &range), ("accept-encoding", "identity")]) {
            Ok(answer) => answer,
            Err(failure) => return Ok(Some(failure)),
        };
        if part.len > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
            // The server knows no ranges: this is the file from its start.
            part.restart()?;
        }
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0; 1 << 18];
        while part.len < size {
            transfer.at(part.len);
            let most = buffer.len().min(usize::try_from(size - part.len).unwrap_or(usize::MAX));
            match body.read(&mut buffer[..most]) {
                Ok(0) => return Ok(Some(Failure::broken("the connection ended early"))),
                Ok(count) => part.append(&buffer[..count])?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Ok(Some(Failure::broken(format!("the connection broke ({e})")))),
            }
        }
        Ok(None)
    }
}

/// A download that may not be whole.
struct Part {
    path: PathBuf,
    file: File,
    hash: Sha256,
    len: u64,
}

impl Part {
    fn open(path: PathBuf) -> Result<Part> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(store(&path))?;
        let mut hash = Sha256::new();
        let len = std::io::copy(&mut file, &mut hash).map_err(Error::io("read", &path))?;
        Ok(Part { path, file, hash, len })
    }

    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(store(&self.path))?;
        (self.hash, self.len) = (Sha256::new(), 0);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(store(&self.path))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

/// For `map_err`: the cache cannot be written.
fn store(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::CacheWrite { path, source }
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(store(parent))
}

/// Puts a relative link to the blob at `link`, `name` below its snapshot. Where there are no links, the file itself.
fn make_link(blob: &Path, name: &str, link: &Path) -> Result<()> {
    make_parent(link)?;
    // A link that leads to its blob is another process's, made since this one looked: it may be in use.
    if link.is_symlink() && !link.exists() {
        std::fs::remove_file(link).map_err(store(link))?;
    }
    #[cfg(unix)]
    let made = {
        let up = "../".repeat(2 + name.matches('/').count());
        let blob = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(blob), link)
    };
    #[cfg(not(unix))]
    let made = std::fs::copy(blob, link).map(|_| ());
    match made {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(store(link)(e)),
        _ => Ok(()),
    }
}

/// The absolute URL that a `Location` means, if it stays on the host of `url`.
fn on_same_host(url: &str, location: &str) -> Option<String> {
    let (base, next): (Uri, Uri) = (url.parse().ok()?, location.parse().ok()?);
    match next.authority() {
        Some(authority) => (Some(authority) == base.authority()).then(|| location.to_string()),
        None => Some(format!("{}://{}{next}", base.scheme_str()?, base.authority()?)),
    }
}
