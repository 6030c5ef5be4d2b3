//! What goes wrong on the way from the hub: the message says it, the cache stays sound, and the next run succeeds where it can.

use crate::hub::{assert_sound, golden_files, options, tiny};
use crate::support::hub_server::{Fault, HubServer, serve};
use crate::support::{assert_says, folder};
use kiln_models::source::{HubOptions, ModelFiles};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn resolve(options: &HubOptions) -> Result<ModelFiles, kiln_models::Error> {
    ModelFiles::resolve_with("kiln/tiny", options)
}

/// The ranges of the requests for the weights.
fn ranges(server: &HubServer) -> Vec<String> {
    let asked = server.asked().into_iter().filter(|a| a.path == "/storage/model.safetensors");
    asked.map(|a| a.headers["range"].clone()).collect()
}

#[test]
fn a_broken_download_is_resumed_by_the_next_run() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    server.fault("GET", "/storage/", Fault::Drop(200_000), 1);
    assert_says(
        resolve(&options),
        &["cannot fetch model.safetensors of `kiln/tiny`", "200000 of 568672 bytes are there and kept"],
    );
    assert_sound(cache.path());
    let offline = HubOptions { local_files_only: true, ..options.clone() };
    assert_says(resolve(&offline), &["does not hold a snapshot of `kiln/tiny` (revision main)"]);
    assert_eq!(resolve(&options).unwrap().checkpoint.len(), 21);
    assert_eq!(ranges(&server), ["bytes=0-", "bytes=200000-"]);
    assert_sound(cache.path());
}

#[test]
fn a_broken_download_is_resumed_at_once_if_retries_are_left() {
    let (cache, server) = (folder(), tiny());
    let options = HubOptions { retries: 1, ..options(&server.endpoint, cache.path()) };
    server.fault("GET", "/storage/", Fault::Drop(100_000), 2);
    // The second try gets on, so a third is allowed.
    resolve(&options).unwrap();
    assert_eq!(ranges(&server), ["bytes=0-", "bytes=100000-", "bytes=200000-"]);
    assert_sound(cache.path());
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    server.fault("GET", "/storage/", Fault::Drop(200_000), 1);
    server.fault("GET", "/storage/", Fault::NoRanges, 1);
    assert!(resolve(&options).is_err());
    resolve(&options).unwrap();
    assert_sound(cache.path());
}

#[test]
fn damaged_weights_are_discarded() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    server.fault("GET", "/storage/", Fault::Corrupt, 1);
    assert_says(resolve(&options), &["model.safetensors", "SHA-256", "discarded"]);
    assert_sound(cache.path());
    resolve(&options).unwrap();
    assert_eq!(ranges(&server), ["bytes=0-", "bytes=0-"]);
    assert_sound(cache.path());

    // A beginning that is of another file: fetched anew, without bothering anyone.
    let other = folder();
    let blobs = other.path().join("models--kiln--tiny/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let weights = server.state().files["model.safetensors"].clone();
    let etag = crate::support::hub_server::sha256(&weights);
    for (left, asked) in
        [(1000, &["bytes=1000-", "bytes=0-"][..]), (weights.len(), &["bytes=0-"]), (1 << 20, &["bytes=0-"])]
    {
        std::fs::write(blobs.join(format!("{etag}.incomplete")), vec![7; left]).unwrap();
        resolve(&HubOptions { cache_dir: other.path().to_path_buf(), ..options.clone() }).unwrap();
        assert_eq!(ranges(&server), asked, "{left} bytes");
        assert_sound(other.path());
        std::fs::remove_dir_all(other.path().join("models--kiln--tiny/snapshots")).unwrap();
        std::fs::remove_file(blobs.join(&etag)).unwrap();
    }
}

#[test]
fn a_cut_blob_is_fetched_again() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    let snapshots = cache.path().join("models--kiln--tiny/snapshots");
    resolve(&options).unwrap();
    for blob in std::fs::read_dir(cache.path().join("models--kiln--tiny/blobs")).unwrap() {
        std::fs::write(blob.unwrap().path(), "cut").unwrap();
    }
    std::fs::remove_dir_all(&snapshots).unwrap();
    resolve(&options).unwrap();
    assert_sound(cache.path());
}

