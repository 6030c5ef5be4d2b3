//! Each law's case at random sizes and on random values, among them, for laws that promise the same bits, those that arithmetic trips over.

use super::cases::{Case, cases};
use super::laws::{named, problem, side_by_side, typed};
use super::numeric::{Values, difference, run_on};
use kiln_ir::{Function, Module};
use kiln_passes::egraph::{Numerics, Options, Rule, equal, expression, witnesses};
use kiln_passes::rules::up_to;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// The case with its sizes of 4, 8 and 16 that many times as large. Not every case means something then.
fn resized(text: &str, times: usize) -> String {
    let mut out = String::new();
    let mut within = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // Axes, permutations and the axes of products are no sizes.
        let opens = ["f32[", "bool[", "i64[", "shape[", "dim["].iter().find(|o| rest.starts_with(**o));
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let taken = match opens {
            Some(open) => {
                within = true;
                out += open;
                open.len()
            }
            None if within && digits > 0 => {
                let n: usize = rest[..digits].parse().expect("a number");
                out += &(if [4, 8, 16].contains(&n) { n * times } else { n }).to_string();
                digits
            }
            None => {
                within &= c != ']';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out.replace("like 0.125", &format!("like {}", 0.125 / times as f64))
}

/// Checks a case in an element type, for these sizes; gives whether the case means something at them.
fn holds(
    case: &Case,
    rules: &[Rule],
    (float, tolerance): (&str, f64),
    times: usize,
    sizes: &[(&str, i64)],
    seed: u64,
) -> Result<bool, TestCaseError> {
    let options = Options::default();
    let (module, shell) = problem(&resized(&case.args, times), float);
    let build = |text: &str| expression(&module, &shell, &typed(&resized(text, times), float));
    let (Ok(a), Ok(b)) = (build(&case.start), build(&case.goal)) else { return Ok(false) };
    if !equal(&module, &a, &b, &options, rules).map_err(TestCaseError::fail)? {
        return Ok(false);
    }
    let mut functions = vec![side_by_side(&a, &b)];
    functions.extend(witnesses(&module, &a, &options, rules).map_err(TestCaseError::fail)?);
    let values = if tolerance == 0.0 { Values::Special } else { Values::Plain };
    for f in functions {
        let error = spread(&module, &f, sizes, seed, values);
        let text = || Module { functions: vec![f.clone()], ..module.clone() }.to_string();
        prop_assert!(error <= tolerance, "{} in {float}: off by {error}\n{}", case.laws, text());
    }
    Ok(true)
}

/// The largest relative error between the function's results, which should all be one value.
fn spread(module: &Module, f: &Function, sizes: &[(&str, i64)], seed: u64, values: Values) -> f64 {
    let results = run_on(module, f, sizes, seed, values);
    results[1..].iter().map(|r| difference(r, &results[0])).fold(0.0, f64::max)
}

#[test]
fn every_law_holds_at_random_sizes() {
    let all = up_to(Numerics::Approximate, &[]);
    let config = ProptestConfig {
        cases: 4,
        rng_seed: RngSeed::Fixed(4),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let sizes = (1..=4i64, 1..=9i64, 1..=9i64, 1..=3usize, any::<u64>());
    let (mut resized, mut total) = (0, 0);
    let mut failures = vec![];
    for case in cases() {
        let rules = named(&case.laws, &all);
        let exact = rules.iter().all(|r| r.numerics == Numerics::Exact);
        let mut runner = TestRunner::new(config.clone());
        let counts = std::cell::Cell::new((0, 0));
        let result = runner.run(&sizes, |(b, s, more, times, seed)| {
            let sizes = [("b", b), ("s", s), ("t", s + more)];
            for float in if exact { [("f64", 1e-15), ("f32", 0.0)] } else { [("f64", 1e-12), ("f32", 2e-6)] } {
                let (meant, run) = counts.get();
                let means = holds(&case, &rules, float, times, &sizes, seed)?;
                counts.set((meant + usize::from(means && times > 1), run + usize::from(times > 1)));
                prop_assert!(means || times > 1, "{}: the case as it is written proves nothing", case.laws);
            }
            Ok(())
        });
        if let Err(e) = result {
            failures.push(format!("{}: {e}", case.laws));
        }
        resized += counts.get().0;
        total += counts.get().1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(2 * resized > total, "only {resized} of {total} cases mean something at other sizes");
}
