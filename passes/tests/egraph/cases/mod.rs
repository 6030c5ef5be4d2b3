//! A case for each law: which laws, arguments, a start and the goal.

mod attention;
mod projection;

const X: &str = "x: f32[b, s, 8] input";
const XY: &str = "x: f32[b, s, 8] input; y: f32[b, s, 8] input";
const P: &str = "p: f32[b, s, 8] input";
const NORM: &str = "x: f32[b, s, 8] input; w: f32[8] param; c: f32[8] param";
const OUT_IN: &str = "x: f32[b, s, 8] input; w: f32[16, 8] param; g: f32[8] param";
const IN_OUT: &str = "x: f32[b, s, 8] input; w: f32[8, 16] param; g: f32[8] param";
// Parts of the longer starts.
const MEAN: &str = "(mul (reduce_sum $0 2 true) (like 0.125 (reduce_sum $0 2 true)))";
const MEAN_SQUARE: &str = "(mul (reduce_sum (mul $0 $0) 2 true) (like 0.125 (reduce_sum $0 2 true)))";
/// That the named laws, and only they, make the goal of the start.
pub struct Case {
    /// Their names, with spaces between them.
    pub laws: String,
    /// The arguments of both terms: `name: type kind; ..`.
    pub args: String,
    /// A term.
    pub start: String,
    /// What it becomes.
    pub goal: String,
}

fn case(laws: impl Into<String>, args: impl Into<String>, start: impl Into<String>, goal: impl Into<String>) -> Case {
    Case { laws: laws.into(), args: args.into(), start: start.into(), goal: goal.into() }
}

