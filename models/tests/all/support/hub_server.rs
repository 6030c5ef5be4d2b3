//! A hub on localhost: one model, listed, served and pushed to as the real one does it, with faults where a test wants them.
//!
//! Small files come from the hub itself. Large ones (safetensors) come from a storage on another host, `localhost` instead of
//! `127.0.0.1`, to which the hub redirects; their etag is their SHA-256.
//!
//! HTTP is spoken by hand, since tiny_http cannot end a connection within an answer, which is the fault that matters most, and other
//! servers bring an executor.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const PUSHED: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Fault {
    /// Another status, with these headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// Only so many bytes of the body, then the connection ends.
    Drop(usize),
    /// One byte is another.
    Corrupt,
    /// The whole file, whatever the range.
    NoRanges,
    /// The answer waits until so many HEAD requests for large files arrived.
    WaitForHeads(usize),
}

#[derive(Default)]
pub struct State {
    pub files: BTreeMap<String, Vec<u8>>,
    pub asked: Vec<Asked>,
    /// Method, part of the path, what goes wrong, and how often still.
    pub faults: Vec<(&'static str, &'static str, Fault, usize)>,
    /// Whether the repository exists.
    pub missing: bool,
    /// Size of the parts in which large files are taken.
    pub chunk: Option<usize>,
    uploads: BTreeMap<String, Vec<u8>>,
}

pub struct HubServer {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fault(&self, method: &'static str, path: &'static str, fault: Fault, times: usize) {
        self.state().faults.push((method, path, fault, times));
    }

    /// The requests so far, and forgets them.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }
}

