//! Attention and rope.

use super::{Case, case};

const QK: &str = "q: f32[b, s, 6, 8] input; k: f32[b, t, 2, 8] input; v: f32[b, t, 2, 8] input; mask: bool[b, t] input";
const CACHE: &str = "q: f32[b, s, 6, 8] input; k: f32[4, t, 2, 8] state; v: f32[4, t, 2, 8] state; slots: i64[b] input; starts: i64[b] input";
const ROPE: &str = "x: f32[b, s, 6, 8] input; cos: f32[b, s, 4] input; sin: f32[b, s, 4] input";

const SCORES: &str = "(dot_general (transpose (reshape $0 shape[b,s,2,3,8]) perm[0,2,3,1,4]) $1 dot[0,1;4|0,2;3])";
const GROUPED: &str = "(dot_general (reshape $0 shape[b,s,2,3,8]) $1 dot[0,2;4|0,2;3])";

#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    let low = "(like -1e30 SCORES)";
    let attend = |start: &str| start.replace("LOW", low).replace("SCORES", SCORES);
    let mut cases = vec![
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
        case(steps, QK, weigh("(mul SCORES (like 0.25 SCORES))"), "(attention_of $0 $1 $2 0.25)"),
        // causal, by a choice
        case(steps, QK, weigh(&format!("(select {causal} SCORES LOW)")), "(attention_of $0 $1 $2 1.0 causal)"),
        case(steps, QK, weigh(&format!("(select (not {causal}) LOW SCORES)")), "(attention_of $0 $1 $2 1.0 causal)"),
        // a mask of keys, added
        case(steps, QK, weigh(&format!("(add (div SCORES (like 4.0 SCORES)) (select {given} (like 0.0 SCORES) LOW))")), "(attention_of $0 $1 $2 0.25 mask $3)"),
        // both
        case(steps, QK, weigh(&format!("(select (and {causal} {given}) SCORES LOW)")), "(attention_of $0 $1 $2 1.0 causal mask $3)"),
    ]);
    // Heads first, and key heads repeated.
    let repeated = |x: &str| format!("(reshape (broadcast (reshape (transpose {x} perm[0,2,1,3]) shape[b,2,1,t,8]) shape[b,2,3,t,8]) shape[b,6,t,8])");
    let (k, v) = (repeated("$1"), repeated("$2"));
    let eager = format!("(transpose (dot_general (softmax (dot_general (transpose $0 perm[0,2,1,3]) (transpose {k} perm[0,1,3,2]) dot[0,1;3|0,1;2]) 3) {v} dot[0,1;3|0,1;2]) perm[0,2,1,3])");
    cases.push(case("scores weigh attention scores-repeat weigh-repeat repeat repeat-transpose transpose-twice transpose-identity reshape-twice reshape-identity dot-transpose-lhs dot-transpose-rhs", QK, eager, "(attention_of $0 $1 $2 1.0)"));
    // From a cache: rows looked up, positions from their starts, zeros where a query sees no key.
    let grouped = GROUPED.replace("$1", "(take $1 $3 0)");
    let seen = "(le (iota shape[b,s,t] 2) (add (iota shape[b,s,t] 1) (broadcast (reshape $4 shape[b,1,1]) shape[b,s,t])))";
    let masked = format!("(select (broadcast (reshape {seen} shape[b,1,s,1,t]) shape[b,2,s,3,t]) {grouped} (like -1e30 {grouped}))");
    let sums = format!("(reshape (transpose (dot_general (softmax {masked} 4) (take $2 $3 0) dot[0,1;4|0,2;1]) perm[0,2,1,3,4]) shape[b,s,6,8])");
    let any = format!("(broadcast (reshape (ge (reduce_max (cast {seen} i64) 2 true) (like 1.0 (reduce_max (cast {seen} i64) 2 true))) shape[b,s,1,1]) shape[b,s,6,8])");
    let cached = format!("{steps} attention-cached");
    cases.push(case(cached, CACHE, format!("(select {any} {sums} (like 0.0 {sums}))"), "(attention_of $0 $1 $2 1.0 causal cached $3 $4)"));
    let unguarded = format!("{steps} attention-cached-unguarded");
    cases.push(case(unguarded, CACHE, sums.clone(), "(attention_of $0 $1 $2 1.0 causal cached $3 $4)"));
    // Of another sequence: a mask of keys, and no positions.
    let keys = "(broadcast (reshape $5 shape[b,1,t]) shape[b,s,t])";
    let by_mask = |text: &str| text.replace(seen, keys);
    cases.push(case(format!("{steps} attention-cached"), format!("{CACHE}; mask: bool[b, t] input"), by_mask(&format!("(select {any} {sums} (like 0.0 {sums}))")), "(attention_of $0 $1 $2 1.0 cached $3 $3 mask $5)"));
    let rows = CACHE.replace("[4, t", "[b, t").replace("state", "input");
    let direct = |text: &str| text.replace("(take $1 $3 0)", "$1").replace("(take $2 $3 0)", "$2");
    let guarded = format!("{steps} attention-rows");
    cases.push(case(guarded, rows, direct(&format!("(select {any} {sums} (like 0.0 {sums}))")), "(attention_of $0 $1 $2 1.0 causal cached (iota shape[b] 0) $4)"));

    // Factors on the queries.
    cases.push(case("attention-scale", QK, "(attention_of (mul $0 (like 0.5 $0)) $1 $2 1.0)", "(attention_of $0 $1 $2 0.5)"));
    cases.push(case("attention-scale-cached", CACHE, "(attention_of (mul $0 (like 0.5 $0)) $1 $2 1.0 causal cached $3 $4)", "(attention_of $0 $1 $2 0.5 causal cached $3 $4)"));
    cases.push(case("rope-scale", ROPE, "(rope (mul $0 (like 0.5 $0)) $1 $2)", "(mul (rope $0 $1 $2) (like 0.5 $0))"));
    // Pairs of neighbours, as two tensors or by a rotation of every two.
    let rope = "(reshape (transpose (reshape (rope (reshape (transpose (reshape $0 shape[b,s,6,4,2]) perm[0,1,2,4,3]) shape[b,s,6,8]) $1 $2) shape[b,s,6,2,4]) perm[0,1,2,4,3]) shape[b,s,6,8])";
    let kept = |i| format!("(slice (reshape $0 shape[b,s,6,4,2]) 4 dim[{i}] dim[1])");
    let part = |i| format!("(reshape {} shape[b,s,6,4])", kept(i));
    let table = |i, tail: &str| format!("(broadcast (reshape ${i} shape[b,s,1,4{tail}]) shape[b,s,6,4{tail}])");
    let turned = |a: &str, b: &str, tail: &str| {
        let (c, s) = (table(1, tail), table(2, tail));
        [format!("(sub (mul {a} {c}) (mul {b} {s}))"), format!("(add (mul {b} {c}) (mul {a} {s}))")]
    };
    let [first, second] = turned(&part(0), &part(1), "").map(|y| format!("(reshape {y} shape[b,s,6,4,1])"));
    let views = "reshape-twice reshape-identity";
    cases.push(case(format!("rope-pairs {views}"), ROPE, format!("(reshape (concat {first} {second} 4) shape[b,s,6,8])"), rope));
    let [first, second] = turned(&kept(0), &kept(1), ",1");
    cases.push(case(format!("rope-pairs-kept {views}"), ROPE, format!("(reshape (concat {first} {second} 4) shape[b,s,6,8])"), rope));
    let twice = |i| format!("(broadcast (reshape (reshape (broadcast (reshape ${i} shape[b,s,4,1]) shape[b,s,4,2]) shape[b,s,8]) shape[b,s,1,8]) shape[b,s,6,8])");
    let every_two = format!("(reshape (concat (reshape (neg {}) shape[b,s,6,4,1]) (reshape {} shape[b,s,6,4,1]) 4) shape[b,s,6,8])", part(1), part(0));
    cases.push(case(format!("rope-every-two repeat neg-reshape {views}"), ROPE, format!("(add (mul $0 {}) (mul {every_two} {}))", twice(1), twice(2)), rope));
    // The elements of a head in another order.
    let order = |x: &str, n: &str, h: i64| format!("(reshape (transpose (reshape {x} shape[b,{n},{h},2,4]) perm[0,1,2,4,3]) shape[b,{n},{h},8])");
    let (q, k) = (order("$0", "s", 6), order("$1", "t", 2));
    cases.push(case("attention-order", QK, format!("(attention_of {q} {k} $2 1.0 causal)"), "(attention_of $0 $1 $2 1.0 causal)"));
    cases.push(case("attention-order-mask", QK, format!("(attention_of {q} {k} $2 1.0 mask $3)"), "(attention_of $0 $1 $2 1.0 mask $3)"));
    let sums = weigh("SCORES").replace("$0", &q).replace("$1", &k);
    cases.push(case(format!("{steps} scores-order"), QK, sums, "(attention_of $0 $1 $2 1.0)"));
    cases
}
