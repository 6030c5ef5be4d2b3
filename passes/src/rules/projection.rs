//! Factors and offsets of a projection's input or output that move into its weight.

use super::{conditions::*, law::rw};
use crate::egraph::Rule;

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    vec![
        // (x · diag(g)) W = x (diag(g) W), in either layout of W
        rw!("column-scale", reassociates;
            "(dot_general (mul ?x (broadcast ?g ?s)) ?w ?d)" => "(dot_general ?x (mul ?w (along ?g ?x ?w ?d)) ?d)"
            if fixed("?g") if varied("?g") if fixed("?w") if given("?x")),
        // (x + b) W = x W + b W
        rw!("column-bias", reassociates;
            "(dot_general (add ?x (broadcast ?b ?s)) ?w ?d)" => "(add (dot_general ?x ?w ?d) (project ?b ?x ?w ?d))"
            if fixed("?b") if varied("?b") if fixed("?w") if given("?x")),
        // (y + b) + c = y + (b + c)
        rw!("bias-bias", reassociates;
            "(add (add ?y (broadcast ?b ?s)) (broadcast ?c ?s))" => "(add ?y (broadcast (add ?b ?c) ?s))"
            if fixed("?b") if fixed("?c") if same_type(&["?b", "?c"]) if given("?y")),
        // c (x W) = x (c W) = (c x) W
        rw!("scale-weight", reassociates;
            "(mul (dot_general ?x ?w ?d) ?c)" => "(dot_general ?x (mul ?w (like ?c ?w)) ?d)"
            if uniform("?c") if fixed("?w") if given("?x")),
        rw!("scale-input", reassociates;
            "(dot_general (mul ?x ?c) ?w ?d)" => "(dot_general ?x (mul ?w (like ?c ?w)) ?d)"
            if uniform("?c") if fixed("?w") if given("?x")),
        // (c x) y = x (c y) = c (x y): of two given operands, the constant comes out.
        rw!("scale-out-lhs", reassociates;
            "(dot_general (mul ?x ?c) ?y ?d)" => "(mul (dot_general ?x ?y ?d) (like ?c (dot_general ?x ?y ?d)))"
            if uniform("?c") if given("?x") if given("?y")),
        rw!("scale-out-rhs", reassociates;
            "(dot_general ?x (mul ?y ?c) ?d)" => "(mul (dot_general ?x ?y ?d) (like ?c (dot_general ?x ?y ?d)))"
            if uniform("?c") if given("?x") if given("?y")),
        // (x A) B = x (A B): which is cheaper depends on the sizes, and on whether A B is static.
        rw!("chain-right", reassociates;
            "(dot_general (dot_general ?x ?a ?d) ?b ?e)" => "(chained ?x ?a ?d ?b ?e)"
            if given("?x")),
        rw!("chain-left", reassociates;
            "(dot_general ?x (dot_general ?a ?b ?e) ?d)" => "(unchained ?x ?a ?b ?e ?d)"
            if given("?x")),
        // x W + x V = x (W + V);  (x W + c) + x V = x (W + V) + c
        rw!("weight-sum", reassociates;
            "(add (dot_general ?x ?w ?d) (dot_general ?x ?v ?e))" => "(dot_general ?x (add ?w (laid ?v ?e ?d)) ?d)"
            if fixed("?w") if fixed("?v") if given("?x")),
        rw!("weight-sum-bias", reassociates;
            "(add (add (dot_general ?x ?w ?d) ?c) (dot_general ?x ?v ?e))" => "(add (dot_general ?x (add ?w (laid ?v ?e ?d)) ?d) ?c)"
            if fixed("?w") if fixed("?v") if given("?x")),
        // A permutation of a product's columns is one of its weight's.
        rw!("column-order", exact;
            "(transpose (reshape ?y ?s) ?p)" => "(permuted_columns ?y ?s ?p)"
            if within_last(&["?y", "?s", "?p"])),
    ]
}
