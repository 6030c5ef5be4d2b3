//! Wrong rules are caught: ill-typed conclusions by the analysis, wrong values by the numeric check.

use super::{laws::problem, numeric::spread};
use kiln_passes::egraph::{Numerics, Options, Rule, expression, witnesses};

/// The error of the analysis, or the relative error that the numeric check finds.
fn check(args: &str, start: &str, lhs: &str, rhs: &str) -> Result<f64, String> {
    let (module, shell) = problem(args, "f64");
    let f = expression(&module, &shell, start).expect(start);
    let rule = Rule::pattern("planted", Numerics::Exact, lhs, rhs, vec![]);
    let all = witnesses(&module, &f, &Options::default(), &[rule])?;
    Ok(all.iter().map(|w| spread(&module, w)).fold(0.0, f64::max))
}

#[test]
fn a_wrong_axis_changes_numbers() {
    let start = "(div (exp $0) (broadcast (reduce_sum (exp $0) 1 true) shape[2,4,4]))";
    let lhs = "(div (exp ?x) (broadcast (reduce_sum (exp ?x) ?a true) ?s))";
    assert!(check("x: f64[2, 4, 4] input", start, lhs, "(softmax ?x ?a)").expect("well-typed") < 1e-12);
    assert!(check("x: f64[2, 4, 4] input", start, lhs, "(softmax ?x 2)").expect("well-typed") > 1e-3);
}

#[test]
fn a_missing_broadcast_is_ill_typed() {
    let args = "x: f64[b, s, 8] input; g: f64[8] param";
    let start = "(mul $0 (broadcast $1 shape[b,s,8]))";
    let error = check(args, start, "(mul ?x (broadcast ?g ?s))", "(mul ?x ?g)").expect_err("ill-typed");
    assert!(error.contains("rule `planted` concludes an ill-typed term"), "{error}");
    assert!(error.contains("broadcast or cast first"), "{error}");
    let error = check(args, start, "(mul ?x (broadcast ?g ?s))", "?g").expect_err("another type");
    assert_eq!(error, "rule `planted` concludes f64[8] from f64[b, s, 8]");
}

#[test]
fn a_missing_side_condition_changes_numbers() {
    // The factor is not one over the row's length.
    let start = "(mul $0 (broadcast (rsqrt (add (mul (reduce_sum (mul $0 $0) 2 true) (like 0.5 (reduce_sum $0 2 true)))
        (like 1e-5 (reduce_sum $0 2 true)))) shape[b,s,8]))";
    let lhs = "(mul ?x (broadcast (rsqrt (add (mul (reduce_sum (mul ?x ?x) ?a true) ?n) ?e)) ?s))";
    let error = check("x: f64[b, s, 8] input", start, lhs, "(rms_norm ?x (last_ones ?x) (real ?e))");
    assert!(error.expect("well-typed") > 1e-3);
    // The two permutations are not inverse.
    let start = "(transpose (transpose $0 perm[1,2,0]) perm[1,2,0])";
    let error = check("x: f64[4, 4, 4] input", start, "(transpose (transpose ?x ?p) ?q)", "?x");
    assert!(error.expect("well-typed") > 1e-3);
}

#[test]
fn a_rule_that_does_not_parse_is_named() {
    let compile = |lhs: &str, rhs: &str| Rule::pattern("typo", Numerics::Exact, lhs, rhs, vec![]).compile();
    for (lhs, rhs) in [("(mull ?x ?y)", "?x"), ("(mul ?x ?y)", "?z"), ("(ones ?x)", "?x")] {
        let error = compile(lhs, rhs).err().unwrap_or_default();
        assert!(error.contains("rule `typo`"), "{lhs} => {rhs}: {error}");
    }
}
