//! What the command writes, and where: nothing that is read is written over, what is no file stays what it is, and output that nobody
//! takes is an error like others.
#![cfg(unix)]

use crate::cli::{Bench, llama};
use crate::golden;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::{Command, Output, Stdio};

fn inputs() -> String {
    golden("llama").join("golden.safetensors").to_str().expect("UTF-8").to_string()
}

#[test]
fn what_is_read_is_not_written_over() {
    let bench = Bench::new();
    let (folder, artifact) = (bench.model("m"), bench.artifact());
    let model = folder.to_str().expect("UTF-8").to_string();
    for file in ["tokenizer.json", "vocab.txt", "spiece.model", "chat_template.jinja"] {
        fs::write(folder.join(file), "{}").expect("writes");
    }
    fs::create_dir(folder.join("1_Pooling")).expect("a folder");
    fs::write(folder.join("1_Pooling/config.json"), "{}").expect("writes");
    let weights = folder.join("model.safetensors");
    let link = |name: &str| {
        symlink(&weights, bench.path(name)).expect("links");
        bench.arg(name)
    };
    let before = |path: &str| fs::read(path).expect("reads");
    let refuses = |args: &[&str], out: &str| {
        let old = before(out);
        let is_link = fs::symlink_metadata(out).expect("is there").is_symlink();
        bench.fails(&[args, &["-o", out]].concat(), &["cannot write", out, "which is read"]);
        assert!(before(out) == old && fs::symlink_metadata(out).expect("is there").is_symlink() == is_link, "{out}");
    };
    let inner =
        ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "spiece.model", "1_Pooling/config.json"];
    for file in inner {
        refuses(&["compile", &model], folder.join(file).to_str().expect("UTF-8"));
    }
    refuses(&["compile", &model], &link("m.kiln.link"));
    fs::hard_link(&weights, bench.path("hard.kiln")).expect("links");
    refuses(&["compile", &model], &bench.arg("hard.kiln"));
    refuses(&["compile", &model], &format!("{model}/../m/model.safetensors"));

    let given = bench.arg("in.safetensors");
    fs::copy(inputs(), &given).expect("copies");
    refuses(&["run", &artifact, "--inputs", &given], &given);
    refuses(&["run", &artifact, "--inputs", &given], &artifact);
    refuses(&["run", &model, "--inputs", &given], weights.to_str().expect("UTF-8"));
    refuses(&["graph", &model], &link("picture.svg"));
    let text = "entry @f(%0: f32[4] input \"x\") {\n  %1: f32[4] = exp %0\n  return \"y\" %1\n}\n";
    fs::write(bench.path("f.kir"), text).expect("writes");
    symlink("f.kir", bench.path("f.svg")).expect("links");
    refuses(&["graph", &bench.arg("f.kir")], &bench.arg("f.svg"));

    // Through a descriptor, opened for reading or for both.
    let open = |write| File::options().read(true).write(write).open(&given).expect("opens");
    for (stdin, says) in [(open(false), "open for reading only"), (open(true), "which is read")] {
        let old = before(&given);
        let mut run = bench.command(&["run", &artifact, "--inputs", &given, "-o", "/dev/stdin"]);
        let output = run.stdin(stdin).output().expect("runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && errors.contains(says), "{errors}");
        assert!(before(&given) == old);
    }

    let target = bench.arg("machine.toml");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/targets/zen4.toml"), &target).expect("copies");
    refuses(&["compile", &model, "--target", &target], &target);

    // What a model is not read from may be replaced, in its folder too.
    fs::remove_file(folder.join("tokenizer.json")).expect("removes");
    for _ in 0..2 {
        bench.works(&["compile", &model, "-o", folder.join("m.kiln").to_str().expect("UTF-8")]);
    }
}

