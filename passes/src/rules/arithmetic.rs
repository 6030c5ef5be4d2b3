//! Scalars: neutral elements, one form for each spelling, constants gathered. Arithmetic on tensors of one value is done by the
//! analysis.

use super::{conditions::*, law::rw};
use crate::egraph::Rule;

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    let mut rules = vec![
        // a + b = b + a, bit for bit; so for the other symmetric ops.
        rw!("add-commutes", exact; "(add ?a ?b)" => "(add ?b ?a)"),
        rw!("mul-commutes", exact; "(mul ?a ?b)" => "(mul ?b ?a)"),
        rw!("max-commutes", exact; "(max ?a ?b)" => "(max ?b ?a)"),
        rw!("and-commutes", exact; "(and ?a ?b)" => "(and ?b ?a)"),
        // x + 0 = x - 0 = x · 1 = x / 1 = x
        rw!("add-zero",     exact; "(add ?x 0.0)" => "?x"),
        rw!("sub-zero",     exact; "(sub ?x 0.0)" => "?x"),
        rw!("mul-one",      exact; "(mul ?x 1.0)" => "?x"),
        rw!("div-one",      exact; "(div ?x 1.0)" => "?x"),
        // -(-x) = x;  x + -y = x - y;  x - -y = x + y;  -1 · x = -x
        rw!("neg-neg",      exact; "(neg (neg ?x))"     => "?x"),
        rw!("add-neg",      exact; "(add ?x (neg ?y))"  => "(sub ?x ?y)"),
        rw!("sub-neg",      exact; "(sub ?x (neg ?y))"  => "(add ?x ?y)"),
        rw!("zero-sub",     exact; "(sub 0.0 ?x)"       => "(neg ?x)"),
        rw!("mul-minus-1",  exact; "(mul ?x -1.0)"      => "(neg ?x)"),
        // Powers with small exponents are products and roots.
        rw!("pow-one",      exact;        "(pow ?x 1.0)"  => "?x"),
        rw!("pow-two",      exact;        "(pow ?x 2.0)"  => "(mul ?x ?x)"),
        rw!("pow-three",    reassociates; "(pow ?x 3.0)"  => "(mul ?x (mul ?x ?x))"),
        rw!("pow-half",     reassociates; "(pow ?x 0.5)"  => "(sqrt ?x)"), // but for -inf, whose root is NaN
        rw!("pow-minus-half", reassociates; "(pow ?x -0.5)" => "(rsqrt ?x)"),
        rw!("pow-minus-one", reassociates; "(pow ?x -1.0)" => "(div (like 1.0 ?x) ?x)"),
        // x / √y = x · y^-½, also where the root is broadcast.
        rw!("div-sqrt",     reassociates; "(div ?x (sqrt ?y))"                 => "(mul ?x (rsqrt ?y))"),
        rw!("div-sqrt-broadcast", reassociates; "(div ?x (broadcast (sqrt ?y) ?s))"  => "(mul ?x (broadcast (rsqrt ?y) ?s))"),
        // x / c = x · (1/c);  x · (1/y) = x / y
        rw!("div-constant", reassociates; "(div ?x ?c)"                        => "(mul ?x (div (like 1.0 ?c) ?c))" if nonzero("?c") if varied("?x") if float("?x")),
        rw!("mul-reciprocal", reassociates; "(mul ?x (div 1.0 ?y))"            => "(div ?x ?y)" if varied("?y") if varied("?x")),
        rw!("mul-reciprocal-broadcast", reassociates; "(mul ?x (broadcast (div 1.0 ?y) ?s))" => "(div ?x (broadcast ?y ?s))" if varied("?y")),
        // (x · c) · d = x · (c · d), where c and d have one value;  likewise for sums
        rw!("mul-constants", reassociates; "(mul (mul ?x ?c) ?d)"              => "(mul ?x (mul ?c ?d))" if uniform("?c") if uniform("?d") if varied("?x") if not_one("?c") if not_one("?d") if float("?x")),
        rw!("add-constants", reassociates; "(add (add ?x ?c) ?d)"              => "(add ?x (add ?c ?d))" if uniform("?c") if uniform("?d") if varied("?x") if float("?x")),
        // (x · c) · y = (x · y) · c: constants come last.
        rw!("constant-last", reassociates; "(mul (mul ?x ?c) ?y)"              => "(mul (mul ?x ?y) ?c)" if uniform("?c") if varied("?x") if varied("?y") if float("?x")),
        // c x + c = c (x + 1)
        rw!("constant-shared", reassociates; "(add (mul ?x ?c) ?c)"            => "(mul (add ?x (like 1.0 ?x)) ?c)" if uniform("?c") if varied("?x") if float("?x")),
        // A conversion to the type it has.
        rw!("cast-same",    exact; "(cast ?x ?d)"                              => "?x" if has_dtype(&["?x", "?d"])),
        // (1 - m) · c, for a condition m as a number: 0 where it holds, c where not.
        rw!("mask-as-number", exact; "(mul (sub 1.0 (cast ?m ?d)) ?c)"         => "(select ?m (like 0.0 ?c) ?c)" if truth("?m") if nonzero("?c")),
        // (m - 1) · c, likewise: 0 where it holds, -c where not.
        rw!("mask-below-one", exact; "(mul (sub (cast ?m ?d) 1.0) ?c)"         => "(select ?m (like 0.0 ?c) (neg ?c))" if truth("?m") if nonzero("?c")),
        // A condition as a number, times c: c where it holds, 0 where not.
        rw!("mask-times",   exact; "(mul (cast ?m ?d) ?c)"                     => "(select ?m ?c (like 0.0 ?c))" if truth("?m") if nonzero("?c")),
        // The product of conditions as numbers is that of both.
        rw!("mask-product", exact; "(mul (cast ?m ?d) (cast ?n ?d))"           => "(cast (and ?m ?n) ?d)" if truth("?m") if truth("?n")),
        rw!("mask-product-broadcast", exact; "(mul (broadcast (cast ?m ?d) ?s) (broadcast (cast ?n ?d) ?s))" => "(cast (and (broadcast ?m ?s) (broadcast ?n ?s)) ?d)" if truth("?m") if truth("?n")),
    ];
    // f(cat(x, x)) = cat(f(x), f(x)): tables of sines and cosines are made twice as long as they need to be.
    for f in ["cos", "sin"] {
        let (lhs, rhs) = (format!("({f} (concat ?x ?x ?a))"), format!("(concat ({f} ?x) ({f} ?x) ?a)"));
        rules.push(rw!(format!("{f}-twice"), exact; lhs => rhs));
    }
    rules.push(rw!("scaled-twice", exact; "(mul (concat ?x ?x ?a) ?c)" => "(concat (mul ?x (like ?c ?x)) (mul ?x (like ?c ?x)) ?a)" if uniform("?c")));
    rules
}
