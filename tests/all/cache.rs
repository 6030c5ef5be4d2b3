//! The compile cache, as a user meets it: what is edited has its effect, what is damaged is made anew, and nothing needs a folder.

use crate::cli::{Bench, llama};
use crate::{golden, options};
use kiln::{CompileCache, ModelFiles};
use kiln_runtime::{Artifact, OpenOptions};
use serde_json::{Value, json};
use std::fs::{read, write};
use std::path::{Path, PathBuf};

const IDS: [&str; 5] = ["--input-ids", "1,2,3", "--max-new-tokens", "6", "--json"];

/// New tokens of a model, and whether it was compiled for them.
fn generate(bench: &Bench, model: &str, variables: &[(&str, &str)]) -> (Vec<u64>, bool, String) {
    let output = bench.kiln_with(&[&["generate", model][..], &IDS].concat(), variables);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ids = answer["token_ids"].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id")).collect();
    (ids, answer["timings"]["compile_seconds"].as_f64().expect("a number") > 0.0, errors)
}

/// The entries of the bench's cache.
fn entries(bench: &Bench) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(bench.path("cache/kiln/artifacts")).expect("reads");
    folder
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "kiln"))
        .collect()
}

#[test]
fn an_edited_model_is_another_model() {
    let bench = Bench::new();
    let folder = bench.model("m");
    let model = folder.to_str().expect("UTF-8");
    let (all, compiled, _) = generate(&bench, model, &[]);
    assert!(compiled && !generate(&bench, model, &[]).1);

    let config = folder.join("config.json");
    let mut fields: Value = serde_json::from_slice(&read(&config).expect("reads")).expect("JSON");
    let before = fields.clone();
    let end = all.iter().position(|id| *id == all[3]).expect("it is there");
    fields["eos_token_id"] = json!(all[3]);
    write(&config, fields.to_string()).expect("writes");
    assert_eq!(generate(&bench, model, &[]).0, all[..=end]);
    // As it was, it is known.
    write(&config, before.to_string()).expect("writes");
    assert_eq!(generate(&bench, model, &[]), (all.clone(), false, String::new()));

    // Other weights of the same size and with the same time, as archives set it.
    let weights = folder.join("model.safetensors");
    let file = std::fs::File::options().write(true).open(&weights).expect("opens");
    let time = file.metadata().and_then(|meta| meta.modified()).expect("a time");
    let mut bytes = read(&weights).expect("reads");
    let half = bytes.len() / 2;
    // The exponents of many values: small ones become large.
    bytes[half..].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 1);
    write(&weights, bytes).expect("writes");
    std::fs::File::options()
        .write(true)
        .open(&weights)
        .and_then(|file| file.set_modified(time))
        .expect("sets the time");
    let (other, compiled, _) = generate(&bench, model, &[]);
    assert!(compiled && other != all, "{other:?}");
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    let entry = entries(&bench).pop().expect("an entry");
    let whole = read(&entry).expect("reads");
    let middle = whole.len() / 2;
    let flipped = [&whole[..middle], &[whole[middle] ^ 1], &whole[middle + 1..]].concat();
    for damaged in [&whole[..middle], &whole[..100], b"", b"nonsense", &flipped] {
        write(&entry, damaged).expect("writes");
        let (got, compiled, errors) = generate(&bench, &llama(), &[]);
        assert!(got == want && compiled && errors.contains("made anew"), "{errors}");
        assert_eq!(generate(&bench, &llama(), &[]), (want.clone(), false, String::new()));
    }
    assert!(read(&entry).expect("reads") == whole);
    // A link leads elsewhere, where nothing is written: an entry takes its place.
    std::fs::remove_file(&entry).expect("removes");
    let elsewhere = bench.path("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &entry).expect("links");
    let (got, compiled, _) = generate(&bench, &llama(), &[]);
    assert!(got == want && compiled && !elsewhere.exists());
    assert!(std::fs::symlink_metadata(&entry).expect("is there").is_file());
}

