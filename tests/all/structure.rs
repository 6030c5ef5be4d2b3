//! The arrows between crates, over normal dependencies, and between the files of each, which make no circles; and that libraries neither
//! compile what the command needs nor speak of its options; and what the facade shows, as a list to review.

mod circles;
mod public;
mod source;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crates of the workspace.
const CRATES: [&str; 10] = [
    "src",
    "runtime/src",
    "runtime/core/src",
    "runtime/c/src",
    "models/src",
    "frontend/src",
    "frontend/derive/src",
    "ir/src",
    "passes/src",
    "codegen/src",
];

fn metadata() -> Value {
    let out = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// Normal dependencies of each package, by name.
fn arrows(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let targets =
            list(&node["deps"]).into_iter().filter(|d| list(&d["dep_kinds"]).iter().any(|k| k["kind"].is_null()));
        let targets = targets.map(|d| names[&text(&d["pkg"])].clone());
        out.entry(names[&text(&node["id"])].clone()).or_default().extend(targets);
    }
    out
}

/// `codegen -> core` in ARCHITECTURE.md, by the crates' names; a crate is there once.
fn written_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("reads");
    let (_, from) = text.split_once("Arrows, and no others:").expect("the arrows");
    let (paragraph, _) = from.split_once("\n\n").expect("a paragraph");
    let arrows = paragraph.split('`').filter_map(|code| code.split_once(" -> "));
    let named = |name: &str| if name == "kiln" { name.to_string() } else { format!("kiln-{}", name.trim()) };
    let mut written = BTreeMap::new();
    for (from, to) in arrows {
        assert!(written.insert(named(from), to.split(',').map(named).collect()).is_none(), "{from} twice");
    }
    written
}

#[test]
fn crates_depend_on_their_neighbours_only() {
    let arrows = arrows(&metadata());
    // The derive macro is a part of the frontend that Rust wants in a crate of its own.
    let ours = |name: &str| -> BTreeSet<String> {
        arrows[name].iter().filter(|d| d.starts_with("kiln") && *d != "kiln-derive").cloned().collect()
    };
    let written = written_arrows();
    for (name, allowed) in &written {
        assert_eq!(&ours(name), allowed, "{name}");
    }
    assert!(ours("kiln-core").is_empty());
    let all: BTreeSet<&str> = arrows.keys().map(String::as_str).filter(|name| name.starts_with("kiln")).collect();
    let known = written.keys().map(String::as_str).chain(["kiln-core", "kiln-derive"]);
    assert_eq!(all, known.collect(), "ARCHITECTURE.md has no arrows of some of these");
}

/// The names of the packages that whoever depends on kiln with these features compiles.
fn packages_of_kiln(features: &str) -> BTreeSet<String> {
    let out = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "kiln", "--edges", "normal", "--prefix", "none"])
        .args([
            "--target",
            "x86_64-unknown-linux-gnu",
            "--format",
            "{p}",
            "--no-default-features",
            "--features",
            features,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tree = String::from_utf8(out.stdout).expect("UTF-8");
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_string).collect()
}

#[test]
fn a_user_of_the_library_compiles_nothing_of_the_command() {
    let (library, lab, command) = (packages_of_kiln(""), packages_of_kiln("lab"), packages_of_kiln("cli"));
    assert!(library.contains("kiln-models") && library.contains("tokenizers"), "{library:?}");
    for name in ["clap", "indicatif", "tracing-subscriber"] {
        assert!(!library.contains(name), "the library needs {name}");
        assert!(!lab.contains(name), "the laboratory needs {name}");
        assert!(command.contains(name), "the command needs no {name}");
    }
    // The laboratory's alone.
    assert!(!library.contains("rust-sugiyama") && lab.contains("rust-sugiyama") && command.contains("rust-sugiyama"));
}

