//! Artifacts and plans, given any bytes.

#![allow(dead_code)]

use kiln_core::{CpuSpec, DType, Plan, Storage, TargetSpec, WeightSpec};
use kiln_runtime::artifact::Build;
use kiln_runtime::device::KernelFn;
use kiln_runtime::{
    Artifact, ArtifactWriter, LoadOptions, Manifest, MemoryReport, Model, OpenOptions, Section, Session,
    SessionOptions, TensorView,
};
use std::ffi::c_void;
use std::sync::Arc;

/// Most bytes of an input that is made to bind a call.
const MOST_BYTES: i64 = 1 << 16;

/// Opens an artifact and asks for everything in it.
pub fn artifact(data: &[u8]) {
    let options = OpenOptions { threads: Some(1), ..OpenOptions::default() };
    let Ok(artifact) = Artifact::from_bytes(data.to_vec(), &options) else { return };
    for section in Section::ALL {
        let _ = (artifact.section(section), artifact.text(section), artifact.require(section));
    }
    if let Ok(plan) = artifact.plan(0) {
        plan.weights.iter().for_each(|w| drop(artifact.weight(w)));
        let _ = MemoryReport::of(&plan, &[]);
    }
}

/// Loads a plan that stands in a sound artifact, with kernels that do nothing, and binds a call of each of its entries.
pub fn plan(data: &[u8]) {
    let artifact = || Artifact::from_bytes(sound_artifact(data)?, &OpenOptions::default());
    let Ok(artifact) = artifact() else { return };
    let Ok(plan) = artifact.plan(0) else { return };
    let _ = plan.to_string();
    let _ = MemoryReport::of(&plan, &[]);
    // A loop of four billion empty chunks ends, too, but nobody wants to wait for it.
    if !plan.prepare.steps.iter().all(|s| s.launch.width().as_const().is_some_and(|n| n <= 64)) {
        return;
    }
    let Ok(model) = model(artifact, plan.kernels.len()) else { return };
    let Ok(mut session) = Session::new(&model, &SessionOptions::default()) else { return };
    // A cancelled call is bound, and ends before its first step.
    session.cancel_token().cancel();
    call_all(&plan, &mut session);
}

/// The model of an artifact, with kernels that do nothing.
fn model(artifact: Artifact, kernels: usize) -> kiln_runtime::Result<Arc<Model>> {
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    Model::with_kernels(artifact, vec![nothing as KernelFn; kernels], &options)
}

/// The model of a plan that is sound.
pub fn model_of(plan: &Plan) -> Arc<Model> {
    let json = serde_json::to_vec(plan).expect("JSON");
    let artifact = sound_artifact(&json).and_then(|bytes| Artifact::from_bytes(bytes, &OpenOptions::default()));
    model(artifact.expect("a sound artifact"), plan.kernels.len()).expect("a sound plan")
}

fn call_all(plan: &Plan, session: &mut Session) {
    let size = |s: &str| plan.symbols.get(s).map(|b| b.min.max(1));
    for signature in &plan.signatures {
        let mut given = vec![];
        for input in &signature.inputs {
            let Storage::Dense(dtype) = input.storage else { return };
            let shape: Option<Vec<usize>> =
                input.shape.iter().map(|d| d.eval(&size).ok().and_then(|n| usize::try_from(n).ok())).collect();
            let Some(shape) = shape else { return };
            let bytes = shape.iter().try_fold(dtype.size() as i64, |n, d| n.checked_mul(i64::try_from(*d).ok()?));
            let Some(bytes) = bytes.filter(|n| *n <= MOST_BYTES) else { return };
            given.push((input.name.as_str(), dtype, shape, vec![0u8; bytes as usize]));
        }
        let views: Vec<_> = given
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView { dtype: *dtype, shape, bytes }))
            .collect();
        let _ = session.call(&signature.name, &views);
    }
}

unsafe extern "C" fn nothing(
    _: *mut *mut c_void,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    _: *mut u32,
    _: *mut u64,
) {
}

/// An artifact for this machine with that plan, and one weight of 64 floats.
fn sound_artifact(plan: &[u8]) -> kiln_runtime::Result<Vec<u8>> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = CpuSpec { triple, features: vec![], ..CpuSpec::level("x86-64-v3").expect("a level") };
    let builds = vec![Build::for_target(TargetSpec::Cpu(target))];
    let manifest = Manifest { builds, ..Manifest::default() };
    let mut w = ArtifactWriter::in_memory()?;
    w.manifest(&manifest)?;
    w.section(Section::Image, &[0xc3])?;
    let mut weight = WeightSpec { name: "w".into(), storage: DType::F32.into(), shape: vec![64], offset: 0 };
    w.weight(&mut weight, |out| out.write_all(&[0; 256]))?;
    w.section(Section::Plan, plan)?;
    w.finish()
}
