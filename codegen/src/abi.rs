//! How the runtime calls a kernel.
//!
//! ```text
//! extern "C" fn(bufs: *mut *mut c_void, 1u32, 1u32, 1u32, chunk: u32, 0u32, 0u32, sync: *mut u32, meta: *mut u64)
//! ```
//!
//! - `bufs` points to one pointer per operand: what the kernel reads, then what it writes. A pointer needs the alignment of one
//!   element and no more. A written operand must not overlap any other operand, except that a map, a row
//!   program or an epilogue may write to the very elements that it reads, through the same access, where nothing reads them later.
//! - `chunk` is the number of the piece of work; the three `1`s are cubecl's cube count, the `0`s its other unit positions.
//! - `sync` is never touched and may be null.
//! - `meta` is `[chunks, args[0], args[1], …]`, each an i64, followed by one word per operand that no kernel reads. All threads of a
//!   launch share it, and nothing writes to it.

use crate::CodegenError;
use cubecl_core::ir::{ElemType, IntKind, metadata::Info};
use std::ffi::c_void;

/// The type of a kernel's entry.
pub type KernelFn = unsafe extern "C" fn(*mut *mut c_void, u32, u32, u32, u32, u32, u32, *mut u32, *mut u64);

/// 64-bit words in a launch's metadata block.
pub const fn metadata_words(arguments: usize, operands: usize) -> usize {
    1 + arguments + operands
}

/// Checks that cubecl lays a kernel's metadata out as [`KernelFn`]'s callers do.
pub(crate) fn check(info: &Info, arguments: usize) -> Result<(), CodegenError> {
    let i64s = ElemType::Int(IntKind::I64);
    let [field] = info.scalars.as_slice() else {
        return Err(CodegenError::Abi(format!("expected one group of scalars, found {:?}", info.scalars)));
    };
    if field.ty != i64s || field.offset != 0 || field.count != arguments + 1 {
        return Err(CodegenError::Abi(format!("expected {} i64 scalars at offset 0, found {field:?}", arguments + 1)));
    }
    if info.has_dynamic_meta {
        return Err(CodegenError::Abi("the kernel has tensor arguments".into()));
    }
    Ok(())
}
