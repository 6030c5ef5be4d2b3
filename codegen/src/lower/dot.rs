//! placeholder
use super::{Env, builder::Builder};
use crate::CodegenError;
/// placeholder
/// # Errors
/// placeholder
pub fn lower(_b: &Builder<'_>, _s: &kiln_core::DotSpec, _env: &Env) -> Result<(), CodegenError> {
    Err(CodegenError::Unsupported("dot".into()))
}
