//! Each law by one line: from a start the named laws reach a goal; and by numbers: every term that they add to the start's e-graph has
//! the value of its class, on random values at several sizes, in f64 and f32.

use super::cases::{Case, cases};
use super::numeric::spread;
use kiln_ir::{Function, Module, Node, NodeId, Op, text};
use kiln_passes::egraph::{Numerics, Options, Rule, equal, expression, witnesses};
use kiln_passes::rules::{TABLES, up_to};
use std::collections::BTreeSet;

/// The module of the symbols, and a function of these arguments (`name: type kind; ..`), `f32` standing for `float`.
pub fn problem(args: &str, float: &str) -> (Module, Function) {
    let args: Vec<String> = args
        .split(';')
        .enumerate()
        .map(|(i, a)| {
            let (name, ty) = a.split_once(':').expect("name: type kind");
            let (ty, kind) = ty.trim().rsplit_once(' ').expect("type kind");
            format!("%{i}: {} {kind} \"{}\"", ty.replace("f32", float), name.trim())
        })
        .collect();
    let source = format!(
        "sym b in 1..=4\nsym s in 1..=16\nsym t in 1..=32\nentry @law({}) {{ return \"y\" %0 }}",
        args.join(", ")
    );
    let mut module = text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    let f = module.functions.remove(0);
    (module, f)
}

/// The case in another float type.
pub fn typed(text: &str, float: &str) -> String {
    text.replace("zeros_of", "like 0.0").replace("ones_of", "like 1.0").replace(" f32)", &format!(" {float})"))
}

/// One function with the results of both, which have the same arguments.
pub fn side_by_side(a: &Function, b: &Function) -> Function {
    let mut out = a.clone();
    let mut renamed: Vec<NodeId> = vec![];
    for (id, node) in b.nodes() {
        let operands = node.operands.iter().map(|o| renamed[o.index()]).collect();
        renamed.push(match node.op {
            Op::Arg(_) => id,
            _ => out.push(Node { operands, ..node.clone() }),
        });
    }
    out.add_output("goal", renamed[b.outputs[0].value.index()], None);
    out
}

pub fn named(names: &str, all: &[Rule]) -> Vec<Rule> {
    let find = |n: &str| all.iter().find(|r| r.name == n).unwrap_or_else(|| panic!("no rule `{n}`")).clone();
    names.split_whitespace().map(find).collect()
}

#[test]
fn every_law_reaches_its_goal_and_keeps_every_value() {
    let all = up_to(Numerics::Approximate, &[]);
    let options = Options::default();
    for Case { laws: names, args, start, goal } in cases() {
        let rules = named(&names, &all);
        // The same bits; in f64, where the interpreter itself sums in f64, the same up to the order of its sums.
        let exact = rules.iter().all(|r| r.numerics == Numerics::Exact);
        for (float, tolerance) in if exact { [("f64", 1e-15), ("f32", 0.0)] } else { [("f64", 1e-12), ("f32", 1e-6)] } {
            let (module, shell) = problem(&args, float);
            let build = |text: &str| {
                let text = typed(text, float);
                expression(&module, &shell, &text).unwrap_or_else(|e| panic!("{names}: {e}\n{text}"))
            };
            let (a, b) = (build(&start), build(&goal));
            let proved = equal(&module, &a, &b, &options, &rules).unwrap_or_else(|e| panic!("{names}: {e}"));
            assert!(proved, "{names}: {start} does not become {goal}");
            let error = spread(&module, &side_by_side(&a, &b));
            assert!(error <= tolerance, "{names} in {float}: start and goal differ by {error}");
            let all = witnesses(&module, &a, &options, &rules).unwrap_or_else(|e| panic!("{names}: {e}"));
            for w in all {
                let error = spread(&module, &w);
                assert!(
                    error <= tolerance,
                    "{names} in {float}: {error}\n{}",
                    Module { functions: vec![w], ..module.clone() }
                );
            }
        }
    }
}

#[test]
fn every_law_has_a_case_and_a_name_of_its_own() {
    let all = cases();
    let tested: BTreeSet<&str> = all.iter().flat_map(|c| c.laws.split_whitespace()).collect();
    let mut names = BTreeSet::new();
    for (table, rules) in TABLES {
        for rule in rules() {
            rule.compile().unwrap_or_else(|e| panic!("{e}"));
            assert!(tested.contains(&*rule.name), "table {table}: `{}` has no case", rule.name);
            assert!(names.insert(rule.name.clone()), "two rules are named `{}`", rule.name);
        }
    }
}

#[test]
fn numeric_classes_and_tables_are_chosen_by_the_options() {
    let all = up_to(Numerics::Approximate, &[]);
    let default = up_to(Options::default().numerics, &[]);
    assert!(default.len() < all.len() && default.iter().all(|r| r.numerics <= Numerics::Reassociates));
    assert!(up_to(Numerics::Exact, &[]).iter().all(|r| r.numerics == Numerics::Exact));
    assert!(up_to(Numerics::Exact, &["movement".into()]).iter().all(|r| r.name != "transpose-twice"));
}
