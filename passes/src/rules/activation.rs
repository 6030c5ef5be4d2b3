//! Activations in their written-out forms.

use super::{conditions::*, law::rw};
use crate::egraph::Rule;

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    vec![
        // σ(x) = 1 / (1 + e^-x) = e^x / (1 + e^x) = ½ (1 + tanh(x/2));  silu(x) = x σ(x)
        rw!("sigmoid",      reassociates; "(div 1.0 (add 1.0 (exp (neg ?x))))"                => "(sigmoid ?x)"),
        rw!("sigmoid-exp",  reassociates; "(div (exp ?x) (add 1.0 (exp ?x)))"                 => "(sigmoid ?x)"),
        rw!("sigmoid-tanh", reassociates; "(mul (add 1.0 (tanh (mul ?x 0.5))) 0.5)"           => "(sigmoid ?x)"),
        rw!("silu",         reassociates; "(mul ?x (sigmoid ?x))"                             => "(silu ?x)"),
        rw!("silu-div",     reassociates; "(div ?x (add 1.0 (exp (neg ?x))))"                 => "(silu ?x)"),
        // gelu(x) = x ½ (1 + erf(x / √2))
        rw!("gelu-erf",     reassociates; "(mul (mul ?x (add 1.0 (erf (mul ?x 0.7071067811865476)))) 0.5)" => "(gelu ?x false)"),
        // gelu(x) ≈ x ½ (1 + tanh(√(2/π) (x + 0.044715 x³))), which is the op's tanh form exactly
        rw!("gelu-tanh",    reassociates; "(mul (mul ?x (add 1.0 (tanh (mul 0.7978845608028654 (add ?x (mul 0.044715 (mul ?x (mul ?x ?x)))))))) 0.5)" => "(gelu ?x true)"),
        rw!("gelu-tanh-factored", reassociates; "(mul (mul ?x (add 1.0 (tanh (mul 0.7978845608028654 (mul ?x (add 1.0 (mul 0.044715 (mul ?x ?x)))))))) 0.5)" => "(gelu ?x true)"),
        // softmax(x) = e^x / Σ e^x, and it does not change when all of a row is shifted.
        rw!("softmax",      reassociates; "(div (exp ?x) (broadcast (reduce_sum (exp ?x) ?a true) ?s))" => "(softmax ?x ?a)"),
        rw!("softmax-shift", reassociates; "(softmax (sub ?x (broadcast ?m ?s)) ?a)"          => "(softmax ?x ?a)" if single_along(&["?m", "?a"]) if same_rank(&["?m", "?s"])),
        // log Σ e^x;  log Σ e^(x - m) + m does not depend on m: one op for both, which takes the maximum for m.
        rw!("log-sum-exp",  reassociates; "(log (reduce_sum (exp ?x) ?a true))"               => "(log_sum_exp ?x ?a)"),
        rw!("log-sum-exp-shift", reassociates; "(add (log_sum_exp (sub ?x (broadcast ?m ?s)) ?a) ?m)" => "(log_sum_exp ?x ?a)" if single_along(&["?m", "?a"]) if same_rank(&["?m", "?s"])),
        // e^(x - log Σ e^x) = softmax(x);  log softmax(x) = x - log Σ e^x
        rw!("softmax-log-sum", reassociates; "(exp (sub ?x (broadcast (log_sum_exp ?x ?a) ?s)))" => "(softmax ?x ?a)"),
        rw!("log-softmax",  reassociates; "(log (softmax ?x ?a))"                             => "(sub ?x (broadcast (log_sum_exp ?x ?a) (shape_of ?x)))"),
    ]
}
