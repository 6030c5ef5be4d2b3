//! A hub on localhost: the listing and the files of one model, with ranges, etags and commits as the real one sends them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub struct HubServer {
    pub endpoint: String,
    /// Paths that were asked for, in order.
    pub asked: Arc<Mutex<Vec<String>>>,
}

/// Serves `owner/name` until the test ends.
pub fn serve(id: &'static str, files: BTreeMap<&'static str, Vec<u8>>) -> HubServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (files, log) = (files.clone(), Arc::clone(&log));
            std::thread::spawn(move || answer(stream.unwrap(), id, &files, &log));
        }
    });
    HubServer { endpoint, asked }
}

fn answer(mut stream: TcpStream, id: &str, files: &BTreeMap<&str, Vec<u8>>, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_string());
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_string();
    log.lock().unwrap().push(path.clone());
    let range = lines.iter().find_map(|l| l.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_string));
    let wanted = path.strip_prefix(&format!("/{id}/resolve/")).and_then(|rest| rest.split_once('/'));
    let (status, headers, body) = if path == format!("/api/models/{id}/revision/main") {
        let siblings: Vec<_> = files.keys().map(|f| serde_json::json!({ "rfilename": f })).collect();
        ("200 OK", String::new(), serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes())
    } else if let Some(file) = wanted.and_then(|(_, name)| files.get(name)) {
        let (from, to) = range.as_deref().and_then(|r| r.split_once('-')).unwrap_or(("0", ""));
        let from: usize = from.parse().unwrap();
        let to = to.parse().map_or(file.len(), |to: usize| (to + 1).min(file.len()));
        let name = wanted.unwrap().1;
        let headers = format!(
            "ETag: \"etag-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
            to.saturating_sub(1),
            file.len()
        );
        ("206 Partial Content", headers, file[from.min(to)..to].to_vec())
    } else {
        ("404 Not Found", String::new(), b"no such thing".to_vec())
    };
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
