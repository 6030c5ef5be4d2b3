//! Each law by one line: from a start the named laws reach a goal; and by numbers: every term that they add to the start's e-graph has
//! the value of its class, on random values at several sizes, in f64 and f32.

use super::numeric::spread;
use kiln_ir::{Function, Module, Node, NodeId, Op, text};
use kiln_passes::egraph::{Numerics, Options, Rule, equal, expression, witnesses};
use kiln_passes::rules::{TABLES, up_to};
use std::collections::BTreeSet;

/// The module of the symbols, and a function of these arguments (`name: type kind; ..`), `f32` standing for `float`.
pub fn problem(args: &str, float: &str) -> (Module, Function) {
    let args: Vec<String> = args
        .split(';')
        .enumerate()
        .map(|(i, a)| {
            let (name, ty) = a.split_once(':').expect("name: type kind");
            let (ty, kind) = ty.trim().rsplit_once(' ').expect("type kind");
            format!("%{i}: {} {kind} \"{}\"", ty.replace("f32", float), name.trim())
        })
        .collect();
    let source = format!(
        "sym b in 1..=4\nsym s in 1..=16\nsym t in 1..=32\nentry @law({}) {{ return \"y\" %0 }}",
        args.join(", ")
    );
    let mut module = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    let f = module.functions.remove(0);
    (module, f)
}

const X: &str = "x: f32[b, s, 8] input";
const XY: &str = "x: f32[b, s, 8] input; y: f32[b, s, 8] input";
const P: &str = "p: f32[b, s, 8] input";
const NORM: &str = "x: f32[b, s, 8] input; w: f32[8] param; c: f32[8] param";
const OUT_IN: &str = "x: f32[b, s, 8] input; w: f32[16, 8] param; g: f32[8] param";
const IN_OUT: &str = "x: f32[b, s, 8] input; w: f32[8, 16] param; g: f32[8] param";
const QK: &str = "q: f32[b, s, 6, 8] input; k: f32[b, t, 2, 8] input; v: f32[b, t, 2, 8] input; mask: bool[b, t] input";
const CACHE: &str = "q: f32[b, s, 6, 8] input; k: f32[4, t, 2, 8] state; v: f32[4, t, 2, 8] state; slots: i64[b] input; starts: i64[b] input";
const ROPE: &str = "x: f32[b, s, 6, 8] input; cos: f32[b, s, 4] input; sin: f32[b, s, 4] input";

// Parts of the longer starts.
const MEAN_SQUARE: &str = "(mul (reduce_sum (mul $0 $0) 2 true) (like 0.125 (reduce_sum $0 2 true)))";
const SCORES: &str = "(dot_general (transpose (reshape $0 shape[b,s,2,3,8]) perm[0,2,3,1,4]) $1 dot[0,1;4|0,2;3])";
const GROUPED: &str = "(dot_general (reshape $0 shape[b,s,2,3,8]) $1 dot[0,2;4|0,2;3])";

