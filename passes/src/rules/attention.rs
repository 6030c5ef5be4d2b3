//! Attention and rope, from primitives.
//!
//! Two notations carry the steps (see [`Notation`](crate::egraph::Notation)): `scores` gathers the products of queries and
//! keys with their scale and masks, in whatever order they were written, and `weigh` sums values. What a mask means is read off its
//! facts, not its spelling. Operands come in attention's layout; the transposes that this needs meet those that the model wrote.

use super::{conditions::*, law::rw};
use crate::egraph::Rule;

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    let mut rules = vec![
        // q kᵀ, and what is done to it before the softmax.
        rw!("scores",        exact;        "(dot_general ?q ?k ?d)"                           => "(scores_of ?q ?k ?d)" if given("?q") if given("?k")),
        rw!("scores-scale",  reassociates; "(mul (scores ?q ?k ?sl ?st ?m ?a) ?c)"            => "(scores ?q ?k ?sl ?st ?m (scaled ?a ?c))" if uniform("?c")),
        rw!("scores-where",  exact;        "(select ?w (scores ?q ?k ?sl ?st ?m ?a) ?c)"      => "(hide ?q ?k ?sl ?st ?m ?a ?w)" if hides("?c")),
        // Hidden where a condition holds is seen where it does not.
        rw!("unless",        exact;        "(select ?w ?c ?x)"                                => "(select (not ?w) ?x ?c)" if hides("?c") if varied("?x")),
        // s + 0 where seen, s - ∞ where not: a finite bias leaves weights below e^-10000.
        rw!("scores-bias",   reassociates; "(add (scores ?q ?k ?sl ?st ?m ?a) ?b)"            => "(hide_bias ?q ?k ?sl ?st ?m ?a ?b)"),
        rw!("bias-transpose", exact;       "(add (transpose ?x ?p) ?b)"                       => "(transpose (add ?x (transpose ?b (back ?p))) ?p)" if bias("?b")),
        rw!("bias-reshape",  exact;        "(add (reshape ?x ?s) ?b)"                         => "(reshape (add ?x (reshape ?b (shape_of ?x))) ?s)" if bias("?b")),
        // Key heads that several query heads share, and keys that are looked up.
        rw!("scores-repeat", exact;        "(scores ?q (repeat ?k 2 ?n) ?sl ?st ?m ?a)"       => "(scores ?q ?k ?sl ?st ?m ?a)"),
        rw!("scores-take",   exact;        "(scores ?q (take ?k ?sl 0) none ?st ?m ?a)"       => "(scores ?q ?k ?sl ?st ?m ?a)"),
        // p v
        rw!("weigh",         exact;        "(dot_general ?p ?v ?d)"                           => "(weigh_of ?p ?v ?d)" if given("?p") if given("?v")),
        rw!("weigh-repeat",  exact;        "(weigh ?p (repeat ?v 2 ?n))"                      => "(weigh ?p ?v)"),
        // softmax(scores) v is attention, on keys and values at hand.
        rw!("attention",     reassociates; "(weigh (softmax (scores ?q ?k none none ?m ?a) 3) ?v)" => "(attend ?q ?k ?v none none ?m ?a)"),
        // From a cache, a query that sees no key gives zeros.
        rw!("attention-cached", reassociates;
            "(select ?any (weigh (softmax (scores ?q ?k ?sl ?st ?m ?a) 3) (take ?v ?sl 0)) 0.0)"
            => "(attend_seen ?q ?k ?v ?sl ?st ?m ?a ?any)"),
        rw!("attention-rows", reassociates;
            "(select ?any (weigh (softmax (scores ?q ?k none ?st ?m ?a) 3) ?v) 0.0)"
            => "(attend_seen ?q ?k ?v none ?st ?m ?a ?any)"),
        // The same without that choice differs where a query sees no key, which is where padding was asked.
        rw!("attention-cached-unguarded", approximate;
            "(weigh (softmax (scores ?q ?k ?sl ?st ?m ?a) 3) (take ?v ?sl 0))" => "(attend ?q ?k ?v ?sl ?st ?m ?a)"),
        // A factor on the queries is a factor on the scores.
        rw!("attention-scale", reassociates; "(attention (mul ?q ?c) ?k ?v ?a)"               => "(attention ?q ?k ?v (scaled ?a ?c))" if uniform("?c")),
        rw!("attention-scale-cached", reassociates; "(attention (mul ?q ?c) ?k ?v ?sl ?st ?a)" => "(attention ?q ?k ?v ?sl ?st (scaled ?a ?c))" if uniform("?c")),
        // rope: x cos + rotate_half(x) sin, with tables as long as x
        rw!("rope-rotate-half", reassociates;
            "(add (mul ?x ?c) (mul (concat (neg (slice ?x ?a ?h2 ?l2)) (slice ?x ?a ?h1 ?l1) ?a) ?s))" => "(rotate ?x ?c ?s)"
            if halves(&["?x", "?a", "?h1", "?l1", "?h2", "?l2"])),
        // rope: [a cos - b sin, b cos + a sin] for the halves a, b
        rw!("rope-halves", reassociates;
            "(concat (sub (mul (slice ?x ?a ?h1 ?l1) ?c) (mul (slice ?x ?a ?h2 ?l2) ?s)) (add (mul (slice ?x ?a ?h2 ?l2) ?c) (mul (slice ?x ?a ?h1 ?l1) ?s)) ?a)"
            => "(rotate_halves ?x ?c ?s)"
            if halves(&["?x", "?a", "?h1", "?l1", "?h2", "?l2"])),
        // rope of neighbours, (a, b) to (a cos - b sin, b cos + a sin), is rope of halves with the elements of a head permuted before
        // and after.
        rw!("rope-pairs", reassociates;
            "(concat (reshape (sub (mul ?x ?c) (mul ?y ?s)) ?t) (reshape (add (mul ?y ?c) (mul ?x ?s)) ?t) 4)" => "(rotate_pairs ?x ?y ?c ?s ?t)"),
        rw!("rope-pairs-kept", reassociates;
            "(concat (sub (mul ?x ?c) (mul ?y ?s)) (add (mul ?y ?c) (mul ?x ?s)) 4)" => "(rotate_pairs ?x ?y ?c ?s (shape_of ?x))"),
        // x cos + rotate_every_two(x) sin, with each angle twice
        rw!("rope-every-two", reassociates;
            "(add (mul ?x ?c) (mul (reshape (concat (neg ?b) ?a 4) ?t) ?s))" => "(rotate_each ?x ?a ?b ?c ?s)"),
        // rope(c x) = c rope(x)
        rw!("rope-scale",    reassociates; "(rope (mul ?x ?c) ?cos ?sin)" => "(mul (rope ?x ?cos ?sin) (like ?c ?x))" if uniform("?c")),
    ];
    // Products of queries and keys do not see the order of a head's elements, if it is one.
    for (name, rest) in [("scores", "?sl ?st ?m ?a"), ("attention", "?v ?a"), ("attention", "?v ?m ?a")] {
        let (lhs, rhs) = (format!("({name} {} {} {rest})", reordered("q"), reordered("k")), format!("({name} ?q ?k {rest})"));
        let name = format!("{name}-order{}", if rest.contains("?v ?m") { "-mask" } else { "" });
        rules.push(rw!(name, reassociates; lhs => rhs
            if within_last(&["?q", "?qs", "?p"]) if within_last(&["?k", "?ks", "?p"]) if same_split(&["?q", "?qs", "?k", "?ks"])
            if has_shape(&["?q", "?qt"]) if has_shape(&["?k", "?kt"])));
    }
    rules
}

/// A tensor whose last axis is split, the parts permuted, and merged again.
fn reordered(x: &str) -> String {
    format!("(reshape (transpose (reshape ?{x} ?{x}s) ?p) ?{x}t)")
}
