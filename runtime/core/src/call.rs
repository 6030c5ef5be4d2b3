//! How the runtime calls a kernel: the calling convention of compiled code, which is written down here and nowhere else.
//!
//! ```text
//! extern "C" fn(operands: *mut *mut c_void, 1u32, 1u32, 1u32, chunk: u32, 0u32, 0u32, sync: *mut u32, meta: *mut u64)
//! ```
//!
//! in the C convention of the target, once for each chunk of a launch ([`KernelSpec`](crate::KernelSpec) says what a chunk is), in
//! any order and on any threads.
//!
//! - `operands` points to one pointer per operand, to its first element, in the order of
//!   [`KernelSpec::operands`](crate::KernelSpec::operands). A kernel needs the alignment of one element and no more. A written
//!   operand overlaps no other one, except that a map, a row program or an epilogue may write to the very elements that it
//!   reads, through the same access, where nothing reads them later.
//! - `chunk` is the number of the piece of work; the three `1`s are cubecl's cube count, the `0`s its other unit positions.
//! - `sync` points to two words that are zero. They are cubecl's, for barriers; our kernels have none and touch neither word, so
//!   that all launches may share them.
//! - `meta` points to 64-bit words ([`meta`]): the number of chunks, the runtime arguments, each an i64, and a zero for each
//!   operand, which no kernel reads. All threads of a launch share them, and nothing writes to them.
//!
//! A kernel computes in the usual floating-point environment: rounding to nearest, subnormal numbers kept, no exception trapped.
//! On CUDA an entry takes the operands' pointers in the same order, and then one pointer to `meta`; each thread is a chunk.

use std::ffi::c_void;

/// A kernel's entry.
pub type KernelFn =
    unsafe extern "C" fn(*mut *mut c_void, u32, u32, u32, u32, u32, u32, sync: *mut u32, meta: *mut u64);

/// The word of `meta` that holds the number of chunks.
pub const CHUNKS: usize = 0;

/// The word of `meta` that holds the first runtime argument.
pub const ARGUMENTS: usize = 1;

/// How many words of `meta` a kernel with that many runtime arguments may read.
pub const fn scalars(arguments: usize) -> usize {
    ARGUMENTS + arguments
}

/// The words of `meta` for a launch.
pub fn meta(chunks: u32, arguments: &[i64], operands: usize) -> impl Iterator<Item = u64> {
    let arguments = arguments.iter().map(|argument| *argument as u64);
    std::iter::once(u64::from(chunks)).chain(arguments).chain(std::iter::repeat_n(0, operands))
}

/// Runs one chunk of a launch.
///
/// # Safety
/// `kernel` is the code of a spec, made for this machine; `operands`, `sync` and `meta` point to what the convention above says,
/// `chunk` is below the number of chunks, and each operand's buffer is as large as [`reaches`](crate::reaches) says.
pub unsafe fn call(kernel: KernelFn, operands: *mut *mut c_void, chunk: u32, sync: *mut u32, meta: *mut u64) {
    // SAFETY: as the caller promises.
    unsafe { kernel(operands, 1, 1, 1, chunk, 0, 0, sync, meta) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_lays_its_words_out_where_a_kernel_looks_for_them() {
        let words: Vec<u64> = meta(7, &[40, -2], 3).collect();
        assert_eq!(words, [7, 40, -2i64 as u64, 0, 0, 0]);
        assert_eq!((words[CHUNKS], words[ARGUMENTS], scalars(2)), (7, 40, words.len() - 3));
    }

    #[test]
    fn a_call_passes_the_chunk_and_the_pointers() {
        unsafe extern "C" fn record(
            operands: *mut *mut c_void,
            x: u32,
            y: u32,
            z: u32,
            chunk: u32,
            b: u32,
            c: u32,
            sync: *mut u32,
            meta: *mut u64,
        ) {
            assert_eq!((x, y, z, b, c), (1, 1, 1, 0, 0));
            // SAFETY: the test below passes one operand of one element, two words, and three.
            unsafe {
                assert_eq!((*sync, *sync.add(1)), (0, 0));
                *(*operands).cast::<u64>() = *meta.add(CHUNKS) * 100 + *meta.add(ARGUMENTS) + u64::from(chunk);
            }
        }
        let (mut element, mut sync) = (0u64, [0u32; 2]);
        let mut operands = [(&raw mut element).cast::<c_void>()];
        let mut words: Vec<u64> = meta(4, &[20], 1).collect();
        // SAFETY: all pointers are to what `record` reads and writes.
        unsafe { call(record, operands.as_mut_ptr(), 3, sync.as_mut_ptr(), words.as_mut_ptr()) };
        assert_eq!(element, 423);
    }
}