#[test]
fn refusals_say_what_to_do() {
    let gated = &[("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access to it is restricted")][..];
    let invalid = &[("X-Error-Message", "Invalid credentials in Authorization header")][..];
    for (status, headers, token, says) in [
        (
            401,
            gated,
            None,
            &["the model is gated: accept its conditions on", "/kiln/tiny, and set HF_TOKEN", "Access to it"][..],
        ),
        (403, gated, Some("hf_x"), &["gated, and the account of the token has no access", "status 403"]),
        (401, invalid, Some("hf_x"), &["does not accept the token", "/settings/tokens"]),
        (401, &[], None, &["no such repository that everyone may see", "hf auth login", "status 401"]),
        (404, &[("X-Error-Code", "RepoNotFound")], Some("hf_x"), &["no such repository that this token may see"]),
        (403, &[], Some("hf_x"), &["the token does not allow this"]),
        (429, &[("Retry-After", "300")], None, &["takes no more requests", "try again in 300 s", "status 429"]),
        (503, &[], None, &["a problem of its own; try again later", "status 503"]),
        (418, &[], None, &["refuses the request (status 418)"]),
    ] {
        // Of the listing, and of a file.
        for (method, path) in [("GET", "/api/models/"), ("HEAD", "model.safetensors")] {
            let (cache, server) = (folder(), tiny());
            let token = token.map(str::to_string);
            let options = HubOptions { token, ..options(&server.endpoint, cache.path()) };
            server.fault(method, path, Fault::Status(status, headers), 1);
            assert_says(resolve(&options), &[says, &["`kiln/tiny`", &server.endpoint]].concat());
            assert_sound(cache.path());
            resolve(&options).unwrap();
        }
    }
}

#[test]
fn a_busy_hub_is_asked_again() {
    let (cache, server) = (folder(), tiny());
    let options = HubOptions { retries: 2, ..options(&server.endpoint, cache.path()) };
    server.fault("GET", "/api/models/", Fault::Status(429, &[("Retry-After", "0")]), 1);
    server.fault("HEAD", "config.json", Fault::Status(503, &[]), 1);
    server.fault("GET", "/storage/", Fault::Status(500, &[("RateLimit", "\"api\";r=0;t=0")]), 2);
    resolve(&options).unwrap();
    assert_eq!(ranges(&server).len(), 3);
    assert_sound(cache.path());
}

#[test]
fn the_cache_serves_if_the_hub_is_busy_but_not_if_it_refuses() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    resolve(&options).unwrap();
    server.fault("GET", "/api/models/", Fault::Status(503, &[]), 1);
    resolve(&options).unwrap();
    server.fault("GET", "/api/models/", Fault::Status(403, &[("X-Error-Code", "GatedRepo")]), 1);
    assert_says(resolve(&options), &["gated", "The cache holds commit 0123", "HF_HUB_OFFLINE=1"]);
}

