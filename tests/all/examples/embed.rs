//! A Rust and a C program that run an artifact.

#[path = "../../../examples/embed/src/main.rs"]
mod example;

use crate::{golden, options};
use kiln::{LoadOptions, Model, ModelFiles};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The static library that cargo made beside this test, which depends on it.
fn static_library() -> PathBuf {
    // Named here, so that it is built.
    let _ = kiln_c::kiln_last_error;
    let folder = std::env::current_exe().expect("a path").parent().expect("a folder").to_path_buf();
    let files = std::fs::read_dir(folder).expect("reads").filter_map(|e| Some(e.ok()?.path()));
    let ours = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libkiln_c") && name.ends_with(".a")
    };
    let time = |p: &PathBuf| p.metadata().and_then(|m| m.modified()).ok();
    files.filter(ours).max_by_key(time).expect("libkiln_c.a")
}

fn run(program: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program).args(args).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_examples_continue_token_ids() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.kiln");
    let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
    kiln::compile(&files, &path, &options()).expect("compiles");
    let artifact = path.to_str().expect("UTF-8");

    let model = Model::open(&path, &LoadOptions::default()).expect("loads");
    let mut from_rust = vec![];
    example::continue_prompt(&model, "89,351,188", &mut from_rust).expect("generates");
    let from_rust = String::from_utf8(from_rust).expect("UTF-8");
    assert_eq!(from_rust.split_whitespace().count(), 16, "{from_rust}");
    let error = example::continue_prompt(&model, "some text", &mut vec![]).expect_err("no tokenizer");
    assert!(error.to_string().contains("no tokenizer"), "{error}");

    let program = folder.path().join("embed_c");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embed_c");
    let mut make = Command::new("make");
    make.arg("-C").arg(source).arg(format!("LIBRARY={}", static_library().display()));
    let make = make.arg(format!("OUT={}", program.display())).output().expect("make runs");
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));

    let (code, from_c, errors) = run(&program, &[artifact, "89", "351", "188"]);
    assert_eq!((code, from_c), (Some(0), from_rust), "{errors}");
    for (args, code, words) in [
        (&[artifact][..], 2, "usage"),
        (&["/nothing.kiln", "1"], 1, "/nothing.kiln"),
        (&[artifact, "some text"], 1, "no tokenizer"),
        (&[artifact, "1", "999999"], 1, "999999"),
    ] {
        let (found, out, errors) = run(&program, args);
        assert_eq!((found, out.as_str()), (Some(code), ""), "{args:?}: {errors}");
        assert!(errors.contains(words) && !errors.contains("panicked"), "{args:?}: {errors}");
    }
}

/// The message of this thread's last failure in the C library.
fn last() -> String {
    // SAFETY: the library's text, valid until the next failure of this thread.
    unsafe { std::ffi::CStr::from_ptr(kiln_c::kiln_last_error()) }.to_string_lossy().into_owned()
}

/// Counts that no array has are refused before the array is looked at.
#[test]
fn absurd_counts_are_errors_in_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.kiln");
    let files = ModelFiles::open_folder(&golden("llama")).expect("opens");
    kiln::compile(&files, &path, &options()).expect("compiles");
    let path = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no zeros");
    let (ids, mut out) = ([1u32; 4], [0u32; 4]);
    // SAFETY: the path ends with a zero, and what is read of the arrays lies within them.
    unsafe {
        assert!(kiln_c::kiln_open(path.as_ptr(), 100_000).is_null());
        assert!(last().contains("100000 threads, expected at most"), "{}", last());
        let model = kiln_c::kiln_open(path.as_ptr(), 1);
        assert!(!model.is_null(), "{}", last());
        for count in [usize::MAX, isize::MAX as usize, 1 << 60, 1 << 40, 1 << 20] {
            assert_eq!(kiln_c::kiln_generate_ids(model, ids.as_ptr(), count, out.as_mut_ptr(), 4), -1);
            let message = last();
            assert!(message.contains(&format!("{count} tokens, more than the context")), "{message}");
        }
        let odd = ids.as_ptr().cast::<u8>().add(1).cast();
        assert_eq!(kiln_c::kiln_generate_ids(model, odd, 1, out.as_mut_ptr(), 4), -1);
        assert!(last().contains("multiple of 4"), "{}", last());
        assert!(kiln_c::kiln_generate_ids(model, ids.as_ptr(), 4, out.as_mut_ptr(), 4) > 0, "{}", last());
        kiln_c::kiln_close(model);
    }
}

#[test]
fn null_is_an_error_in_c() {
    use std::ptr::{null, null_mut};
    assert_eq!(last(), "");
    // SAFETY: null is allowed everywhere.
    unsafe {
        assert!(kiln_c::kiln_open(null(), 0).is_null());
        assert!(last().contains("`path` is NULL"));
        assert_eq!(kiln_c::kiln_generate(null(), c"a".as_ptr(), 1, None, null_mut()), -1);
        assert!(last().contains("`model` is NULL"));
        assert_eq!(kiln_c::kiln_generate_ids(null(), null(), 0, null_mut(), 0), -1);
        kiln_c::kiln_close(null_mut());
    }
}