/// Names of laws, arguments, start, goal.
type Case = (&'static str, &'static str, String, String);

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let case = |rules, args, start: &str, goal: &str| (rules, args, start.to_string(), goal.to_string());
    let low = "(like -1e30 SCORES)";
    let attend = |start: &str| start.replace("LOW", low).replace("SCORES", SCORES);
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
        case("constant-last",  XY, "(mul (mul $0 (like 2.0 $0)) $1)",          "(mul (mul $0 $1) (like 2.0 $0))"),
        case("cast-same",      X,  "(cast $0 f32)",                            "$0"),
        case("mask-as-number", "m: bool[b, s] input", "(mul (sub (like 1.0 (cast $0 f32)) (cast $0 f32)) (like -9.0 (cast $0 f32)))", "(select $0 (like 0.0 (cast $0 f32)) (like -9.0 (cast $0 f32)))"),
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
        case("sigmoid-tanh add-commutes mul-commutes", X, "(mul (like 0.5 $0) (add (tanh (mul (like 0.5 $0) $0)) (ones_of $0)))", "(sigmoid $0)"),
        case("silu",           X, "(mul $0 (sigmoid $0))",                     "(silu $0)"),
        case("silu-div",       X, "(div $0 (add (ones_of $0) (exp (neg $0))))", "(silu $0)"),
        case("gelu-erf mul-commutes add-commutes constant-last", X, "(mul (mul (like 0.5 $0) $0) (add (erf (mul $0 (like 0.7071067811865476 $0))) (ones_of $0)))", "(gelu $0 false)"),
        case("gelu-tanh mul-commutes add-commutes constant-last pow-three", X, "(mul (mul $0 (like 0.5 $0)) (add (ones_of $0) (tanh (mul (add $0 (mul (pow $0 (like 3.0 $0)) (like 0.044715 $0))) (like 0.7978845608028654 $0)))))", "(gelu $0 true)"),
        case("gelu-tanh-factored mul-commutes add-commutes constant-last", X, "(mul (mul $0 (like 0.5 $0)) (add (ones_of $0) (tanh (mul (like 0.7978845608028654 $0) (mul $0 (add (ones_of $0) (mul (mul $0 $0) (like 0.044715 $0))))))))", "(gelu $0 true)"),
        case("softmax",        X, "(div (exp $0) (broadcast (reduce_sum (exp $0) 2 true) shape[b,s,8]))", "(softmax $0 2)"),
        case("softmax-shift",  X, "(softmax (sub $0 (broadcast (reduce_max $0 2 true) shape[b,s,8])) 2)", "(softmax $0 2)"),
        // norm
        case("rms-norm", NORM, &format!("(mul $0 (broadcast (rsqrt (add {MEAN_SQUARE} (like 1e-5 (reduce_sum $0 2 true)))) shape[b,s,8]))"), "(rms_norm $0 (ones $1) 1e-5)"),
        case("rms-norm-weight", NORM, "(mul (rms_norm $0 (ones $1) 1e-5) (broadcast $1 shape[b,s,8]))", "(rms_norm $0 $1 1e-5)"),
        case("layer-norm", NORM, "(rms_norm (sub $0 (broadcast (mul (reduce_sum $0 2 true) (like 0.125 (reduce_sum $0 2 true))) shape[b,s,8])) (ones $1) 1e-5)", "(layer_norm $0 (ones $1) (zeros $1) 1e-5)"),
        case("layer-norm-weight", NORM, "(mul (layer_norm $0 (ones $1) (zeros $1) 1e-5) (broadcast $1 shape[b,s,8]))", "(layer_norm $0 $1 (zeros $1) 1e-5)"),
        case("layer-norm-bias", NORM, "(add (layer_norm $0 $1 (zeros $1) 1e-5) (broadcast $2 shape[b,s,8]))", "(layer_norm $0 $1 $2 1e-5)"),
        case("rms-norm-open", NORM, "(rms_norm $0 $1 1e-5)", "(mul (rms_norm $0 (ones $1) 1e-5) (broadcast $1 shape[b,s,8]))"),
        case("layer-norm-open-weight", NORM, "(layer_norm $0 $1 (zeros $1) 1e-5)", "(mul (layer_norm $0 (ones $1) (zeros $1) 1e-5) (broadcast $1 shape[b,s,8]))"),
        case("layer-norm-open-bias", NORM, "(layer_norm $0 $1 $2 1e-5)", "(add (layer_norm $0 $1 (zeros $1) 1e-5) (broadcast $2 shape[b,s,8]))"),
        // projection
        case("column-scale", OUT_IN, "(dot_general (mul $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;1])", "(dot_general $0 (mul $1 (broadcast $2 shape[16,8])) dot[;2|;1])"),
        case("column-scale", IN_OUT, "(dot_general (mul $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;0])", "(dot_general $0 (mul $1 (broadcast (reshape $2 shape[8,1]) shape[8,16])) dot[;2|;0])"),
        case("column-bias",  OUT_IN, "(dot_general (add $0 (broadcast $2 shape[b,s,8])) $1 dot[;2|;1])", "(add (dot_general $0 $1 dot[;2|;1]) (broadcast (dot_general $2 $1 dot[;0|;1]) shape[b,s,16]))"),
        case("bias-bias",    NORM,   "(add (add $0 (broadcast $1 shape[b,s,8])) (broadcast $2 shape[b,s,8]))", "(add $0 (broadcast (add $1 $2) shape[b,s,8]))"),
        case("scale-weight", OUT_IN, "(mul (dot_general $0 $1 dot[;2|;1]) (like 0.5 (dot_general $0 $1 dot[;2|;1])))", "(dot_general $0 (mul $1 (like 0.5 $1)) dot[;2|;1])"),
        case("scale-input",  OUT_IN, "(dot_general (mul $0 (like 0.5 $0)) $1 dot[;2|;1])", "(dot_general $0 (mul $1 (like 0.5 $1)) dot[;2|;1])"),
        case("scale-out-lhs", QK,    "(dot_general (mul $0 (like 0.5 $0)) $0 dot[0,2;3|0,2;3])", "(mul (dot_general $0 $0 dot[0,2;3|0,2;3]) (like 0.5 (dot_general $0 $0 dot[0,2;3|0,2;3])))"),
        case("scale-out-rhs", QK,    "(dot_general $0 (mul $0 (like 0.5 $0)) dot[0,2;3|0,2;3])", "(mul (dot_general $0 $0 dot[0,2;3|0,2;3]) (like 0.5 (dot_general $0 $0 dot[0,2;3|0,2;3])))"),
        // merge
        case("merge-products", "x: f32[b, s, 8] input; w: f32[16, 8] param; v: f32[4, 8] param", "(add (slice (dot_general $0 $1 dot[;2|;1]) 2 dim[0] dim[4]) (dot_general $0 $2 dot[;2|;1]))",
            "(add (slice (slice (dot_general $0 (concat $1 $2 0) dot[;2|;1]) 2 dim[0] dim[16]) 2 dim[0] dim[4]) (slice (dot_general $0 (concat $1 $2 0) dot[;2|;1]) 2 dim[16] dim[4]))"),
        case("merge-products", "x: f32[b, s, 8] input; w: f32[8, 4] param; v: f32[8, 4] param", "(mul (dot_general $0 $1 dot[;2|;0]) (dot_general $0 $2 dot[;2|;0]))",
            "(mul (slice (dot_general $0 (concat $1 $2 1) dot[;2|;0]) 2 dim[0] dim[4]) (slice (dot_general $0 (concat $1 $2 1) dot[;2|;0]) 2 dim[4] dim[4]))"),
        // attention: rope
        case("rope-rotate-half add-commutes", ROPE,
            "(add (mul $0 (broadcast (reshape (concat $1 $1 2) shape[b,s,1,8]) shape[b,s,6,8])) (mul (concat (neg (slice $0 3 dim[4] dim[4])) (slice $0 3 dim[0] dim[4]) 3) (broadcast (reshape (concat $2 $2 2) shape[b,s,1,8]) shape[b,s,6,8])))",
            "(rope $0 $1 $2)"),
        case("rope-rotate-half", "x: f32[b, 6, s, 8] input; cos: f32[s, 4] input; sin: f32[s, 4] input",
            "(add (mul $0 (broadcast (concat $1 $1 1) shape[b,6,s,8])) (mul (concat (neg (slice $0 3 dim[4] dim[4])) (slice $0 3 dim[0] dim[4]) 3) (broadcast (concat $2 $2 1) shape[b,6,s,8])))",
            "(transpose (rope (transpose $0 perm[0,2,1,3]) (broadcast (reshape $1 shape[1,s,4]) shape[b,s,4]) (broadcast (reshape $2 shape[1,s,4]) shape[b,s,4])) perm[0,2,1,3])"),
        case("rope-halves reshape-twice reshape-identity", ROPE,
            "(concat (sub (mul (slice $0 3 dim[0] dim[4]) (broadcast (reshape $1 shape[b,s,1,4]) shape[b,s,6,4])) (mul (slice $0 3 dim[4] dim[4]) (broadcast (reshape $2 shape[b,s,1,4]) shape[b,s,6,4])))
                     (add (mul (slice $0 3 dim[4] dim[4]) (broadcast (reshape $1 shape[b,s,1,4]) shape[b,s,6,4])) (mul (slice $0 3 dim[0] dim[4]) (broadcast (reshape $2 shape[b,s,1,4]) shape[b,s,6,4]))) 3)",
            "(rope $0 $1 $2)"),
    ];
    // The steps of attention are proved together: the notations between them have no value of their own.
    let steps = "scores scores-scale scores-where unless scores-bias bias-transpose bias-reshape scores-repeat scores-take weigh weigh-repeat attention \
        repeat repeat-transpose transpose-twice transpose-identity reshape-twice reshape-identity select-transpose select-reshape \
        softmax-transpose softmax-reshape mul-constant-transpose mul-constant-reshape div-constant mul-commutes add-commutes";
    let weigh = |scores: &str| attend(&format!(
        "(reshape (transpose (dot_general (softmax {scores} 4) $2 dot[0,1;4|0,2;1]) perm[0,3,1,2,4]) shape[b,s,6,8])"));
    let causal = "(le (iota shape[b,2,3,s,t] 4) (iota shape[b,2,3,s,t] 3))";
    let given = "(broadcast (reshape $3 shape[b,1,1,1,t]) shape[b,2,3,s,t])";
    cases.extend([
        // plain, by groups, scaled after the product
        (steps, QK, weigh("(mul SCORES (like 0.25 SCORES))"), "(attention_of $0 $1 $2 0.25)".into()),
        // causal, by a choice
        (steps, QK, weigh(&format!("(select {causal} SCORES LOW)")), "(attention_of $0 $1 $2 1.0 causal)".into()),
        (steps, QK, weigh(&format!("(select (not {causal}) LOW SCORES)")), "(attention_of $0 $1 $2 1.0 causal)".into()),
        // a mask of keys, added
        (steps, QK, weigh(&format!("(add (div SCORES (like 4.0 SCORES)) (select {given} (like 0.0 SCORES) LOW))")), "(attention_of $0 $1 $2 0.25 mask $3)".into()),
        // both
        (steps, QK, weigh(&format!("(select (and {causal} {given}) SCORES LOW)")), "(attention_of $0 $1 $2 1.0 causal mask $3)".into()),
    ]);
    // Heads first, and key heads repeated.
    let repeated = |x: &str| format!("(reshape (broadcast (reshape (transpose {x} perm[0,2,1,3]) shape[b,2,1,t,8]) shape[b,2,3,t,8]) shape[b,6,t,8])");
    let (k, v) = (repeated("$1"), repeated("$2"));
    let eager = format!("(transpose (dot_general (softmax (dot_general (transpose $0 perm[0,2,1,3]) (transpose {k} perm[0,1,3,2]) dot[0,1;3|0,1;2]) 3) {v} dot[0,1;3|0,1;2]) perm[0,2,1,3])");
    cases.push(("scores weigh attention scores-repeat weigh-repeat repeat repeat-transpose transpose-twice transpose-identity reshape-twice reshape-identity dot-transpose-lhs dot-transpose-rhs", QK, eager, "(attention_of $0 $1 $2 1.0)".into()));
    // From a cache: rows looked up, positions from their starts, zeros where a query sees no key.
    let grouped = GROUPED.replace("$1", "(take $1 $3 0)");
    let seen = "(le (iota shape[b,s,t] 2) (add (iota shape[b,s,t] 1) (broadcast (reshape $4 shape[b,1,1]) shape[b,s,t])))";
    let masked = format!("(select (broadcast (reshape {seen} shape[b,1,s,1,t]) shape[b,2,s,3,t]) {grouped} (like -1e30 {grouped}))");
    let sums = format!("(reshape (transpose (dot_general (softmax {masked} 4) (take $2 $3 0) dot[0,1;4|0,2;1]) perm[0,2,1,3,4]) shape[b,s,6,8])");
    let any = format!("(broadcast (reshape (ge (reduce_max (cast {seen} i64) 2 true) (like 1.0 (reduce_max (cast {seen} i64) 2 true))) shape[b,s,1,1]) shape[b,s,6,8])");
    let cached = format!("{steps} attention-cached");
    cases.push((Box::leak(cached.into_boxed_str()), CACHE, format!("(select {any} {sums} (like 0.0 {sums}))"), "(attention_of $0 $1 $2 1.0 causal cached $3 $4)".into()));
    let unguarded = format!("{steps} attention-cached-unguarded");
    cases.push((Box::leak(unguarded.into_boxed_str()), CACHE, sums, "(attention_of $0 $1 $2 1.0 causal cached $3 $4)".into()));
    let rows = CACHE.replace("[4, t", "[b, t").replace("state", "input");
    let direct = |text: &str| text.replace("(take $1 $3 0)", "$1").replace("(take $2 $3 0)", "$2");
    let sums = cases[cases.len() - 1].2.clone();
    let guarded = format!("{steps} attention-rows");
    cases.push((Box::leak(guarded.into_boxed_str()), Box::leak(rows.into_boxed_str()), direct(&format!("(select {any} {sums} (like 0.0 {sums}))")), "(attention_of $0 $1 $2 1.0 causal cached (iota shape[b] 0) $4)".into()));
    // Factors on the queries.
    cases.push(("attention-scale", QK, "(attention_of (mul $0 (like 0.5 $0)) $1 $2 1.0)".into(), "(attention_of $0 $1 $2 0.5)".into()));
    cases.push(("attention-scale-cached", CACHE, "(attention_of (mul $0 (like 0.5 $0)) $1 $2 1.0 causal cached $3 $4)".into(), "(attention_of $0 $1 $2 0.5 causal cached $3 $4)".into()));
    // Families: f(view(x)) = view(f(x)).
    for f in ["neg", "exp", "sqrt", "rsqrt", "cos", "sin", "tanh", "sigmoid", "silu"] {
        for (view, to) in [("reshape", "shape[b*s,8]"), ("transpose", "perm[2,0,1]"), ("broadcast", "shape[3,b,s,8]")] {
            let name = Box::leak(format!("{f}-{view}").into_boxed_str());
            cases.push((name, P, format!("({f} ({view} $0 {to}))"), format!("({view} ({f} $0) {to})")));
        }
    }
    for f in ["add", "mul", "sub"] {
        for (view, to) in [("reshape", "shape[b*s,8]"), ("transpose", "perm[2,0,1]"), ("broadcast", "shape[3,b,s,8]")] {
            let name = Box::leak(format!("{f}-constant-{view}").into_boxed_str());
            let moved = format!("({view} $0 {to})");
            cases.push((name, P, format!("({f} {moved} (like 0.5 {moved}))"), format!("({view} ({f} $0 (like 0.5 $0)) {to})")));
        }
    }
    cases
}