/// Code that is compiled without a feature names nothing that the feature brings: the tests themselves compile with all of them.
#[test]
fn what_a_feature_brings_is_named_behind_a_feature() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let kiln = packages.iter().find(|p| p["name"] == "kiln").expect("kiln");
    let dependencies = kiln["dependencies"].as_array().expect("dependencies").iter();
    let optional = dependencies
        .filter(|d| d["optional"] == true)
        .map(|d| vec![d["name"].as_str().expect("a name").replace('-', "_")]);
    let brought: Vec<Vec<String>> = optional.chain([vec!["kiln_runtime".into(), "cli".into()]]).collect();
    assert!(brought.contains(&vec!["clap".to_string()]), "{brought:?}");
    let source = source::Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    let gated =
        |attributes: &[syn::Attribute]| source::only_in_tests(attributes) || source::feature_of(attributes).is_some();
    let mut found = vec![];
    for (index, module) in source.modules.iter().enumerate().filter(|(_, module)| module.feature.is_none()) {
        let imports = module.imports.iter().map(|import| import.path.clone());
        for path in imports.chain(circles::paths(module, gated)) {
            let of_feature = |target| {
                let (source::Target::Module(m) | source::Target::Item(m)) = target;
                source.modules[m].feature.is_some()
            };
            if brought.iter().any(|brought| path.starts_with(brought))
                || source.resolve(index, &path).into_iter().any(of_feature)
            {
                found.push(format!("{}: {}", source.files[module.file].display(), path.join("::")));
            }
        }
    }
    assert!(found.is_empty(), "without its feature this does not compile:\n{}", found.join("\n"));
}

/// What a user of the facade sees is decided, and not what happens to be `pub`.
#[test]
fn the_facade_shows_what_the_reviewed_list_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = public::items(&root.join("src/lib.rs"));
    let list = root.join("tests/all/structure/public.txt");
    if std::env::var_os("KILN_BLESS").is_some() {
        let lines: String = found.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&list, lines).expect("writes");
        return;
    }
    let written = std::fs::read_to_string(&list).expect("reads");
    let written: BTreeSet<String> = written.lines().map(str::to_string).collect();
    let signed = |sign: char, a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
        a.difference(b).map(|line| format!("{sign} {line}")).collect()
    };
    let difference = [signed('-', &written, &found), signed('+', &found, &written)].concat();
    assert!(
        difference.is_empty(),
        "the public items of `kiln` are not those of tests/all/structure/public.txt:\n{}\nIf a user of the library needs what is new, \
         and none needs what is gone, run this test with KILN_BLESS=1 and commit the list; else make it `pub(crate)`.",
        difference.join("\n")
    );
}

#[test]
fn the_runtime_has_no_compiler() {
    let arrows = arrows(&metadata());
    let mut seen = BTreeSet::from(["kiln-runtime".to_string()]);
    let mut pending = vec!["kiln-runtime".to_string()];
    while let Some(name) = pending.pop() {
        for d in arrows.get(&name).into_iter().flatten() {
            if seen.insert(d.clone()) {
                pending.push(d.clone());
            }
        }
    }
    let forbidden = [
        "llvm",
        "cubecl",
        "cubek",
        "pliron",
        "egg",
        "burn",
        "blas",
        "mkl",
        "matrixmultiply",
        "gemm",
        "faer",
        "cranelift",
    ];
    for name in &seen {
        let bad = forbidden.iter().find(|f| name.split(['-', '_']).any(|part| part.starts_with(*f)));
        assert!(bad.is_none(), "kiln-run links {name}");
    }
}

#[test]
fn files_import_each_other_in_no_circle() {
    let mut found = vec![];
    for folder in CRATES {
        let circles = circles::circles(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("lib.rs"));
        found.extend(circles.into_iter().map(|circle| format!("{folder}: {circle}")));
    }
    assert!(
        found.is_empty(),
        "files that import each other: move what both need into a file of its own\n{}",
        found.join("\n")
    );
}

/// The Rust files below a folder.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("reads").map(|entry| entry.expect("reads").path()) {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            into.push(entry);
        }
    }
}

/// A caller of the library has fields and functions where a user of the command has `--options`: only the command's own code names them.
#[test]
fn libraries_name_no_option_of_the_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    CRATES.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    assert!(files.len() > 200, "{}", files.len());
    // The command, and options of other programs.
    let exempt = ["/cli/", "/bin/", "source/default_model.rs"];
    for file in files {
        let path = file.to_str().expect("UTF-8");
        if exempt.iter().any(|part| path.contains(part)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("reads").replace("`llama-gguf-split --merge`", "");
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let options = line.match_indices("--").filter(|(at, _)| {
                let (before, after) = (line[..*at].chars().last(), line[at + 2..].chars().next());
                before.is_none_or(|c| !c.is_alphanumeric() && c != '-') && after.is_some_and(|c| c.is_ascii_lowercase())
            });
            assert_eq!(options.count(), 0, "{path}:{}: {line}", number + 1);
        }
    }
}
