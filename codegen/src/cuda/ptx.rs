//! Every thread of the launch is a chunk, and a thread whose share is empty does nothing; [`kiln_core::call`] says what an entry takes.
//! Our elementary functions are polynomials on every target, so that no device library is linked.

use super::CudaTarget;
use crate::{CodegenError, lower::define};
use cubecl_core::{Compiler, ir::nvidia::SmArch};
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions, nvptx::ptx_version::PtxVersion};
use kiln_core::KernelSpec;
use std::ffi::CStr;

/// The CUDA release whose PTX we emit, as drivers report it: 12.0, which loads sm_80 and sm_90.
const DRIVER: i32 = 12000;

/// PTX text of a spec for compute capability `sm` (80 for 8.0), with an entry named `kiln_<template>`.
///
/// # Errors
/// A spec that contradicts itself, or that no template serves.
pub fn compile_ptx(spec: &KernelSpec, sm: u32) -> Result<String, CodegenError> {
    let definition = define(spec, &format!("kiln_{}", spec.template()), &CudaTarget)?;
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(sm, false)),
        ptx_version: PtxVersion::for_driver(DRIVER),
        ..Default::default()
    };
    let artifact = PlironCompiler { target: LlvmTarget::Nvptx }
        .compile(definition, &options)
        .map_err(|e| CodegenError::Lowering(format!("{e:?}")))?;
    let PlironArtifact::NvptxCode(module) = artifact else {
        return Err(CodegenError::Lowering("cubecl made no PTX".into()));
    };
    if module.ptx.last() != Some(&0) {
        return Err(CodegenError::Lowering("cubecl's PTX is not NUL-terminated".into()));
    }
    // SAFETY: checked just now.
    Ok(unsafe { CStr::from_ptr(module.ptx.as_ptr()) }.to_string_lossy().into_owned())
}
