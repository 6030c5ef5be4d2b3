//! Norms in their written-out forms. `mean` is a sum times 1/n; other spellings of it come to this by the other tables.

use super::{conditions::*, law::rw};
use crate::egraph::Rule;

/// The table.
#[rustfmt::skip]
pub fn rules() -> Vec<Rule> {
    vec![
        // x · (mean(x²) + ε)^-½
        rw!("rms-norm", reassociates;
            "(mul ?x (broadcast (rsqrt (add (mul (reduce_sum (mul ?x ?x) ?a true) ?n) ?e)) ?s))"
            => "(rms_norm ?x (last_ones ?x) (real ?e))"
            if last_axis(&["?x", "?a"]) if mean_factor(&["?n", "?x"]) if uniform("?e")),
        // mean(x²) - mean(x)² = mean((x - mean(x))²)
        rw!("variance", reassociates;
            "(sub (mul (reduce_sum (mul ?x ?x) ?a true) ?n) (mul (mul (reduce_sum ?x ?a true) ?n) (mul (reduce_sum ?x ?a true) ?n)))"
            => "(mul (reduce_sum (mul (centred ?x ?a ?n) (centred ?x ?a ?n)) ?a true) ?n)"
            if last_axis(&["?x", "?a"]) if mean_factor(&["?n", "?x"])),
        // (x · w) · r = (x · r) · w, for a factor w of each column and r of each row: weights come last.
        rw!("weight-last", reassociates;
            "(mul (mul ?x (broadcast ?w ?s)) (broadcast ?r ?s))" => "(mul (mul ?x (broadcast ?r ?s)) (broadcast ?w ?s))"
            if along_last(&["?w", "?x"]) if factor_of_rows(&["?r", "?x"])),
        // rms_norm(x, 1) · w = rms_norm(x, w)
        rw!("rms-norm-weight", reassociates;
            "(mul (rms_norm ?x ?g ?e) (broadcast ?w ?s))" => "(rms_norm ?x ?w ?e)"
            if ones("?g") if along_last(&["?w", "?x"])),
        // c = x - mean(x);  c · (mean(c²) + ε)^-½ = rms_norm(c, 1)
        rw!("layer-norm", reassociates;
            "(rms_norm (sub ?x (broadcast (mul (reduce_sum ?x ?a true) ?n) ?s)) ?g ?e)"
            => "(layer_norm ?x ?g (zeros ?g) ?e)"
            if last_axis(&["?x", "?a"]) if mean_factor(&["?n", "?x"])),
        // layer_norm(x, 1, 0) · w = layer_norm(x, w, 0);  layer_norm(x, w, 0) + b = layer_norm(x, w, b)
        rw!("layer-norm-weight", reassociates;
            "(mul (layer_norm ?x ?g ?z ?e) (broadcast ?w ?s))" => "(layer_norm ?x ?w ?z ?e)"
            if ones("?g") if zeros("?z") if along_last(&["?w", "?x"])),
        rw!("layer-norm-bias", reassociates;
            "(add (layer_norm ?x ?w ?z ?e) (broadcast ?b ?s))" => "(layer_norm ?x ?w ?b ?e)"
            if zeros("?z") if along_last(&["?b", "?x"])),
        // The same laws read the other way, so that the weights can move into the next projection.
        rw!("rms-norm-open", reassociates;
            "(rms_norm ?x ?w ?e)" => "(mul (rms_norm ?x (ones ?w) ?e) (broadcast ?w (shape_of ?x)))"
            if fixed("?w") if varied("?w")),
        rw!("layer-norm-open-weight", reassociates;
            "(layer_norm ?x ?w ?z ?e)" => "(mul (layer_norm ?x (ones ?w) ?z ?e) (broadcast ?w (shape_of ?x)))"
            if fixed("?w") if varied("?w") if zeros("?z")),
        rw!("layer-norm-open-bias", reassociates;
            "(layer_norm ?x ?w ?b ?e)" => "(add (layer_norm ?x ?w (zeros ?b) ?e) (broadcast ?b (shape_of ?x)))"
            if fixed("?b") if varied("?b")),
    ]
}
