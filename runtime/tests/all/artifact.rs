//! The file: what goes in comes out, and nothing that is not whole is accepted.

use crate::toy;
use kiln_core::{BlockFormat, CpuSpec, Storage, TargetSpec, WeightSpec};
use kiln_runtime::artifact::Build;
use kiln_runtime::{Artifact, ArtifactWriter, Error, LoadOptions, Model, OpenOptions, Section, artifact};

fn open(bytes: &[u8]) -> kiln_runtime::Result<Artifact> {
    Artifact::from_bytes(bytes.to_vec(), &OpenOptions { threads: Some(1), ..OpenOptions::default() })
}

fn trusting(bytes: &[u8]) -> kiln_runtime::Result<Artifact> {
    Artifact::from_bytes(
        bytes.to_vec(),
        &OpenOptions { threads: Some(1), trust_weights: true, ..OpenOptions::default() },
    )
}

fn message<T>(result: kiln_runtime::Result<T>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn sections_come_back() {
    let file = toy::artifact();
    let a = open(&file).unwrap();
    let mut plan = toy::plan();
    plan.weights[0].offset = 0;
    assert_eq!(a.plan(0).unwrap(), plan);
    assert_eq!(a.manifest(), &toy::manifest());
    assert_eq!(a.text(Section::Tokenizer).unwrap(), Some("{}"));
    assert_eq!(a.section(Section::ChatTemplate), None);
    assert_eq!(a.weight(&plan.weights[0]).unwrap(), bytemuck::cast_slice::<f32, u8>(&toy::WEIGHTS));
    assert_eq!(file, toy::artifact(), "the same calls write the same bytes");
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.kiln");
    let mut w = ArtifactWriter::create(&path).unwrap();
    w.manifest(&toy::manifest()).unwrap();
    let mut spec =
        WeightSpec { name: "w".into(), storage: toy::dense(kiln_core::DType::F32), shape: vec![5], offset: 9 };
    let short = message(w.weight(&mut spec, |out| out.write_all(&[0; 19])));
    assert!(short.contains("weight `w`") && short.contains("expected 20 bytes, found 19"), "{short}");
    assert!(message(w.finish()).contains("an earlier error"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");

    let mut w = ArtifactWriter::create(&path).unwrap();
    w.manifest(&toy::manifest()).unwrap();
    for n in [5, 300_000] {
        spec.shape = vec![n];
        w.weight(&mut spec, |out| (0..n).try_for_each(|i| out.write_all(&(i as f32).to_le_bytes()))).unwrap();
    }
    assert_eq!(spec.offset, 64);
    w.named_section("of_the_future", b"skipped").unwrap();
    assert!(!path.exists());
    w.finish().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let a = Artifact::open(&path, &OpenOptions::default()).unwrap();
    let weight: &[f32] = bytemuck::cast_slice(a.weight(&spec).unwrap());
    assert!(weight.iter().enumerate().all(|(i, x)| *x == i as f32));
    assert_eq!(a.named_section("of_the_future"), Some(&b"skipped"[..]));
}

/// A copy does not need the file any more; one that is mapped would end the program.
#[test]
fn a_copy_outlives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.kiln");
    std::fs::write(&path, toy::artifact()).unwrap();
    let options = OpenOptions { copy: true, ..OpenOptions::default() };
    let copied = Artifact::open(&path, &options).unwrap();
    let weights = |a: &Artifact| a.require(Section::Weights).unwrap().to_vec();
    let before = weights(&copied);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(weights(&copied), before);
    assert!(Model::load(copied, &LoadOptions { copy: true, ..LoadOptions::default() }).is_ok());
    assert!(message(Artifact::open(&path, &options)).contains("is not a kiln artifact"));

    // The file's alignment is the copy's, so that weights are not copied once more.
    std::fs::write(&path, toy::artifact()).unwrap();
    let copied = Artifact::open(&path, &options).unwrap();
    assert!(copied.section(Section::Weights).unwrap().as_ptr().addr().is_multiple_of(64));
    let mut damaged = toy::artifact();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(message(Artifact::open(&path, &options)).contains("toy.kiln"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_fifo_is_no_artifact_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo.kiln");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(message(Artifact::open(&path, &OpenOptions::default())).contains("not a regular file"));
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let mut w = ArtifactWriter::in_memory().unwrap();
    let mut spec =
        WeightSpec { name: "w".into(), storage: Storage::Block(BlockFormat::Q8_0), shape: vec![2, 33], offset: 0 };
    assert!(message(w.weight(&mut spec, |_| Ok(()))).contains("cuts no block"));
    spec.shape = vec![usize::MAX, 32];
    assert!(message(w.weight(&mut spec, |_| Ok(()))).contains("fits memory"));
    w.section(Section::Ir, b"a").unwrap();
    assert!(message(w.section(Section::Ir, b"b")).contains("section `ir`: expected each section once"));
    assert!(message(w.named_section("a name", b"")).contains("printable ASCII"));
}

#[test]
fn any_changed_byte_is_noticed() {
    let file = toy::artifact();
    let weights = open(&file).unwrap().sections().iter().find(|s| s.name == "weights").unwrap().clone();
    let weights = weights.offset as usize..(weights.offset + weights.size) as usize;
    let mut bytes = file.clone();
    for at in 0..bytes.len() {
        for flip in [0x01, 0xff] {
            bytes[at] ^= flip;
            let error = open(&bytes).err();
            assert!(error.is_some_and(|e| e.to_string().contains("artifact in memory")), "byte {at} changed");
            assert_eq!(trusting(&bytes).is_ok(), weights.contains(&at), "byte {at} changed, weights trusted");
            bytes[at] ^= flip;
        }
    }
    assert_eq!(bytes, file);
}

#[test]
fn any_other_length_is_noticed() {
    let mut file = toy::artifact();
    for len in 0..file.len() {
        assert!(open(&file[..len]).is_err(), "{len} bytes");
        assert!(trusting(&file[..len]).is_err(), "{len} bytes, weights trusted");
    }
    file.push(0);
    assert!(message(open(&file)).contains("length of the file"));
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.kiln");
    std::fs::write(&path, b"").unwrap();
    let refused = |path| message(Artifact::open(path, &OpenOptions::default()));
    assert!(refused(path.as_path()).contains("empty.kiln` is not a kiln artifact"));
    assert!(refused(folder.path()).contains("not a regular file"));
    assert!(refused(&folder.path().join("absent.kiln")).contains("cannot open"));
    assert!(message(open(b"GGUF\x03\0\0\0")).contains("is not a kiln artifact"));

    let mut file = toy::artifact();
    file[8..12].copy_from_slice(&7u32.to_le_bytes());
    let own = artifact::FORMAT_VERSION;
    let expected = format!("has artifact format version 7, this program reads version {own}: recompile it with");
    assert!(message(open(&file)).contains(&expected));
}

/// Also where every checksum of the file is right.
#[test]
fn a_plan_of_other_code_is_refused() {
    let sound = open(&toy::artifact()).unwrap();
    let plan = String::from_utf8(sound.section(Section::Plan).unwrap().to_vec()).unwrap();
    let other = plan.replace("\"max\":3", "\"max\":2");
    assert_ne!(plan, other);
    let mut w = ArtifactWriter::in_memory().unwrap();
    for section in sound.sections() {
        let bytes = sound.named_section(&section.name).unwrap();
        w.named_section(&section.name, if section.name == "plan" { other.as_bytes() } else { bytes }).unwrap();
    }
    let changed = open(&w.finish().unwrap()).unwrap();
    assert!(message(changed.plan(0)).contains("section `plan`: expected the plan"));
    assert!(message(changed.plan(0)).contains("that the code was compiled for"));
    assert!(sound.plan(0).is_ok());
}

#[test]
fn missing_sections_are_named() {
    assert!(message(open(&ArtifactWriter::in_memory().unwrap().finish().unwrap())).contains("no `manifest` section"));
    let mut w = ArtifactWriter::in_memory().unwrap();
    w.manifest(&toy::manifest()).unwrap();
    let file = w.finish().unwrap();
    let refused = message(Model::from_bytes(file, &LoadOptions::default()));
    assert!(refused.contains("no `plan` section") && refused.contains("it has manifest"), "{refused}");
}

#[test]
fn intact_nonsense_is_refused() {
    let mut w = ArtifactWriter::in_memory().unwrap();
    w.section(Section::Manifest, b"{\"kiln\": 3}").unwrap();
    let refused = message(open(&w.finish().unwrap()));
    assert!(refused.contains("section `manifest`") && refused.contains("invalid type"), "{refused}");

    let a = open(&toy::artifact()).unwrap();
    let mut spec = toy::plan().weights.remove(0);
    for (offset, shape) in [(0, vec![6]), (1, vec![1]), (64, vec![1]), (!63, vec![1]), (0, vec![usize::MAX, 9])] {
        (spec.offset, spec.shape) = (offset, shape);
        assert!(message(a.weight(&spec)).contains("weight `w`"));
    }
    spec.shape = vec![5];
    spec.offset = 0;
    assert!(a.weight(&spec).is_ok());
}

#[test]
fn code_for_another_machine_is_not_run() {
    let mut manifest = toy::manifest();
    let strange = CpuSpec { features: vec!["a_feature_of_2080".into()], ..toy::target() };
    manifest.builds = vec![Build::for_target(TargetSpec::Cpu(strange))];
    let file = toy::artifact_of(toy::plan(), &manifest, &[0xc3]);
    let refused = message(Model::from_bytes(file, &LoadOptions::default()));
    assert!(
        refused.contains("built for x86-64-v3 (needs a_feature_of_2080)") && refused.contains("recompile"),
        "{refused}"
    );
    let other = CpuSpec { triple: "z80-unknown-cpm".into(), ..toy::target() };
    manifest.builds = vec![Build::for_target(TargetSpec::Cpu(other))];
    let file = toy::artifact_of(toy::plan(), &manifest, &[0xc3]);
    assert!(matches!(Model::from_bytes(file, &LoadOptions::default()), Err(Error::WrongMachine { .. })));
}

#[test]
fn entries_lie_within_the_image() {
    let mut plan = toy::plan();
    plan.kernels[2].entry = 1;
    let refused =
        message(Model::from_bytes(toy::artifact_of(plan, &toy::manifest(), &[0xc3]), &LoadOptions::default()));
    assert!(refused.contains("kernel `sum`: expected an entry within the image, found 1"), "{refused}");
}

/// A real image: machine code that stores 42.0 through its second operand, after some bytes that are not its entry.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_image_runs_from_a_file_and_from_memory() {
    use kiln_runtime::{Session, SessionOptions, TensorView};
    #[rustfmt::skip]
    let image = [
        0xcc, 0xcc, 0xcc, 0xcc,
        0x48, 0x8b, 0x47, 0x20,                    // mov rax, [rdi + 32]
        0xc7, 0x00, 0x00, 0x00, 0x28, 0x42,        // mov dword [rax], 42.0f
        0xc3,                                      // ret
    ];
    let mut plan = toy::plan();
    plan.prepare = Default::default();
    plan.prepared.clear();
    plan.signatures.retain(|s| s.name == "forward");
    plan.kernels.iter_mut().for_each(|k| k.entry = 4);
    let file = toy::artifact_of(plan, &toy::manifest(), &image);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.kiln");
    std::fs::write(&path, &file).unwrap();
    let options = LoadOptions::default();
    for model in [Model::open(&path, &options).unwrap(), Model::from_bytes(file, &options).unwrap()] {
        let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
        let outputs = session.call("forward", &[("x", TensorView::new(&[1, 1], &[0f32]))]).unwrap();
        assert_eq!(outputs.get("y").unwrap().as_slice::<f32>(), Some(&[42.0][..]));
    }
}

#[test]
fn built_in_artifacts_are_aligned() {
    let bytes = kiln_runtime::include_artifact!("artifact.rs");
    assert!(bytes.as_ptr().addr().is_multiple_of(artifact::PAGE as usize));
    assert_eq!(bytes, include_bytes!("artifact.rs"));
}