#[test]
fn what_the_hub_lacks_is_named() {
    let cache = folder();
    let at = |files: &[&'static str], extra: &'static str| {
        let mut files = golden_files(files);
        files.insert(extra, Vec::new());
        let server = serve("kiln/tiny", files);
        resolve(&options(&server.endpoint, cache.path()))
    };
    assert_says(at(&["model.safetensors"], "README.md"), &["`kiln/tiny`", "it holds no config.json"]);
    let neither = "it holds none of model.safetensors, model.safetensors.index.json, pytorch_model.bin";
    assert_says(at(&["config.json"], "README.md"), &[neither, "no model as transformers saves one"]);
    let server = tiny();
    let absent = ModelFiles::resolve_with("kiln/absent", &options(&server.endpoint, cache.path()));
    assert_says(absent, &["`kiln/absent`", "no such repository", &server.endpoint]);
    let nobody = options("http://127.0.0.1:9", cache.path());
    assert_says(
        ModelFiles::resolve_with("kiln/other", &nobody),
        &["http://127.0.0.1:9", "`kiln/other`", "check the network"],
    );
    // A file that was listed and then removed.
    let server = tiny();
    server.fault("HEAD", "config.json", Fault::Status(404, &[("X-Error-Code", "EntryNotFound")]), 1);
    assert_says(
        resolve(&options(&server.endpoint, folder().path())),
        &["fetch config.json", "no such file at this revision"],
    );
}

#[test]
fn a_server_that_is_no_hub_is_found_out() {
    let (cache, server) = (folder(), tiny());
    let options = options(&server.endpoint, cache.path());
    for (method, path, headers, says) in [
        ("GET", "/api/models/", &[][..], "no listing"),
        ("HEAD", "config.json", &[("ETag", "\"../../escape\"")], "\"../../escape\" as the etag"),
        ("HEAD", "config.json", &[], "\"\" as the etag"),
        ("HEAD", "config.json", &[("Location", "/circle/config.json")], "redirects in a circle"),
    ] {
        let status = if headers.iter().any(|(name, _)| *name == "Location") { 307 } else { 200 };
        server.fault(method, path, Fault::Status(status, headers), if status == 307 { 5 } else { 1 });
        assert_says(resolve(&options), &[says]);
    }
    resolve(&options).unwrap();
}

/// Fetches `kiln/tiny` by the environment; run by the tests below, in processes of their own.
#[test]
#[ignore = "other tests run it"]
fn child() {
    match ModelFiles::resolve("kiln/tiny") {
        Ok(files) => println!("{} tensors", files.checkpoint.len()),
        Err(error) => println!("error: {error}"),
    }
}

/// Runs [`child`] under a shell's limits.
fn fetch(limits: &str, server: &HubServer, home: &Path) -> std::process::Child {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits} exec \"$@\"")).arg("sh").arg(std::env::current_exe().unwrap());
    shell.args(["hub_faults::child", "--exact", "--ignored", "--nocapture"]);
    // Nothing of the caller's hub and proxies.
    shell.env_clear().envs(["PATH", "TMPDIR"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    shell.env("HF_ENDPOINT", &server.endpoint).env("HF_HOME", home).stdout(Stdio::piped()).spawn().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_full_disk_is_named_and_the_next_run_goes_on() {
    let (home, server) = (folder(), tiny());
    // A file may have 200 blocks of 512 or 1024 bytes.
    let output = fetch("trap '' XFSZ; ulimit -f 200;", &server, home.path()).wait_with_output().unwrap();
    let said = stdout(&output);
    for part in ["error: cannot store", ".incomplete: File too large", "make room there, or set HF_HUB_CACHE"] {
        assert!(said.contains(part), "expected {part:?} in {said}");
    }
    assert_sound(&home.path().join("hub"));
    let output = fetch("", &server, home.path()).wait_with_output().unwrap();
    assert!(stdout(&output).contains("21 tensors"), "{}", stdout(&output));
    let ranges = ranges(&server);
    let resumed = ranges[1].trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap();
    assert!(ranges.len() == 2 && (100_000..=204_800).contains(&resumed), "{ranges:?}");
    assert_sound(&home.path().join("hub"));
}

#[test]
fn two_processes_share_one_download() {
    let (home, server) = (folder(), tiny());
    server.fault("GET", "/storage/", Fault::WaitForHeads(2), 1);
    let children = [fetch("", &server, home.path()), fetch("", &server, home.path())];
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(stdout(&output).contains("21 tensors"), "{}", stdout(&output));
    }
    assert_eq!(ranges(&server), ["bytes=0-"]);
    assert_sound(&home.path().join("hub"));
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (home, server) = (folder(), tiny());
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_says(
        resolve(&options(&server.endpoint, &file.join("hub"))),
        &["cannot store", "file/hub", "set HF_HUB_CACHE"],
    );
}