/// Another model's entry under this one's name is whole, and would answer with the other's words.
#[test]
fn an_entry_answers_to_its_own_name_only() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    let [entry] = &entries(&bench)[..] else { panic!("expected one entry") };
    let own = read(entry).expect("reads");
    let other = bench.model("other");
    let weights = other.join("model.safetensors");
    let mut bytes = read(&weights).expect("reads");
    let half = bytes.len() / 2;
    bytes[half..].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 1);
    write(&weights, bytes).expect("writes");
    let (others, ..) = generate(&bench, other.to_str().expect("UTF-8"), &[]);
    assert_ne!(others, want);
    let found = entries(&bench).into_iter().find(|path| path != entry).expect("another entry");
    // What `kiln compile` wrote is no entry at all.
    let compiled = bench.arg("compiled.kiln");
    bench.works(&["compile", other.to_str().expect("UTF-8"), "-o", &compiled]);
    for foreign in [&found, Path::new(&compiled)] {
        std::fs::copy(foreign, entry).expect("copies");
        let listed = bench.json(&["cache", "list", "--json"]);
        let damaged = listed["entries"].as_array().expect("a list").iter().filter(|e| e["damaged"] == true).count();
        assert_eq!(damaged, 1, "{listed}");
        let (got, compiled, errors) = generate(&bench, &llama(), &[]);
        assert!(got == want && compiled && errors.contains("made anew") && errors.contains("this name"), "{errors}");
        assert!(read(entry).expect("reads") == own);
        assert_eq!(generate(&bench, &llama(), &[]), (want.clone(), false, String::new()));
    }
    // Moved with the whole folder, an entry is what it was.
    std::fs::rename(bench.path("cache"), bench.path("moved")).expect("moves");
    let moved = bench.arg("moved");
    assert_eq!(generate(&bench, &llama(), &[("XDG_CACHE_HOME", &moved)]), (want, false, String::new()));
}

/// Links, FIFOs, devices and folders at an entry's place are replaced, listed and cleared, but nothing in a folder is lost.
#[cfg(unix)]
#[test]
fn what_is_no_file_makes_room() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    let entry = entries(&bench).pop().expect("an entry");
    let (elsewhere, whole) = (bench.path("elsewhere"), bench.path("whole"));
    std::fs::copy(&entry, &whole).expect("copies");
    let link = |to: &Path| std::os::unix::fs::symlink(to, &entry).expect("links");
    let fifo = || assert!(std::process::Command::new("mkfifo").arg(&entry).status().expect("runs").success());
    let things: [&dyn Fn(); 7] = [
        // Nothing is written to where a link leads.
        &|| link(&elsewhere),
        &|| link(&whole),
        &|| link(&entry),
        &|| link(Path::new("/dev/zero")),
        &|| link(&bench.path("")),
        &fifo,
        &|| std::fs::create_dir(&entry).expect("a folder"),
    ];
    for (i, make) in things.iter().enumerate() {
        let _ = std::fs::remove_file(&entry);
        make();
        let listed = bench.json(&["cache", "list", "--json"]);
        assert!(listed["entries"][0]["damaged"] == true && listed["bytes"] == 0, "{i}: {listed}");
        let (got, compiled, _) = generate(&bench, &llama(), &[]);
        assert!(got == want && compiled, "{i}");
        assert!(std::fs::symlink_metadata(&entry).expect("is there").is_file(), "{i}");

        std::fs::remove_file(&entry).expect("removes");
        make();
        let cleared = bench.json(&["cache", "clear", "--json"]);
        assert!(cleared["removed"] == 1 && cleared["bytes"] == 0 && entries(&bench).is_empty(), "{i}: {cleared}");
    }
    assert!(!elsewhere.exists() && whole.exists());

    // A folder with something in it stays, and stops nothing; what to do is said.
    std::fs::create_dir_all(entry.join("inside")).expect("a folder");
    let (got, compiled, errors) = generate(&bench, &llama(), &[]);
    assert!(got == want && compiled && errors.contains("WARN") && errors.contains("remove that folder"), "{errors}");
    let output = bench.kiln(&["cache", "clear"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains(&*entry.to_string_lossy()), "{errors}");
    assert!(entry.join("inside").exists());
}

