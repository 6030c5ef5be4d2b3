//! Programs for other machines than the default one: each kernel compiles and links for each level, and an artifact may hold code for
//! several.

use crate::{check_outputs, golden, options};
use kiln::{CompileOptions, CpuSpec, LoadOptions, Model, ModelFiles, TargetSpec, compile, lab};
use kiln_core::{DType, KernelSpec};
use kiln_runtime::device::check;
use kiln_runtime::{Artifact, OpenOptions, Section};
use std::collections::BTreeSet;
use std::path::Path;

fn level(name: &str) -> TargetSpec {
    TargetSpec::Cpu(CpuSpec::level(name).expect("a level"))
}

/// The kernels of all goldens for a target, each once.
fn kernels(target: &TargetSpec) -> Vec<KernelSpec> {
    let mut specs = BTreeSet::new();
    let folders = std::fs::read_dir(golden("")).expect("goldens").map(|f| f.expect("an entry").path());
    let mut models = 0;
    for folder in folders.filter(|f| f.join("config.json").is_file()) {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", folder.display());
        let files = ModelFiles::open_folder(&folder).unwrap_or_else(|e| panic!("{}", named(&e)));
        let traced = lab::trace(&files, &options()).unwrap_or_else(|e| panic!("{}", named(&e)));
        let compiled = kiln_passes::compile(&traced.module, target, &options().passes);
        specs.extend(compiled.unwrap_or_else(|e| panic!("{}", named(&e))).plan.kernels.into_iter().map(|k| k.spec));
        models += 1;
    }
    assert!(models > 20, "{models} goldens");
    specs.into_iter().collect()
}

/// For the default level, the tests that run the goldens do the same.
fn compile_and_link(name: &str) {
    let target = level(name);
    let specs = kernels(&target);
    let emit = kiln_codegen::CompileOptions { mode: options().emit, jobs: 0 };
    let objects = kiln_codegen::compile_kernels(&specs, target.cpu().expect("a CPU"), &emit);
    let image = kiln_codegen::link_image(&objects.unwrap_or_else(|e| panic!("{e}"))).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(image.entries.len(), specs.len());
    let distinct: BTreeSet<u64> = image.entries.iter().copied().collect();
    assert_eq!(distinct.len(), specs.len(), "each kernel has a place of its own");
}

#[test]
fn every_kernel_links_for_x86_64_v2() {
    compile_and_link("x86-64-v2");
}

#[test]
fn every_kernel_links_for_x86_64_v4() {
    compile_and_link("x86-64-v4");
}

#[test]
fn every_kernel_links_for_aarch64() {
    compile_and_link("aarch64");
}

fn weights(path: &Path) -> u64 {
    let artifact = Artifact::open(path, &OpenOptions::default()).expect("opens");
    artifact.sections().iter().find(|s| s.name == Section::Weights.name()).expect("weights").size
}

#[test]
fn an_artifact_holds_code_for_several_targets_and_its_weights_once() {
    let (f32, f16) = (DType::F32, DType::F16);
    for (name, dtype) in [("llama", f32), ("gemma2", f16), ("t5", f32)] {
        let tolerance = lab::verify::tolerance(dtype);
        let options = || CompileOptions { dtype, ..options() };
        let files = ModelFiles::open_folder(&golden(name)).expect(name);
        let folder = tempfile::tempdir().expect("a folder");
        let [one, several] = ["one.kiln", "several.kiln"].map(|file| folder.path().join(file));
        compile(&files, &one, &options()).expect(name);
        let more_targets = ["aarch64", "x86-64-v2", "x86-64-v4"].map(level).to_vec();
        compile(&files, &several, &CompileOptions { more_targets, ..options() }).expect(name);
        assert_eq!(weights(&one), weights(&several), "{name}: no target adds weights");

        let artifact = Artifact::open(&several, &OpenOptions::default()).expect(name);
        let targets: Vec<&TargetSpec> = artifact.manifest().builds.iter().map(|b| &b.target).collect();
        let names: Vec<&str> = targets.iter().map(|t| t.name()).collect();
        assert_eq!(names, ["x86-64-v3", "aarch64", "x86-64-v2", "x86-64-v4"]);
        let mut best = None;
        for target in targets {
            let of_target = LoadOptions { target: Some(target.name().into()), ..LoadOptions::default() };
            let loaded = Model::open(&several, &of_target);
            if let Err(e) = check(target) {
                assert_eq!(loaded.expect_err("another machine's").to_string(), e.to_string());
                continue;
            }
            let model = loaded.unwrap_or_else(|e| panic!("{name} on {}: {e}", target.name()));
            assert_eq!(model.target(), target);
            check_outputs(&model, &golden(name), tolerance);
            let features = target.cpu().expect("a CPU").features.len();
            best = best.max(Some((features, target.name().to_string())));
        }
        // By default, what makes most of the machine.
        let (_, best) = best.expect("a target of this machine");
        let model = Model::open(&several, &LoadOptions::default()).expect(name);
        assert_eq!(model.target().name(), best);
        check_outputs(&model, &golden(name), tolerance);

        let unknown = LoadOptions { target: Some("z80".into()), ..LoadOptions::default() };
        let error = Model::open(&several, &unknown).expect_err("refused").to_string();
        assert!(error.contains("`z80`: expected x86-64-v3 or aarch64 or"), "{error}");
    }
}

#[test]
fn targets_that_cannot_be_served_are_refused_by_name() {
    let files = ModelFiles::open_folder(&golden("bert-mlm")).expect("opens");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.kiln");
    let of = |target: TargetSpec, more_targets: Vec<TargetSpec>| CompileOptions { target, more_targets, ..options() };
    let refused = |options: CompileOptions| compile(&files, &path, &options).expect_err("refused").to_string();
    let twice = refused(of(level("x86-64-v3"), vec![level("x86-64-v2"), level("x86-64-v3")]));
    assert!(twice.contains("`x86-64-v3` is named twice"), "{twice}");
    let gpu = refused(of(level("x86-64-v3"), vec![kiln::target::find("cuda:a100").expect("known")]));
    assert!(gpu.contains("GPU `a100`"), "{gpu}");

    let foreign = if cfg!(target_arch = "aarch64") { "x86-64-v3" } else { "aarch64" };
    let TargetSpec::Cpu(mut future) = level("x86-64-v3") else { unreachable!("a CPU") };
    (future.name, future.features) = ("future".into(), vec!["a_feature_of_2080".into()]);
    compile(&files, &path, &of(level(foreign), vec![TargetSpec::Cpu(future)])).expect("compiles");
    let error = Model::open(&path, &LoadOptions::default()).expect_err("another machine's").to_string();
    let words = ["no code for this machine", "a_feature_of_2080", foreign.split('-').next().expect("a name")];
    assert!(words.iter().all(|w| error.contains(w)), "{error}");
}
