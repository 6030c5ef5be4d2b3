//! The program `kiln-run` on bad input: exit code 2 for wrong usage, 1 for failure, and a message that says what.

use std::path::Path;
use std::process::{Command, Output};

fn kiln_run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln-run")).args(args).env_clear().output().unwrap()
}

/// Runs it on a file, and gives the message with which it fails.
fn failure(file: &Path) -> String {
    let output = kiln_run(&[file.to_str().unwrap(), "--input-ids", "1,2"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.starts_with("error: ") && !message.contains("panicked"), "{message}");
    assert!(message.contains(file.to_str().unwrap()), "{message} does not name the file");
    assert!(output.stdout.is_empty());
    message
}

#[test]
fn wrong_usage_is_code_2() {
    for (args, word) in [
        (&[][..], "<ARTIFACT>"),
        (&["x.kiln"], "--prompt"),
        (&["x.kiln", "--input-ids", "1,-2"], "token id"),
        (&["x.kiln", "--prompt", "a", "--input-ids", "1"], "cannot be used with"),
        (&["x.kiln", "--prompt", "a", "--temperature", "warm"], "--temperature"),
        (&["x.kiln", "--prompt", "a", "--beams"], "--beams"),
        (&["x.kiln", "--prompt", "a", "--early-stopping", "soon"], "true, false or never"),
        (&["x.kiln", "--chat"], "--prompt"),
        (&["x.kiln", "--prompt", "a", "--tools", "f.json"], "--chat"),
    ] {
        let output = kiln_run(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(word), "{args:?}: {message}");
    }
}

#[test]
fn files_that_are_no_artifact_are_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.kiln");
    assert!(failure(&path).contains("cannot open"));
    assert!(failure(folder.path()).contains("not a regular file"));
    for (bytes, words) in [
        (&b""[..], "not a kiln artifact"),
        (b"GGUF and more", "not a kiln artifact"),
        (&kiln_runtime::artifact::MAGIC, "damaged"),
        (&[&kiln_runtime::artifact::MAGIC[..], &[1; 5000]].concat(), "version"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = failure(&path);
        assert!(message.contains(words), "{message}");
    }
}
