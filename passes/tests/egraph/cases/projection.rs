//! Products with a matrix.

use super::{Case, IN_OUT, NORM, OUT_IN, case};

const HEADS: &str = "q: f32[b, s, 6, 8] input";

const CHAIN_OUT_IN: &str = "x: f32[b, s, 8] input; a: f32[3, 8] param; w: f32[16, 3] param";
const CHAIN_IN_OUT: &str = "x: f32[b, s, 8] input; a: f32[8, 3] param; w: f32[3, 16] param";
const ADAPTER: &str = "x: f32[b, s, 8] input; w: f32[16, 8] param; v: f32[8, 16] param; c: f32[16] param";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    vec![
        // projection
        case("column-scale", OUT_IN, "(dot_general (mul $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;1])", "(dot_general $0 (mul $1 (broadcast $2 shape[16,8])) dot[;2|;1])"),
        case("column-scale", IN_OUT, "(dot_general (mul $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;0])", "(dot_general $0 (mul $1 (broadcast (reshape $2 shape[8,1]) shape[8,16])) dot[;2|;0])"),
        case("column-bias",  OUT_IN, "(dot_general (add $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;1])", "(add (dot_general $0 $1 dot[;2|;1]) (broadcast (dot_general $2 $1 dot[;0|;1]) shape[b,s,16]))"),
        case("bias-bias",    NORM,   "(add (add $0 (broadcast $1 shape[b,s,8])) (broadcast $2 shape[b,s,8]))", "(add $0 (broadcast (add $1 $2) shape[b,s,8]))"),
        case("scale-weight", OUT_IN, "(mul (dot_general $0 $1 dot[;2|;1]) (like 0.5 (dot_general $0 $1 dot[;2|;1])))", "(dot_general $0 (mul $1 (like 0.5 $1)) dot[;2|;1])"),
        case("scale-input",  OUT_IN, "(dot_general (mul $0 (like 0.5 $0)) $1 dot[;2|;1])", "(dot_general $0 (mul $1 (like 0.5 $1)) dot[;2|;1])"),
        case("scale-out-lhs", HEADS,    "(dot_general (mul $0 (like 0.5 $0)) $0 dot[0,2;3|0,2;3])", "(mul (dot_general $0 $0 dot[0,2;3|0,2;3]) (like 0.5 (dot_general $0 $0 dot[0,2;3|0,2;3])))"),
        case("scale-out-rhs", HEADS,    "(dot_general $0 (mul $0 (like 0.5 $0)) dot[0,2;3|0,2;3])", "(mul (dot_general $0 $0 dot[0,2;3|0,2;3]) (like 0.5 (dot_general $0 $0 dot[0,2;3|0,2;3])))"),
        // merge
        case("merge-products", "x: f32[b, s, 8] input; w: f32[16, 8] param; v: f32[4, 8] param", "(add (slice (dot_general $0 $1 dot[;2|;1]) 2 dim[0] dim[4]) (dot_general $0 $2 dot[;2|;1]))",
            "(add (slice (slice (dot_general $0 (concat $1 $2 0) dot[;2|;1]) 2 dim[0] dim[16]) 2 dim[0] dim[4]) (slice (dot_general $0 (concat $1 $2 0) dot[;2|;1]) 2 dim[16] dim[4]))"),
        case("merge-products", "x: f32[b, s, 8] input; w: f32[8, 4] param; v: f32[8, 4] param", "(mul (dot_general $0 $1 dot[;2|;0]) (dot_general $0 $2 dot[;2|;0]))",
            "(mul (slice (dot_general $0 (concat $1 $2 1) dot[;2|;0]) 2 dim[0] dim[4]) (slice (dot_general $0 (concat $1 $2 1) dot[;2|;0]) 2 dim[4] dim[4]))"),
        case("batch-products", "x: f32[b, s, 8] input; y: f32[b, s, 8] input; w: f32[16, 8] param", "(mul (dot_general $0 $2 dot[;2|;1]) (dot_general $1 $2 dot[;2|;1]))",
            "(mul (slice (dot_general (concat $0 $1 0) $2 dot[;2|;1]) 0 dim[0] dim[b]) (slice (dot_general (concat $0 $1 0) $2 dot[;2|;1]) 0 dim[b] dim[b]))"),
        // chains
        case("chain-right", CHAIN_OUT_IN, "(dot_general (dot_general $0 $1 dot[;2|;1]) $2 dot[;2|;1])", "(dot_general $0 (dot_general $2 $1 dot[;1|;0]) dot[;2|;1])"),
        case("chain-right", CHAIN_IN_OUT, "(dot_general (dot_general $0 $1 dot[;2|;0]) $2 dot[;2|;0])", "(dot_general $0 (dot_general $1 $2 dot[;1|;0]) dot[;2|;0])"),
        case("chain-left",  CHAIN_OUT_IN, "(dot_general $0 (dot_general $2 $1 dot[;1|;0]) dot[;2|;1])", "(dot_general (dot_general $0 $1 dot[;2|;1]) $2 dot[;2|;1])"),
        case("chain-left",  CHAIN_IN_OUT, "(dot_general $0 (dot_general $1 $2 dot[;1|;0]) dot[;2|;0])", "(dot_general (dot_general $0 $1 dot[;2|;0]) $2 dot[;2|;0])"),
        // LoRA: an adapter beside a weight, each stored as it likes
        case("weight-sum",  ADAPTER, "(add (dot_general $0 $1 dot[;2|;1]) (dot_general $0 $2 dot[;2|;0]))", "(dot_general $0 (add $1 (transpose $2 perm[1,0])) dot[;2|;1])"),
        case("weight-sum-bias", ADAPTER, "(add (add (dot_general $0 $1 dot[;2|;1]) (broadcast $3 shape[b,s,16])) (dot_general $0 $2 dot[;2|;0]))", "(add (dot_general $0 (add $1 (transpose $2 perm[1,0])) dot[;2|;1]) (broadcast $3 shape[b,s,16]))"),
        // the order of columns
        case("column-order", IN_OUT, "(transpose (reshape (dot_general $0 $1 dot[;2|;0]) shape[b,s,2,4,2]) perm[0,1,4,2,3])",
            "(reshape (dot_general $0 (reshape (transpose (reshape $1 shape[8,2,4,2]) perm[0,3,1,2]) shape[8,16]) dot[;2|;0]) shape[b,s,2,2,4])"),
        case("column-order", ADAPTER, "(transpose (reshape (add (dot_general $0 $1 dot[;2|;1]) (broadcast $3 shape[b,s,16])) shape[b,s,2,4,2]) perm[0,1,2,4,3])",
            "(reshape (add (dot_general $0 (reshape (transpose (reshape $1 shape[2,4,2,8]) perm[0,2,1,3]) shape[16,8]) dot[;2|;1]) (broadcast (reshape (transpose (reshape $3 shape[2,4,2]) perm[0,2,1]) shape[16]) shape[b,s,16])) shape[b,s,2,2,4])"),
    ]
}