#[test]
fn what_is_no_file_stays_what_it_is() {
    let bench = Bench::new();
    let artifact = bench.artifact();
    let fifo = bench.arg("fifo.svg");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("runs").success());
    fs::create_dir(bench.path("folder.svg")).expect("a folder");
    symlink("fifo.svg", bench.path("link.svg")).expect("links");
    let given = inputs();
    let model = llama();
    let verbs: [&[&str]; 4] =
        [&["compile", &model], &["run", &artifact, "--inputs", &given], &["graph", &model], &["calibrate"]];
    for verb in verbs {
        for (name, what) in [("fifo.svg", "a FIFO"), ("link.svg", "a FIFO"), ("folder.svg", "a folder")] {
            let out = bench.arg(name);
            bench.fails(&[verb, &["-o", &out]].concat(), &["cannot write", &out, what]);
        }
    }
    assert!(fs::symlink_metadata(&fifo).expect("is there").file_type().is_fifo());
    // A device takes a stream; an artifact is none.
    bench.works(&["run", &artifact, "--inputs", &given, "-o", "/dev/null"]);
    bench.fails(&["compile", &model, "-o", "/dev/null"], &["/dev/null", "a stream"]);
    bench.fails(
        &["run", &artifact, "--inputs", &given, "-o", "/dev/full"],
        &["cannot write /dev/full", "No space left"],
    );
    assert!(fs::symlink_metadata("/dev/null").expect("is there").file_type().is_char_device());
    let file = bench.arg("o.safetensors");
    bench.works(&["run", &artifact, "--inputs", &given, "-o", &file]);
    let picture = bench.arg("p.svg");
    bench.works(&["graph", &model, "-o", &picture]);
    let streamed = bench.kiln(&["graph", &model, "-o", "/dev/stdout"]);
    assert!(streamed.status.success() && streamed.stdout == fs::read(&picture).expect("reads"));
    bench.fails(&["graph", &model, "-o", &bench.arg("p.png")], &["p.png", "expected a file .svg or .html"]);
    let streamed = bench.kiln(&["run", &artifact, "--inputs", &given, "-o", "/dev/stdout"]);
    assert!(streamed.status.success() && streamed.stdout == fs::read(&file).expect("reads"));
}

#[test]
fn links_and_long_names_are_written() {
    let bench = Bench::new();
    fs::create_dir(bench.path("real")).expect("a folder");
    symlink("real/m.kiln", bench.path("link.kiln")).expect("links");
    let link = bench.arg("link.kiln");
    for _ in 0..2 {
        bench.works(&["compile", &llama(), "-o", &link]);
        assert!(bench.path("link.kiln").is_symlink() && bench.path("real/m.kiln").is_file());
    }
    for length in [240, 245, 250, 255] {
        let name = format!("out/{}.kiln", "n".repeat(length - 5));
        bench.works(&["compile", &llama(), "-o", &bench.arg(&name)]);
        fs::remove_file(bench.path(&name)).expect("is there");
    }
    bench.fails(&["compile", &llama(), "-o", &bench.arg(&format!("out/{}", "n".repeat(256)))], &["cannot write"]);
}

#[test]
fn a_link_that_leads_nowhere_is_no_hub_id() {
    let bench = Bench::new();
    symlink("loop", bench.path("loop")).expect("links");
    symlink("nowhere", bench.path("dangling")).expect("links");
    fs::create_dir(bench.path("acme")).expect("a folder");
    symlink("tiny", bench.path("acme/tiny")).expect("links");
    for (model, to) in [("loop", "loop"), ("dangling", "nowhere"), ("acme/tiny", "tiny")] {
        let says = format!("a link to {to}, which cannot be followed");
        bench.fails(&["generate", model, "--input-ids", "1"], &[model, &says]);
        bench.fails(&["compile", model, "-o", &bench.arg("out/m.kiln")], &[model, &says]);
    }
}

/// Runs with stdout or stderr closed at the other end, or full.
fn into(bench: &Bench, args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    bench.command(args).stdout(stdout).stderr(stderr).output().expect("runs")
}

/// The end to write to of a pipe that nobody reads.
fn closed() -> Stdio {
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().expect("runs");
    let pipe = reader.stdin.take().expect("a pipe");
    reader.wait().expect("ends");
    pipe.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("opens").into()
}

