//! Names mean nothing: a model whose size symbols, inputs, outputs and states have other names gets the same plan but for the names.

use crate::models;
use kiln_core::{Dim, TargetSpec};
use kiln_ir::{ArgKind, Module, Node, Op, SizeRange, TensorType, Type};
use kiln_passes::{Options, compile, egraph};
use serde_json::Value;
use std::collections::BTreeMap;

/// Each name with what it becomes.
type Names = BTreeMap<String, String>;

/// The module with its symbols, and its entries' inputs, outputs and states, under other names.
fn renamed(module: &Module, symbols: &Names, others: impl Fn(&str) -> String) -> Module {
    let dim = |d: &Dim| d.substitute(&|s| Some(Dim::symbol(&symbols[s])));
    let tensor = |t: &TensorType| TensorType::new(t.storage, t.shape.iter().map(dim).collect::<Vec<_>>());
    let named = module.symbols.iter().map(|(name, s)| (symbols[&**name].as_str().into(), s.clone()));
    let mut out = Module { symbols: named.collect(), functions: vec![] };
    for f in &module.functions {
        let mut renamed = f.shell();
        let range = |r: &SizeRange| SizeRange(r.0.iter().map(|(size, bounds)| (dim(size), *bounds)).collect());
        renamed.variants = f.variants.iter().map(range).collect();
        for (_, node) in f.nodes() {
            if let Op::Arg(i) = node.op {
                let mut arg = f.args[i as usize].clone();
                arg.ty = tensor(&arg.ty);
                if let Some(range) = &mut arg.range {
                    (range.min, range.max) = (dim(&range.min), dim(&range.max));
                }
                if f.entry && !matches!(arg.kind, ArgKind::Param { .. }) {
                    arg.name = others(&arg.name).into();
                }
                renamed.add_arg(arg);
                continue;
            }
            let ty = match &node.ty {
                Type::Tensor(t) => tensor(t).into(),
                Type::Tuple(ts) => Type::Tuple(ts.iter().map(tensor).collect()),
            };
            renamed.push(Node { op: node.op.map_dims(dim), ty, ..node.clone() });
        }
        for o in &f.outputs {
            let name = if f.entry { others(&o.name) } else { o.name.to_string() };
            renamed.add_output(name, o.value, o.updates);
        }
        out.functions.push(renamed);
    }
    out
}

/// A plan as JSON, in which every text that is a size has its symbols under other names, and every other text is what `others` makes of it.
fn plan(module: &Module, symbols: &Names, others: &dyn Fn(&str) -> String) -> Value {
    let compiled = compile(module, &TargetSpec::x86_64_v3(), &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut plan = compiled.plan;
    let name = |s: &str| symbols.get(s).map_or(s, String::as_str).to_string();
    plan.symbols = plan.symbols.into_iter().map(|(s, symbol)| (name(&s).into(), symbol)).collect();
    let mut json = serde_json::to_value(&plan).expect("serialises");
    for part in ["prepare", "states", "signatures"] {
        json[part] = renamed_texts(json[part].take(), &|text| match text.parse::<Dim>() {
            Ok(size) => others(&size.substitute(&|s| Some(Dim::symbol(&name(s)))).to_string()),
            Err(_) => others(text),
        });
    }
    json
}

fn renamed_texts(json: Value, name: &dyn Fn(&str) -> String) -> Value {
    match json {
        Value::String(s) => name(&s).into(),
        Value::Array(items) => items.into_iter().map(|item| renamed_texts(item, name)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, renamed_texts(v, name))).collect(),
        other => other,
    }
}

#[test]
fn a_module_under_other_names_has_the_same_plan() {
    let target = TargetSpec::x86_64_v3();
    for golden in ["llama", "bert-mlm", "t5"] {
        let module = models::golden(golden);
        // Names that look like those of other symbols, and sort in another order.
        let names: Vec<String> = module.symbols.keys().map(ToString::to_string).collect();
        let unusual = names.iter().rev().enumerate().map(|(i, name)| (name.clone(), format!("{name}{i}")));
        let swapped = names.iter().zip(names.iter().cycle().skip(1)).map(|(from, to)| (from.clone(), to.clone()));
        let of_pixels = names.iter().enumerate().map(|(i, name)| (name.clone(), format!("pixels_{i}")));
        for symbols in [unusual.collect::<Names>(), swapped.collect(), of_pixels.collect()] {
            let back: Names = symbols.iter().map(|(from, to)| (to.clone(), from.clone())).collect();
            let other = renamed(&module, &symbols, |name| format!("its {name}"));
            kiln_ir::verify(&other).unwrap_or_else(|e| panic!("{golden}: {e}"));
            assert_ne!(other, module, "{golden}");

            let options = egraph::Options::default();
            let report =
                |m: &Module| egraph::optimize(m, &target, &options).unwrap_or_else(|e| panic!("{golden}: {e}")).1;
            assert_eq!(report(&other), report(&module), "{golden}, {symbols:?}");

            let text = |json: Value| serde_json::to_string_pretty(&json).expect("serialises");
            let of_the_other = text(plan(&other, &back, &|s| s.replace("its ", "")));
            let of_the_module = text(plan(&module, &Names::new(), &str::to_string));
            let diff = similar::TextDiff::from_lines(&of_the_module, &of_the_other);
            let diff = diff.unified_diff().header("its names", "other names").to_string();
            assert!(diff.is_empty(), "{golden}: the plan is another one under the names {symbols:?}\n{diff}");
        }
    }
}
