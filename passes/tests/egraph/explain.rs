//! Traces: each law is needed, each step holds by numbers, and a wrong law shows at its step.

use super::block::spellings;
use kiln_core::TargetSpec;
use kiln_ir::{Module, text};
use kiln_passes::egraph::{Numerics, Options, Rule, Trace, check, explain, optimize_with};
use kiln_passes::rules::up_to;

fn traced(module: &Module, rules: &[Rule]) -> Trace {
    let (target, options) = (TargetSpec::x86_64_v3(), Options::default());
    explain(module, &module.functions[0], &target, &options, rules).unwrap_or_else(|e| panic!("{e}"))
}

fn names(trace: &Trace) -> Vec<&str> {
    trace.steps.iter().map(|s| s.rule.as_str()).collect()
}

#[test]
fn a_block_is_explained_from_source_to_result() {
    let rules = up_to(Numerics::default(), &[]);
    for (name, module) in spellings() {
        let start = std::time::Instant::now();
        let trace = traced(&module, &rules);
        println!("{name}: {} steps in {:.1} s", trace.steps.len(), start.elapsed().as_secs_f64());
        let (out, report) =
            optimize_with(&module, &TargetSpec::x86_64_v3(), &Options::default(), &rules).expect("rewrites");
        // It is the result of compiling that is explained, and the steps lead there.
        assert_eq!(trace.result, out.functions[0], "{name}");
        assert_eq!(
            (trace.cost_before, trace.cost_after),
            (report.functions[0].cost_before, report.functions[0].cost_after)
        );
        assert!(trace.complete, "{name}: {} of {}", trace.steps.last().map_or(f64::NAN, |s| s.cost), trace.cost_after);
        assert!(
            trace.steps.iter().any(|s| s.rule == "merge-products" || s.law.is_empty()),
            "{name}: {:?}",
            names(&trace)
        );
        for (step, check) in trace.steps.iter().zip(check(&module, &module.functions[0], &trace).expect("evaluates")) {
            println!("{:<24} {:>10.3e} {check:?}\n    {}\n    {}", step.rule, step.cost, step.found, step.concluded);
            assert!(check.form_error < 1e-5 && check.law_error.is_none_or(|e| e < 1e-5), "{name}: {}", step.rule);
        }
    }
}

const PRODUCT: &str = r#"sym b in 1..=4
sym s in 1..=64
entry @f(
  %0: f32[b, s, 8] input "x",
  %1: f32[8] param "g"
) {
  %2: f32[b, s, 8] = broadcast %1 {shape = [b, s, 8]}
  %3: f32[b, s, 8] = mul %0, %2
  %4: f32[] = constant {data = [1.0]}
  %5: f32[b, s, 8] = broadcast %4 {shape = [b, s, 8]}
  %6: f32[b, s, 8] = mul %5, %3
  %7: f32[b, s, 8] = neg %6
  %8: f32[b, s, 8] = neg %7
  return "y" %8
}
"#;

#[test]
fn laws_that_lead_nowhere_are_left_out() {
    let module = text::parse(PRODUCT).expect("parses");
    let trace = traced(&module, &up_to(Numerics::default(), &[]));
    let mut found = names(&trace);
    found.sort_unstable();
    // 1 * x is x only after it is x * 1.
    assert_eq!(found, ["mul-commutes", "mul-one", "neg-neg"]);
    assert!(trace.steps.windows(2).all(|s| s[1].cost <= s[0].cost));
    let one = trace.steps.iter().find(|s| s.rule == "mul-one").expect("there");
    assert_eq!((one.found.as_str(), one.concluded.as_str()), ("(mul %3 %5)", "%3"));
    assert_eq!(one.law, "(mul ?x 1.0) => ?x");
}

#[test]
fn a_wrong_law_shows_at_its_step() {
    let module = text::parse(PRODUCT).expect("parses");
    let wrong = Rule::pattern("planted", Numerics::Exact, "(neg (neg ?x))", "(neg ?x)", vec![]);
    let mut rules = up_to(Numerics::default(), &[]);
    rules.retain(|r| r.name != "neg-neg");
    rules.push(wrong);
    let trace = traced(&module, &rules);
    let checks = check(&module, &module.functions[0], &trace).expect("evaluates");
    let off: Vec<&str> = trace
        .steps
        .iter()
        .zip(&checks)
        .filter(|(_, c)| c.law_error.is_some_and(|e| e > 0.1))
        .map(|(s, _)| &*s.rule)
        .collect();
    assert_eq!(off, ["planted"]);
    assert!(checks.last().is_some_and(|c| c.form_error > 0.1));
}