/// Serves `owner/name` until the test ends.
pub fn serve(id: &'static str, files: BTreeMap<&str, Vec<u8>>) -> HubServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let files = files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect();
    let state = Arc::new(Mutex::new(State { files, ..State::default() }));
    let shared = Arc::clone(&state);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let hub = Hub { id, port, state: Arc::clone(&shared) };
            std::thread::spawn(move || hub.answer(stream.unwrap()));
        }
    });
    HubServer { endpoint: format!("http://127.0.0.1:{port}"), state }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn json(value: Value) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: value.to_string().into_bytes() }
    }

    fn refuse(status: u16, code: &str) -> Answer {
        Answer { status, headers: vec![], body: Vec::new() }.with("X-Error-Code", code)
    }

    fn with(mut self, name: &str, value: impl ToString) -> Answer {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

struct Hub {
    id: &'static str,
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Hub {
    fn answer(&self, mut stream: TcpStream) {
        let Some(asked) = read_request(&stream) else { return };
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(asked.clone());
            let hits = |(method, path, _, times): &&mut (&str, &str, Fault, usize)| {
                *times > 0 && asked.method == *method && asked.path.contains(*path)
            };
            state.faults.iter_mut().find(hits).map(|(_, _, fault, times)| {
                *times -= 1;
                fault.clone()
            })
        };
        let mut answer = self.without_faults(&asked, matches!(fault, Some(Fault::NoRanges)));
        let mut sent = usize::MAX;
        match fault {
            Some(Fault::Status(status, headers)) => {
                answer = Answer { status, headers: Vec::new(), body: Vec::new() };
                answer.headers.extend(headers.iter().map(|(name, value)| (name.to_string(), value.to_string())));
            }
            Some(Fault::Drop(after)) => sent = after,
            Some(Fault::Corrupt) => answer.body[1000] ^= 1,
            Some(Fault::WaitForHeads(count)) => self.wait_for_heads(count),
            Some(Fault::NoRanges) | None => {}
        }
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", answer.status);
        answer.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += &format!("Content-Length: {}\r\n\r\n", answer.body.len());
        let body = if asked.method == "HEAD" { &[] } else { &answer.body[..answer.body.len().min(sent)] };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }

    fn wait_for_heads(&self, count: usize) {
        for _ in 0..500 {
            let asked = &self.state.lock().unwrap().asked;
            if asked.iter().filter(|a| a.method == "HEAD" && a.path.ends_with(".safetensors")).count() >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn without_faults(&self, asked: &Asked, no_ranges: bool) -> Answer {
        let mut state = self.state.lock().unwrap();
        let model = format!("/api/models/{}/", self.id);
        let json_body = || serde_json::from_slice::<Value>(&asked.body).unwrap_or_default();
        let range = asked.headers.get("range").filter(|_| !no_ranges).map(String::as_str);
        if asked.path == "/api/repos/create" {
            if !state.missing {
                return Answer::refuse(409, "");
            }
            state.missing = false;
            Answer::json(json!({ "url": "" }))
        } else if let Some(name) = asked.path.strip_prefix("/storage/") {
            state.storage(asked, name, range)
        } else if state.missing {
            Answer::refuse(404, "RepoNotFound")
        } else if asked.path == format!("/{}.git/info/lfs/objects/batch", self.id) {
            let objects: Vec<Value> = json_body()["objects"].as_array().unwrap().clone();
            let objects: Vec<_> = objects.into_iter().map(|o| state.lfs_object(o, self.port)).collect();
            Answer::json(json!({ "objects": objects }))
        } else if let Some(rest) = asked.path.strip_prefix(&model) {
            let (verb, revision) = rest.split_once('/').unwrap();
            match (verb, revision) {
                (_, "main" | "v1.0" | "refs%2Fpr%2F1" | COMMIT) => state.api(verb, asked),
                _ => Answer::refuse(404, "RevisionNotFound"),
            }
        } else {
            let name = asked.path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", self.id));
            match name.and_then(|name| Some((name, state.files.get(name)?))) {
                Some((name, bytes)) if name.ends_with(".safetensors") => {
                    Answer { status: 302, headers: Vec::new(), body: Vec::new() }
                        .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
                        .with("X-Linked-Size", bytes.len())
                        .with("Location", format!("http://localhost:{}/storage/{name}", self.port))
                }
                Some((name, bytes)) => {
                    ranged(bytes, range).with("ETag", format!("W/\"etag-{}\"", name.replace('/', "-")))
                }
                None if asked.path.starts_with(&format!("/{}/", self.id)) => Answer::refuse(404, "EntryNotFound"),
                None => Answer::refuse(401, "RepoNotFound"),
            }
        }
    }
}

impl State {
    fn api(&mut self, verb: &str, asked: &Asked) -> Answer {
        match verb {
            "revision" => {
                let siblings: Vec<_> = self.files.keys().map(|f| json!({ "rfilename": f })).collect();
                Answer::json(json!({ "sha": COMMIT, "siblings": siblings }))
            }
            "preupload" => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                let mode = |path: &str| if path.ends_with(".safetensors") { "lfs" } else { "regular" };
                let files = body["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap());
                let files: Vec<_> = files
                    .map(
                        |path| json!({ "path": path, "uploadMode": mode(path), "shouldIgnore": path == "ignored.txt" }),
                    )
                    .collect();
                Answer::json(json!({ "files": files }))
            }
            "commit" => {
                for line in asked.body.split(|b| *b == b'\n') {
                    let line: Value = serde_json::from_slice(line).unwrap();
                    let value = &line["value"];
                    let bytes = match line["key"].as_str().unwrap() {
                        "header" => continue,
                        "file" => BASE64_STANDARD.decode(value["content"].as_str().unwrap()).unwrap(),
                        _ => match self.uploads.get(value["oid"].as_str().unwrap()) {
                            Some(bytes) => bytes.clone(),
                            None => return Answer::refuse(400, "the commit names an object that was not uploaded"),
                        },
                    };
                    self.files.insert(value["path"].as_str().unwrap().to_string(), bytes);
                }
                Answer::json(json!({ "success": true, "commitOid": PUSHED, "commitUrl": "http://hub/commit" }))
            }
            _ => Answer::refuse(404, ""),
        }
    }

    fn lfs_object(&self, mut object: Value, port: u16) -> Value {
        let oid = object["oid"].as_str().unwrap().to_string();
        if self.uploads.contains_key(&oid) {
            return object;
        }
        let href = format!("http://localhost:{port}/storage/{oid}");
        object["actions"]["upload"] = match self.chunk {
            None => json!({ "href": href, "header": { "x-signed": "yes" } }),
            Some(chunk) => {
                let parts = (object["size"].as_u64().unwrap() as usize).div_ceil(chunk);
                let mut header = json!({ "chunk_size": chunk.to_string() });
                for part in 1..=parts {
                    header[format!("{part:05}")] = json!(format!("{href}?part={part}"));
                }
                json!({ "href": href, "header": header })
            }
        };
        object
    }

    /// Downloads and uploads of large files.
    fn storage(&mut self, asked: &Asked, name: &str, range: Option<&str>) -> Answer {
        let (oid, part) = name.split_once("?part=").unwrap_or((name, ""));
        match asked.method.as_str() {
            "PUT" => {
                let signed = asked.headers.contains_key("x-signed") || !part.is_empty();
                let whole = asked.headers.get("content-length") == Some(&asked.body.len().to_string());
                if !signed || !whole || (part.is_empty() && sha256(&asked.body) != oid) {
                    return Answer::refuse(400, "");
                }
                // Parts lie beside the whole until it is completed.
                self.uploads
                    .insert(if part.is_empty() { oid.into() } else { format!("{oid}/{part:0>5}") }, asked.body.clone());
                Answer::json(json!({})).with("ETag", format!("\"part-{part}\""))
            }
            "POST" => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                let parts = body["parts"].as_array().unwrap();
                let right = parts
                    .iter()
                    .enumerate()
                    .all(|(i, p)| p["partNumber"] == i + 1 && p["etag"] == format!("\"part-{}\"", i + 1));
                let of_it = self.uploads.iter().filter(|(key, _)| key.starts_with(&format!("{oid}/")));
                let whole: Vec<u8> = of_it.flat_map(|(_, bytes)| bytes.clone()).collect();
                if !right || sha256(&whole) != oid {
                    return Answer::refuse(400, "");
                }
                self.uploads.insert(oid.to_string(), whole);
                Answer::json(json!({}))
            }
            _ => self.files.get(name).map_or(Answer::refuse(404, ""), |bytes| ranged(bytes, range)),
        }
    }
}

/// The bytes of a file, or those from the start of a range.
fn ranged(bytes: &[u8], range: Option<&str>) -> Answer {
    let answer = |status, body: &[u8]| Answer { status, headers: Vec::new(), body: body.to_vec() };
    let Some(range) = range.and_then(|r| r.strip_prefix("bytes=")) else { return answer(200, bytes) };
    let from: usize = range.trim_end_matches('-').parse().unwrap();
    let what = format!("bytes {from}-{}/{}", bytes.len().saturating_sub(1), bytes.len());
    answer(206, &bytes[from.min(bytes.len())..]).with("Content-Range", what)
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_string());
    }
    let mut first = lines[0].split(' ');
    let (method, path) = (first.next()?.to_string(), first.next()?.to_string());
    let headers: BTreeMap<String, String> =
        lines.iter().filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_string())).collect();
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body })
}
