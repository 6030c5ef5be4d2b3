//! The examples of `specs/*.md`.

use kiln_ir::{Op, interp, sample, text, verify};
use std::collections::BTreeMap;

fn document(name: &str) -> (String, Vec<sample::Example>) {
    let path = format!("{}/../specs/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let examples = sample::examples(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    (text, examples)
}

fn check(name: &str, example: &sample::Example) {
    let at = |line: usize| format!("{name}:{line}");
    if let Some(wanted) = &example.error {
        let found = text::parse(&example.text).and_then(|m| verify(&m)).expect_err(&at(example.line)).to_string();
        assert!(found.contains(wanted), "{}: {found}", at(example.line));
        return;
    }
    let module = text::parse(&example.text).unwrap_or_else(|e| panic!("{}: {e}", at(example.line)));
    verify(&module).unwrap_or_else(|e| panic!("{}: {e}", at(example.line)));
    assert_eq!(text::parse(&text::print(&module)).as_ref(), Ok(&module), "{}", at(example.line));
    for call in &example.calls {
        let sizes: Vec<(&str, i64)> = call.sizes.iter().map(|(s, v)| (&**s, *v)).collect();
        let got = interp::run(&module, &call.function, &call.args, &sizes);
        let got = got.unwrap_or_else(|e| panic!("{}: {e}", at(call.line)));
        assert!(call.accepts(&got), "{}: found {got:?}, the page says {:?}", at(call.line), call.results);
    }
}

#[test]
fn the_examples_of_the_ops_hold() {
    document("ops.md").1.iter().for_each(|e| check("ops.md", e));
}

#[test]
fn every_op_has_a_section_with_two_examples() {
    let (text, examples) = document("ops.md");
    let mut sections: BTreeMap<&str, usize> = BTreeMap::new();
    let mut name = None;
    for (i, line) in text.lines().enumerate() {
        name = line.strip_prefix("### ").map(str::trim).or(name);
        if let (Some(name), Some(e)) = (name, examples.iter().find(|e| e.line == i + 2)) {
            *sections.entry(name).or_default() += e.calls.len();
        }
    }
    // The two halves of a call share one.
    sections.insert("call", sections.get("get").copied().unwrap_or(0));
    for module in sample::op_cases(0) {
        for (_, node) in module.functions.iter().flat_map(|f| f.nodes()) {
            let name = node.op.name();
            assert!(sections.get(name).is_some_and(|n| *n >= 2), "{name}: {:?}", sections.get(name));
        }
    }
}

#[test]
fn the_page_lists_the_table_of_ops() {
    let mut table = String::from("| op | operands | attributes | class |\n|---|---|---|---|\n");
    for op in Op::table() {
        let code = |items: &[&str]| items.iter().map(|i| format!("`{i}`")).collect::<Vec<_>>().join(" ");
        let composite = if op.composite { ", composite" } else { "" };
        let (names, operands) = (code(&op.names), code(op.operands));
        table += &format!("| {names} | {operands} | {} | {}{composite} |\n", code(&op.attributes), op.class);
    }
    let path = format!("{}/../specs/ops.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let (before, rest) = text.split_once("<!-- ops -->\n").expect("where the table begins");
    let (found, after) = rest.split_once("<!-- end of ops -->").expect("where the table ends");
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(&path, format!("{before}<!-- ops -->\n{table}<!-- end of ops -->{after}")).expect(&path);
        return;
    }
    assert_eq!(found, table, "KILN_BLESS=1 writes the table into the page");
}

#[test]
fn a_section_names_the_attributes_of_its_op() {
    let (text, _) = document("ops.md");
    let mut lines = text.lines();
    let mut seen = 0;
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("### ") else { continue };
        let all = Op::table();
        let op = all.iter().find(|op| op.names.contains(&name)).unwrap_or_else(|| panic!("there is no op {name}"));
        seen += 1;
        let said =
            lines.next().and_then(|l| l.strip_prefix("`{")).and_then(|l| l.split_once("}`")).map(|(keys, _)| keys);
        if let Some(said) = said {
            // A constant's says what its one is made of.
            let said = said.split_once(" = ").map_or(said, |(name, _)| name);
            assert_eq!(said.replace(' ', "").split(',').collect::<Vec<_>>(), op.attributes, "{name}");
        }
    }
    assert!(seen > 40, "{seen} sections");
}

#[test]
fn the_examples_of_the_text_format_hold() {
    let (_, examples) = document("ir.md");
    assert!(examples.iter().any(|e| e.error.is_some()) && examples.iter().any(|e| !e.calls.is_empty()));
    examples.iter().for_each(|e| check("ir.md", e));
}