/// The case in another float type.
fn typed(text: &str, float: &str) -> String {
    text.replace("zeros_of", "like 0.0").replace("ones_of", "like 1.0").replace(" f32)", &format!(" {float})"))
}

/// One function with the results of both, which have the same arguments.
fn side_by_side(a: &Function, b: &Function) -> Function {
    let mut out = a.clone();
    let mut renamed: Vec<NodeId> = vec![];
    for (id, node) in b.nodes() {
        let operands = node.operands.iter().map(|o| renamed[o.index()]).collect();
        renamed.push(match node.op {
            Op::Arg(_) => id,
            _ => out.push(Node { operands, ..node.clone() }),
        });
    }
    out.add_output("goal", renamed[b.outputs[0].value.index()], None);
    out
}

fn named(names: &str, all: &[Rule]) -> Vec<Rule> {
    let find = |n: &str| all.iter().find(|r| r.name == n).unwrap_or_else(|| panic!("no rule `{n}`")).clone();
    names.split_whitespace().map(find).collect()
}

#[test]
fn every_law_reaches_its_goal_and_keeps_every_value() {
    let all = up_to(Numerics::Approximate, &[]);
    let options = Options::default();
    for (names, args, start, goal) in cases() {
        let rules = named(names, &all);
        // The same bits; in f64, where the interpreter itself sums in f64, the same up to the order of its sums.
        let exact = rules.iter().all(|r| r.numerics == Numerics::Exact);
        for (float, tolerance) in if exact { [("f64", 1e-15), ("f32", 0.0)] } else { [("f64", 1e-12), ("f32", 1e-6)] } {
            let (module, shell) = problem(args, float);
            let build = |text: &str| {
                let text = typed(text, float);
                expression(&module, &shell, &text).unwrap_or_else(|e| panic!("{names}: {e}\n{text}"))
            };
            let (a, b) = (build(&start), build(&goal));
            let proved = equal(&module, &a, &b, &options, &rules).unwrap_or_else(|e| panic!("{names}: {e}"));
            assert!(proved, "{names}: {start} does not become {goal}");
            let error = spread(&module, &side_by_side(&a, &b));
            assert!(error <= tolerance, "{names} in {float}: start and goal differ by {error}");
            let all = witnesses(&module, &a, &options, &rules).unwrap_or_else(|e| panic!("{names}: {e}"));
            for w in all {
                let error = spread(&module, &w);
                assert!(
                    error <= tolerance,
                    "{names} in {float}: {error}\n{}",
                    Module { functions: vec![w], ..module.clone() }
                );
            }
        }
    }
}

#[test]
fn every_law_has_a_case_and_a_name_of_its_own() {
    let tested: BTreeSet<String> = cases().iter().flat_map(|c| c.0.split_whitespace()).map(String::from).collect();
    let mut names = BTreeSet::new();
    for (table, rules) in TABLES {
        for rule in rules() {
            rule.compile().unwrap_or_else(|e| panic!("{e}"));
            assert!(tested.contains(&rule.name), "table {table}: `{}` has no case", rule.name);
            assert!(names.insert(rule.name.clone()), "two rules are named `{}`", rule.name);
        }
    }
}

#[test]
fn numeric_classes_and_tables_are_chosen_by_the_options() {
    let all = up_to(Numerics::Approximate, &[]);
    let default = up_to(Options::default().numerics, &[]);
    assert!(default.len() < all.len() && default.iter().all(|r| r.numerics <= Numerics::Reassociates));
    assert!(up_to(Numerics::Exact, &[]).iter().all(|r| r.numerics == Numerics::Exact));
    assert!(up_to(Numerics::Exact, &["movement".into()]).iter().all(|r| r.name != "transpose-twice"));
}
