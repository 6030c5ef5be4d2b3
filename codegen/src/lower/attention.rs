//! placeholder
use super::{Env, builder::Builder};
use crate::CodegenError;
/// placeholder
/// # Errors
/// placeholder
pub fn lower(_b: &Builder<'_>, _s: &kiln_core::AttentionSpec, _env: &Env) -> Result<(), CodegenError> {
    Err(CodegenError::Unsupported("attention".into()))
}
