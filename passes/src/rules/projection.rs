//! Factors and offsets of a projection's input or output that move into its weight.

use super::{conditions::*, rw};
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
    ]
}
