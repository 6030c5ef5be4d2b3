//! Transposing eight vectors of eight lanes: cubecl has no shuffles, so these are operations of our own over LLVM's.

// `cube_op` makes accessors that nothing here calls.
#![allow(dead_code)]

use super::builder::{Builder, Ty, Val};
use cubecl_core::ir::{cube_op, prelude::*};
use cubecl_llvm::shared::to_llvm::ToLLVMDialect;
use pliron_llvm::ops as llvm;

macro_rules! shuffle_op {
    ($name:literal, $op:ident, $mask:expr) => {
        /// A fixed shuffle of two vectors of eight 32-bit lanes.
        #[cube_op(name = $name)]
        #[result_ty(same_as = lhs)]
        #[op_traits(cubecl_core::ir::Pure)]
        pub struct $op {
            pub lhs: Value,
            pub rhs: Value,
        }

        #[op_interface_impl]
        impl ToLLVMDialect for $op {
            fn rewrite(
                &self,
                ctx: &mut Context,
                rewriter: &mut DialectConversionRewriter,
                _operands: &OperandsInfo,
            ) -> Result<()> {
                let (lhs, rhs) = (self.lhs(ctx), self.rhs(ctx));
                let op = llvm::ShuffleVectorOp::new(ctx, lhs, rhs, Vec::<i32>::from($mask));
                rewriter.insert_op(ctx, &op);
                rewriter.replace_operation_with_values(ctx, self.get_operation(), vec![op.get_result(ctx)]);
                Ok(())
            }
        }
    };
}

shuffle_op!("kiln.unpack_low", UnpackLowOp, [0, 8, 1, 9, 4, 12, 5, 13]);
shuffle_op!("kiln.unpack_high", UnpackHighOp, [2, 10, 3, 11, 6, 14, 7, 15]);
shuffle_op!("kiln.pairs_low", PairsLowOp, [0, 1, 8, 9, 4, 5, 12, 13]);
shuffle_op!("kiln.pairs_high", PairsHighOp, [2, 3, 10, 11, 6, 7, 14, 15]);
shuffle_op!("kiln.halves_low", HalvesLowOp, [0, 1, 2, 3, 8, 9, 10, 11]);
shuffle_op!("kiln.halves_high", HalvesHighOp, [4, 5, 6, 7, 12, 13, 14, 15]);

macro_rules! apply {
    ($b:expr, $op:ident, $x:expr, $y:expr) => {
        $b.with_scope(|scope| {
            let op = $op::new(scope.ctx_mut(), $x.raw(), $y.raw());
            scope.register_with_result(&op)
        })
    };
}

/// Rows and columns that [`transpose`] takes. Targets with other vectors take such a one in halves, or two of them in one.
pub const LANES: usize = 8;

/// Lane `i` of result `j` is lane `j` of `rows[i]`.
pub fn transpose(b: &Builder<'_>, rows: [Val; 8]) -> [Val; 8] {
    debug_assert!(rows.iter().all(|r| r.lanes == LANES && matches!(r.ty, Ty::F32 | Ty::I32 | Ty::U32)));
    let wrap = |v| Val::vector_of(v, rows[0]);
    let t: Vec<Val> = (0..4)
        .flat_map(|i| {
            let (x, y) = (rows[2 * i], rows[2 * i + 1]);
            [wrap(apply!(b, UnpackLowOp, x, y)), wrap(apply!(b, UnpackHighOp, x, y))]
        })
        .collect();
    let u: Vec<Val> = (0..2)
        .flat_map(|h| {
            let q = &t[4 * h..4 * h + 4];
            [
                wrap(apply!(b, PairsLowOp, q[0], q[2])),
                wrap(apply!(b, PairsHighOp, q[0], q[2])),
                wrap(apply!(b, PairsLowOp, q[1], q[3])),
                wrap(apply!(b, PairsHighOp, q[1], q[3])),
            ]
        })
        .collect();
    std::array::from_fn(|j| {
        let (x, y) = (u[j % 4], u[4 + j % 4]);
        if j < 4 { wrap(apply!(b, HalvesLowOp, x, y)) } else { wrap(apply!(b, HalvesHighOp, x, y)) }
    })
}