#[test]
fn output_that_nobody_takes_is_an_error() {
    let bench = Bench::new();
    let (model, artifact, svg) = (llama(), bench.artifact(), bench.arg("g.svg"));
    fs::write(bench.path("f.kir"), "entry @f(%0: f32[4] input \"x\") {\n  %1: f32[4] = exp %0\n  return \"y\" %1\n}\n")
        .expect("writes");
    let file = bench.arg("f.kir");
    let verbs: [&[&str]; 15] = [
        &["inspect", &artifact],
        &["inspect", &artifact, "--ir"],
        &["inspect", &artifact, "--json"],
        &["inspect", &artifact, "--schedule"],
        &["explain", &model],
        &["explain", &model, "--json"],
        &["opt", &file],
        &["opt", &file, "--json"],
        &["graph", &model, "-o", &svg],
        &["generate", &artifact, "--input-ids", "1,2", "--max-new-tokens", "2"],
        &["generate", &artifact, "--input-ids", "1,2", "--max-new-tokens", "2", "--json"],
        &["bench", &artifact, "--rounds", "1", "--sizes", "b=1,s=4"],
        &["bench", &artifact, "--rounds", "1", "--sizes", "b=1,s=4", "--json"],
        &["verify", &model, "--json"],
        &["cache", "list"],
    ];
    for verb in verbs {
        for stdout in [closed(), full()] {
            let output = into(&bench, verb, stdout, Stdio::piped());
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{verb:?}: {errors}");
            assert!(errors.contains("cannot write to stdout") && !errors.contains("panicked"), "{verb:?}: {errors}");
        }
        // With nowhere to say it, too.
        assert_eq!(into(&bench, verb, full(), closed()).status.code(), Some(1), "{verb:?}");
    }
    // What goes to stderr is no result: it may be lost.
    for verb in [&["compile", &model, "-o", &bench.arg("m2.kiln")][..], &["opt", &file, "--stats"]] {
        for stderr in [closed(), full()] {
            assert!(into(&bench, verb, Stdio::null(), stderr).status.success(), "{verb:?}");
        }
    }
    assert_eq!(into(&bench, &["inspect", "/nothing.kiln"], Stdio::null(), closed()).status.code(), Some(1));
}

/// Runs with another `/dev/shm`, which a namespace of its own allows on most systems.
fn with_shm(bench: &Bench, mount: &str, variables: &[(&str, &str)], args: &[&str]) -> Option<Output> {
    let run = |args: &[&str], script: String| {
        let mut command = Command::new("unshare");
        let kiln = bench.command(&[]);
        command.args(["-rm", "sh", "-c", &script, "sh"]).arg(kiln.get_program()).args(args);
        command.envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?)))).envs(variables.iter().copied());
        command.output().ok()
    };
    let possible = run(&["--version"], format!("{mount} && exec \"$@\""))?.status.success();
    possible.then(|| run(args, format!("{mount} && exec \"$@\"")).expect("runs"))
}

#[test]
fn a_full_or_read_only_memory_folder_is_not_needed() {
    let bench = Bench::new();
    let (out, model) = (bench.arg("m.kiln"), llama());
    let args = ["compile", &model, "-o", &out];
    for mount in ["mount -t tmpfs -o size=8k none /dev/shm", "mount -t tmpfs -o ro none /dev/shm"] {
        let Some(output) = with_shm(&bench, mount, &[], &args) else {
            eprintln!("skipped: this system gives no namespace of its own");
            return;
        };
        assert!(output.status.success(), "{mount}: {}", String::from_utf8_lossy(&output.stderr));
        fs::remove_file(&out).expect("is there");
        // With no other folder, both are named.
        let output = with_shm(&bench, mount, &[("TMPDIR", "/proc/none")], &args).expect("as before");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for part in ["/dev/shm: ", "/proc/none: No such file", "set TMPDIR"] {
            assert!(errors.contains(part), "{mount}: `{part}` is not in: {errors}");
        }
    }
}

#[test]
fn a_temporary_folder_is_not_needed() {
    let bench = Bench::new();
    let mut command = bench.command(&["compile", &llama(), "-o", &bench.arg("m.kiln")]);
    let output = command.env("TMPDIR", "/proc/none").output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