#[test]
fn a_wrong_option_does_an_entry_no_harm() {
    let bench = Bench::new();
    generate(&bench, &llama(), &[]);
    let [entry] = &entries(&bench)[..] else { panic!("expected one entry") };
    let state = || (read(entry).expect("reads"), entry.metadata().and_then(|m| m.modified()).expect("a time"));
    let before = state();
    let output = bench.kiln(&[&["generate", &llama()][..], &IDS, &["--threads", "100000"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("100000 threads, expected at most"), "{errors}");
    assert!(!errors.contains("made anew") && state() == before, "{errors}");
}

/// Read-only homes, users without one, full disks: a model runs all the same.
#[test]
fn no_folder_is_needed() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    write(bench.path("file"), "").expect("writes");
    let (file, none) = (bench.arg("file"), bench.arg("none"));
    let nowhere: [&[(&str, &str)]; 6] = [
        &[("XDG_CACHE_HOME", "/proc/none"), ("HOME", "/proc/none")],
        &[("XDG_CACHE_HOME", "$ROOT/none"), ("ROOT", "/proc"), ("HOME", "/proc/none")],
        &[("XDG_CACHE_HOME", &file)],
        // Nor a temporary folder.
        &[("XDG_CACHE_HOME", "/proc/none"), ("TMPDIR", "/proc/none")],
        &[("XDG_CACHE_HOME", "/dev/null"), ("TMPDIR", &file)],
        &[("XDG_CACHE_HOME", "/dev/full"), ("TMPDIR", &none)],
    ];
    for variables in nowhere {
        let (got, compiled, errors) = generate(&bench, &llama(), variables);
        assert!(got == want && compiled, "{variables:?}: {errors}");
        assert!(errors.contains("WARN") && errors.contains("XDG_CACHE_HOME"), "{variables:?}: {errors}");
    }
    // A cache that is full is not asked for more; without a size, nothing is kept, as was asked for.
    let (got, compiled, errors) = generate(&bench, &llama(), &[("KILN_CACHE_SIZE", "0")]);
    assert_eq!((got, compiled, errors.as_str()), (want, true, ""));
    let output = bench.kiln_with(&[&["generate", &llama()][..], &IDS].concat(), &[("KILN_CACHE_SIZE", "much")]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("KILN_CACHE_SIZE") && errors.contains("20GiB") && errors.contains("`much`"), "{errors}");
}

/// One variable names one folder, for kiln's cache and the hub's.
#[test]
fn the_folder_is_read_as_the_hubs() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    let home = bench.arg("cache");
    for spelled in ["$ROOT", "${ROOT}/.", "~", "../cache"] {
        std::fs::create_dir_all(bench.path("work")).expect("a folder");
        let variables = [("XDG_CACHE_HOME", spelled), ("ROOT", &*home), ("HOME", &*home)];
        let mut command = bench.command(&[&["generate", &llama()][..], &IDS].concat());
        let output = command.current_dir(bench.path("work")).envs(variables).output().expect("kiln runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["token_ids"], json!(want), "{spelled}");
        assert_eq!(answer["timings"]["compile_seconds"], 0.0, "{spelled}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(entries(&bench).len(), 1);
}

/// A cache that can be read but not written serves what it holds.
#[cfg(unix)]
#[test]
fn a_folder_that_is_only_read_serves() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    let folder = bench.path("cache/kiln/artifacts");
    let mode = |mode| std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).expect("sets the mode");
    mode(0o555);
    assert_eq!(generate(&bench, &llama(), &[]), (want, false, String::new()));
    mode(0o755);
}

#[test]
fn the_least_recently_used_goes() {
    let bench = Bench::new();
    let models = ["a", "b", "c"].map(|name| bench.model(name).to_str().expect("UTF-8").to_string());
    generate(&bench, &models[0], &[]);
    let size = std::fs::metadata(&entries(&bench)[0]).expect("is there").len();
    let two = (2 * size + size / 2).to_string();
    let limit = [("KILN_CACHE_SIZE", two.as_str())];
    let compiled = |model: usize| generate(&bench, &models[model], &limit).1;
    assert!(compiled(1) && !compiled(0), "both are kept");
    assert!(compiled(2) && entries(&bench).len() == 2);
    assert!(!compiled(0) && !compiled(2), "the one that was used longer ago went");
    assert!(compiled(1) && entries(&bench).len() == 2);
    // One that is larger than the limit is kept alone.
    assert!(generate(&bench, &models[0], &[("KILN_CACHE_SIZE", "1kB")]).1);
    assert!(!generate(&bench, &models[0], &[("KILN_CACHE_SIZE", "1kB")]).1 && entries(&bench).len() == 1);
}

#[test]
fn what_is_kept_is_listed_and_cleared() {
    let bench = Bench::new();
    let empty = bench.json(&["cache", "list", "--json"]);
    assert_eq!((&empty["entries"], &empty["bytes"], &empty["limit"]), (&json!([]), &json!(0), &json!(32_u64 << 30)));
    assert_eq!(bench.json(&["cache", "clear", "--json"])["removed"], 0);
    let models = ["a", "b"].map(|name| bench.model(name).to_str().expect("UTF-8").to_string());
    models.iter().for_each(|model| _ = generate(&bench, model, &[]));
    let listed = bench.json(&["cache", "list", "--json"]);
    let names: Vec<&Value> = listed["entries"].as_array().expect("a list").iter().map(|e| &e["model"]["id"]).collect();
    assert_eq!(names, ["b", "a"], "the last used first");
    let bytes: u64 = entries(&bench).iter().map(|entry| std::fs::metadata(entry).expect("is there").len()).sum();
    assert_eq!(listed["bytes"], bytes);
    assert_eq!(listed["folder"], bench.arg("cache/kiln/artifacts"));
    let text = bench.works(&["cache", "list"]);
    assert!(text.contains("AutoModelForCausalLM") && text.contains("2 models"), "{text}");

    write(&entries(&bench)[0], "nonsense").expect("writes");
    let mine = bench.path("cache/kiln/artifacts/mine.kiln");
    write(&mine, "mine").expect("writes");
    assert!(bench.works(&["cache", "list"]).contains("damaged"));
    let cleared = bench.json(&["cache", "clear", "--json"]);
    assert_eq!(cleared["removed"], 2);
    assert_eq!(entries(&bench), [mine], "what is no entry stays");
    assert!(generate(&bench, &models[0], &[]).1);
}

/// Processes that compile the same model at once, and one that empties the cache meanwhile.
#[test]
fn processes_share_a_cache() {
    let bench = Bench::new();
    let (want, ..) = generate(&bench, &llama(), &[]);
    bench.works(&["cache", "clear"]);
    std::thread::scope(|scope| {
        let run = || {
            for _ in 0..3 {
                // A limit that every new entry exceeds.
                assert_eq!(generate(&bench, &llama(), &[("KILN_CACHE_SIZE", "1kB")]).0, want);
            }
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        while threads.iter().any(|thread| !thread.is_finished()) {
            bench.works(&["cache", "clear"]);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let left = std::fs::read_dir(bench.path("cache/kiln/artifacts")).expect("reads").flatten();
    let parts: Vec<_> = left.map(|e| e.file_name()).filter(|n| n.to_string_lossy().ends_with(".part")).collect();
    assert!(parts.is_empty(), "{parts:?}");
}

/// An entry that is removed stays with who has it open.
#[test]
fn an_open_model_outlives_its_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = CompileCache::in_folder(folder.path()).expect("a cache");
    let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
    let open = |open: &OpenOptions| cache.artifact(&files, &options(), open).expect("an artifact");
    let (artifact, report): (Artifact, _) = open(&OpenOptions::default());
    assert!(report.is_some() && Path::new(artifact.name()).exists());
    let (removed, bytes) = cache.clear().expect("clears");
    assert!(removed == 1 && bytes > 0 && !Path::new(artifact.name()).exists());
    let model = kiln::Model::load(artifact, &kiln::LoadOptions::default()).expect("loads");
    crate::check_outputs(&model, &golden("llama"), 1e-4);
}