/// All cases, at least one for each law.
#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        // arithmetic
        case("add-commutes",   XY, "(add $0 $1)",                              "(add $1 $0)"),
        case("mul-commutes",   XY, "(mul $0 $1)",                              "(mul $1 $0)"),
        case("max-commutes",   XY, "(max $0 $1)",                              "(max $1 $0)"),
        case("and-commutes",   "m: bool[b, s] input; n: bool[b, s] input", "(and $0 $1)", "(and $1 $0)"),
        case("add-zero",       X,  "(add $0 (zeros_of $0))",                   "$0"),
        case("sub-zero",       X,  "(sub $0 (zeros_of $0))",                   "$0"),
        case("mul-one",        X,  "(mul $0 (ones_of $0))",                    "$0"),
        case("div-one",        X,  "(div $0 (ones_of $0))",                    "$0"),
        case("neg-neg",        X,  "(neg (neg $0))",                           "$0"),
        case("add-neg",        XY, "(add $0 (neg $1))",                        "(sub $0 $1)"),
        case("sub-neg",        XY, "(sub $0 (neg $1))",                        "(add $0 $1)"),
        case("zero-sub",       X,  "(sub (zeros_of $0) $0)",                   "(neg $0)"),
        case("mul-minus-1",    X,  "(mul $0 (like -1.0 $0))",                  "(neg $0)"),
        case("pow-one",        X,  "(pow $0 (ones_of $0))",                    "$0"),
        case("pow-two",        X,  "(pow $0 (like 2.0 $0))",                   "(mul $0 $0)"),
        case("pow-three",      X,  "(pow $0 (like 3.0 $0))",                   "(mul $0 (mul $0 $0))"),
        case("pow-half",       P,  "(pow $0 (like 0.5 $0))",                   "(sqrt $0)"),
        case("pow-minus-half", P,  "(pow $0 (like -0.5 $0))",                  "(rsqrt $0)"),
        case("pow-minus-one",  P,  "(pow $0 (like -1.0 $0))",                  "(div (ones_of $0) $0)"),
        case("div-sqrt",       P,  "(div $0 (sqrt $0))",                       "(mul $0 (rsqrt $0))"),
        case("div-sqrt-broadcast", "x: f32[b, s, 8] input; p: f32[b, s, 1] input", "(div $0 (broadcast (sqrt $1) shape[b,s,8]))", "(mul $0 (broadcast (rsqrt $1) shape[b,s,8]))"),
        case("div-constant",   X,  "(div $0 (like 8.0 $0))",                   "(mul $0 (like 0.125 $0))"),
        case("mul-reciprocal", "x: f32[b, s, 8] input; p: f32[b, s, 8] input", "(mul $0 (div (ones_of $1) $1))", "(div $0 $1)"),
        case("mul-reciprocal-broadcast", "x: f32[b, s, 8] input; p: f32[b, s, 1] input", "(mul $0 (broadcast (div (ones_of $1) $1) shape[b,s,8]))", "(div $0 (broadcast $1 shape[b,s,8]))"),
        case("mul-constants",  X,  "(mul (mul $0 (like 2.0 $0)) (like 3.0 $0))", "(mul $0 (like 6.0 $0))"),
        case("add-constants",  X,  "(add (add $0 (like 2.0 $0)) (like 3.0 $0))", "(add $0 (like 5.0 $0))"),
        case("constant-shared", X, "(add (mul $0 (like 3.0 $0)) (like 3.0 $0))", "(mul (add $0 (ones_of $0)) (like 3.0 $0))"),
        case("constant-last",  XY, "(mul (mul $0 (like 2.0 $0)) $1)",          "(mul (mul $0 $1) (like 2.0 $0))"),
        case("cast-same",      X,  "(cast $0 f32)",                            "$0"),
        case("mask-as-number", "m: bool[b, s] input", "(mul (sub (like 1.0 (cast $0 f32)) (cast $0 f32)) (like -9.0 (cast $0 f32)))", "(select $0 (like 0.0 (cast $0 f32)) (like -9.0 (cast $0 f32)))"),
        case("mask-below-one", "m: bool[b, s] input", "(mul (sub (cast $0 f32) (like 1.0 (cast $0 f32))) (like 9.0 (cast $0 f32)))", "(select $0 (like 0.0 (cast $0 f32)) (like -9.0 (cast $0 f32)))"),
        case("mask-product",   "m: bool[b, s] input; n: bool[b, s] input", "(mul (cast $0 f32) (cast $1 f32))", "(cast (and $0 $1) f32)"),
        case("mask-times",     "m: bool[b, s] input", "(mul (cast $0 f32) (like -9.0 (cast $0 f32)))", "(select $0 (like -9.0 (cast $0 f32)) (like 0.0 (cast $0 f32)))"),
        case("mask-product-broadcast", "m: bool[b, 1] input; n: bool[1, s] input", "(mul (broadcast (cast $0 f32) shape[b,s]) (broadcast (cast $1 f32) shape[b,s]))", "(cast (and (broadcast $0 shape[b,s]) (broadcast $1 shape[b,s])) f32)"),
        case("cos-twice",      X,  "(cos (concat $0 $0 2))",                   "(concat (cos $0) (cos $0) 2)"),
        case("sin-twice",      X,  "(sin (concat $0 $0 2))",                   "(concat (sin $0) (sin $0) 2)"),
        case("scaled-twice",   X,  "(mul (concat $0 $0 2) (like 2.0 (concat $0 $0 2)))", "(concat (mul $0 (like 2.0 $0)) (mul $0 (like 2.0 $0)) 2)"),
        // movement
        case("transpose-identity", X, "(transpose $0 perm[0,1,2])",            "$0"),
        case("reshape-identity",   X, "(reshape $0 shape[b,s,8])",             "$0"),
        case("broadcast-identity", X, "(broadcast $0 shape[b,s,8])",           "$0"),
        case("slice-whole",        X, "(slice $0 2 dim[0] dim[8])",            "$0"),
        case("concat-one",         X, "(concat $0 1)",                         "$0"),
        case("transpose-twice",    X, "(transpose (transpose $0 perm[2,0,1]) perm[0,2,1])", "(transpose $0 perm[2,1,0])"),
        case("reshape-twice",      X, "(reshape (reshape $0 shape[b*s,8]) shape[b,s,2,4])", "(reshape $0 shape[b,s,2,4])"),
        case("broadcast-twice", "x: f32[8] input", "(broadcast (broadcast $0 shape[s,8]) shape[b,s,8])", "(broadcast $0 shape[b,s,8])"),
        case("slice-twice",        X, "(slice (slice $0 2 dim[1] dim[6]) 2 dim[2] dim[3])", "(slice $0 2 dim[3] dim[3])"),
        case("sum-keeps",          X, "(reduce_sum $0 1 false)",               "(reshape (reduce_sum $0 1 true) shape[b,8])"),
        case("max-keeps",          X, "(reduce_max $0 2 false)",               "(reshape (reduce_max $0 2 true) shape[b,s])"),
        case("dot-transpose-lhs",  OUT_IN, "(dot_general (transpose $0 perm[2,0,1]) $1 dot[;0|;1])", "(dot_general $0 $1 dot[;2|;1])"),
        case("dot-transpose-rhs",  OUT_IN, "(dot_general $0 (transpose $1 perm[1,0]) dot[;2|;0])",   "(dot_general $0 $1 dot[;2|;1])"),
        case("select-transpose", "x: f32[b, s, 8] input; m: bool[8, b, s] input", "(select $1 (transpose $0 perm[2,0,1]) (like -5.0 (transpose $0 perm[2,0,1])))", "(transpose (select (transpose $1 perm[1,2,0]) $0 (like -5.0 $0)) perm[2,0,1])"),
        case("select-reshape", "x: f32[b, s, 8] input; m: bool[b*s, 8] input", "(select $1 (reshape $0 shape[b*s,8]) (like -5.0 (reshape $0 shape[b*s,8])))", "(reshape (select (reshape $1 shape[b,s,8]) $0 (like -5.0 $0)) shape[b*s,8])"),
        case("softmax-transpose",  X, "(softmax (transpose $0 perm[0,2,1]) 1)", "(transpose (softmax $0 2) perm[0,2,1])"),
        case("softmax-reshape",    X, "(softmax (reshape $0 shape[b*s,8]) 1)", "(reshape (softmax $0 2) shape[b*s,8])"),
        case("slice-of-concat",    XY, "(slice (concat $0 $1 2) 2 dim[9] dim[4])", "(slice $1 2 dim[1] dim[4])"),
        case("concat-of-slices",   X, "(concat (slice $0 2 dim[1] dim[3]) (slice $0 2 dim[4] dim[2]) 2)", "(slice $0 2 dim[1] dim[5])"),
        // activation
        case("sigmoid add-commutes", X, "(div (ones_of $0) (add (exp (neg $0)) (ones_of $0)))", "(sigmoid $0)"),
        case("sigmoid-exp",    X, "(div (exp $0) (add (ones_of $0) (exp $0)))", "(sigmoid $0)"),
        case("sigmoid-tanh add-commutes mul-commutes", X, "(mul (like 0.5 $0) (add (tanh (mul (like 0.5 $0) $0)) (ones_of $0)))", "(sigmoid $0)"),
        case("silu",           X, "(mul $0 (sigmoid $0))",                     "(silu $0)"),
        case("silu-div",       X, "(div $0 (add (ones_of $0) (exp (neg $0))))", "(silu $0)"),
        case("gelu-erf mul-commutes add-commutes constant-last", X, "(mul (mul (like 0.5 $0) $0) (add (erf (mul $0 (like 0.7071067811865476 $0))) (ones_of $0)))", "(gelu $0 false)"),
        case("gelu-tanh mul-commutes add-commutes constant-last pow-three", X, "(mul (mul $0 (like 0.5 $0)) (add (ones_of $0) (tanh (mul (add $0 (mul (pow $0 (like 3.0 $0)) (like 0.044715 $0))) (like 0.7978845608028654 $0)))))", "(gelu $0 true)"),
        case("gelu-tanh-factored mul-commutes add-commutes constant-last", X, "(mul (mul $0 (like 0.5 $0)) (add (ones_of $0) (tanh (mul (like 0.7978845608028654 $0) (mul $0 (add (ones_of $0) (mul (mul $0 $0) (like 0.044715 $0))))))))", "(gelu $0 true)"),
        case("softmax",        X, "(div (exp $0) (broadcast (reduce_sum (exp $0) 2 true) shape[b,s,8]))", "(softmax $0 2)"),
        case("softmax-shift",  X, "(softmax (sub $0 (broadcast (reduce_max $0 2 true) shape[b,s,8])) 2)", "(softmax $0 2)"),
        case("log-sum-exp",    X, "(log (reduce_sum (exp $0) 1 true))", "(log_sum_exp $0 1)"),
        case("log-sum-exp log-sum-exp-shift", X, "(add (log (reduce_sum (exp (sub $0 (broadcast (reduce_max $0 2 true) shape[b,s,8]))) 2 true)) (reduce_max $0 2 true))", "(log_sum_exp $0 2)"),
        case("softmax-log-sum", X, "(exp (sub $0 (broadcast (log_sum_exp $0 2) shape[b,s,8])))", "(softmax $0 2)"),
        case("log-softmax",    X, "(log (softmax $0 2))", "(sub $0 (broadcast (log_sum_exp $0 2) shape[b,s,8]))"),
        // norm
        case("rms-norm", NORM, format!("(mul $0 (broadcast (rsqrt (add {MEAN_SQUARE} (like 1e-5 (reduce_sum $0 2 true)))) shape[b,s,8]))"), "(rms_norm $0 (ones $1) 1e-5)"),
        case("variance", NORM, format!("(sub {MEAN_SQUARE} (mul {MEAN} {MEAN}))"), MEAN_SQUARE.replace("$0", &format!("(sub $0 (broadcast {MEAN} shape[b,s,8]))"))),
        case("weight-last", "x: f32[b, s, 8] input; w: f32[8] param; r: f32[b, s, 1] input", "(mul (mul $0 (broadcast $1 shape[b,s,8])) (broadcast $2 shape[b,s,8]))", "(mul (mul $0 (broadcast $2 shape[b,s,8])) (broadcast $1 shape[b,s,8]))"),
        case("rms-norm-weight", NORM, "(mul (rms_norm $0 (ones $1) 1e-5) (broadcast $1 shape[b,s,8]))", "(rms_norm $0 $1 1e-5)"),
        case("layer-norm", NORM, "(rms_norm (sub $0 (broadcast (mul (reduce_sum $0 2 true) (like 0.125 (reduce_sum $0 2 true))) shape[b,s,8])) (ones $1) 1e-5)", "(layer_norm $0 (ones $1) (zeros $1) 1e-5)"),
        case("layer-norm-weight", NORM, "(mul (layer_norm $0 (ones $1) (zeros $1) 1e-5) (broadcast $1 shape[b,s,8]))", "(layer_norm $0 $1 (zeros $1) 1e-5)"),
        case("layer-norm-bias", NORM, "(add (layer_norm $0 $1 (zeros $1) 1e-5) (broadcast $2 shape[b,s,8]))", "(layer_norm $0 $1 $2 1e-5)"),
        case("rms-norm-open", NORM, "(rms_norm $0 $1 1e-5)", "(mul (rms_norm $0 (ones $1) 1e-5) (broadcast $1 shape[b,s,8]))"),
        case("layer-norm-open-weight", NORM, "(layer_norm $0 $1 (zeros $1) 1e-5)", "(mul (layer_norm $0 (ones $1) (zeros $1) 1e-5) (broadcast $1 shape[b,s,8]))"),
        case("layer-norm-open-bias", NORM, "(layer_norm $0 $1 $2 1e-5)", "(add (layer_norm $0 $1 (zeros $1) 1e-5) (broadcast $2 shape[b,s,8]))"),
    ];
    // Families: f(view(x)) = view(f(x)).
    for f in ["neg", "exp", "log", "sqrt", "rsqrt", "cos", "sin", "tanh", "sigmoid", "silu"] {
        for (view, to) in [("reshape", "shape[b*s,8]"), ("transpose", "perm[2,0,1]"), ("broadcast", "shape[3,b,s,8]")] {
            cases.push(case(format!("{f}-{view}"), P, format!("({f} ({view} $0 {to}))"), format!("({view} ({f} $0) {to})")));
        }
    }
    for f in ["add", "mul", "sub"] {
        for (view, to) in [("reshape", "shape[b*s,8]"), ("transpose", "perm[2,0,1]"), ("broadcast", "shape[3,b,s,8]")] {
            let moved = format!("({view} $0 {to})");
            cases.push(case(format!("{f}-constant-{view}"), P, format!("({f} {moved} (like 0.5 {moved}))"), format!("({view} ({f} $0 (like 0.5 $0)) {to})")));
        }
    }
    cases.extend(attention::cases());
    cases.extend(projection::cases());
    cases
}
