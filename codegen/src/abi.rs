//! Whether cubecl's kernels are called as [`kiln_core::call`] says.

use crate::CodegenError;
use cubecl_core::ir::{ElemType, IntKind, metadata::Info};
use kiln_core::call;

/// Checks that a kernel reads `meta` as it is written for it.
pub fn check(info: &Info, arguments: usize) -> Result<(), CodegenError> {
    let (i64s, count) = (ElemType::Int(IntKind::I64), call::scalars(arguments));
    let [field] = info.scalars.as_slice() else {
        return Err(CodegenError::Abi(format!("expected one group of scalars, found {:?}", info.scalars)));
    };
    if field.ty != i64s || field.offset != 0 || field.count != count {
        return Err(CodegenError::Abi(format!("expected {count} i64 scalars at offset 0, found {field:?}")));
    }
    if info.has_dynamic_meta {
        return Err(CodegenError::Abi("the kernel has tensor arguments".into()));
    }
    Ok(())
}
