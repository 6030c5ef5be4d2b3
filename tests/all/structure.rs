//! The arrows between crates, over normal dependencies.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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

#[test]
fn crates_depend_on_their_neighbours_only() {
    let arrows = arrows(&metadata());
    let ours =
        |name: &str| -> BTreeSet<String> { arrows[name].iter().filter(|d| d.starts_with("kiln")).cloned().collect() };
    let allowed: [(&str, &[&str]); 8] = [
        ("kiln-core", &[]),
        ("kiln-ir", &["kiln-core"]),
        ("kiln-frontend", &["kiln-core", "kiln-derive", "kiln-ir"]),
        ("kiln-passes", &["kiln-core", "kiln-ir"]),
        ("kiln-codegen", &["kiln-core", "kiln-runtime"]),
        ("kiln-runtime", &["kiln-core"]),
        ("kiln-c", &["kiln-runtime"]),
        ("kiln-models", &["kiln-core", "kiln-frontend", "kiln-ir"]),
    ];
    for (name, allowed) in allowed {
        let allowed: BTreeSet<String> = allowed.iter().map(|s| s.to_string()).collect();
        let extra: Vec<_> = ours(name).difference(&allowed).cloned().collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
    }
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
