//! A whole Llama block, in composites and in two spellings of primitives.

use super::numeric::{SIZES, difference, run};
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module, Op, compose, text, verify};
use kiln_passes::egraph::{Options, Report, optimize};
use kiln_passes::metrics;

fn parse(source: &str) -> Module {
    let module = text::parse(source).unwrap_or_else(|e| panic!("{e}"));
    verify(&module).unwrap_or_else(|e| panic!("{e}"));
    module
}

/// The block in each spelling.
pub fn spellings() -> Vec<(&'static str, Module)> {
    let composites = parse(include_str!("llama_block.kir"));
    let opened = compose::decompose(&composites).expect("opens");
    vec![
        ("composites", composites),
        ("opened composites", opened),
        ("eager", parse(include_str!("llama_block_eager.kir"))),
    ]
}

fn rewritten(module: &Module) -> (Module, Report) {
    let result = optimize(module, &TargetSpec::x86_64_v3(), &Options::default());
    let (out, report) = result.unwrap_or_else(|e| panic!("{e}"));
    verify(&out).unwrap_or_else(|e| panic!("{e}\n{out}"));
    (out, report)
}

/// How many nodes of that name depend on what is given at each call.
fn count(f: &Function, name: &str) -> usize {
    let mut given = vec![false; f.len()];
    for (id, node) in f.nodes() {
        given[id.index()] = match node.op {
            Op::Arg(i) => !matches!(f.args[i as usize].kind, kiln_ir::ArgKind::Param { live: false }),
            _ => node.operands.iter().any(|o| given[o.index()]),
        };
    }
    f.nodes().filter(|(id, n)| given[id.index()] && n.op.name() == name).count()
}

#[test]
fn every_spelling_becomes_the_same_few_ops() {
    for (name, module) in spellings() {
        let (out, report) = rewritten(&module);
        let f = &out.functions[0];
        println!("{name}: {:#?}\n{out}", report.functions[0]);
        assert!(report.functions[0].saturated, "{name}");
        // qkv, o, gate and up, down
        assert_eq!(count(f, "dot_general"), 4, "{name}");
        assert_eq!(count(f, "rms_norm"), 2, "{name}");
        assert_eq!(count(f, "rope"), 2, "{name}");
        assert_eq!(count(f, "attention"), 1, "{name}");
        assert_eq!(count(f, "silu"), 1, "{name}");
        assert_eq!(count(f, "cache_update"), 2, "{name}");
        for gone in ["transpose", "softmax", "exp", "select", "concat", "take", "reduce_sum"] {
            assert_eq!(count(f, gone), 0, "{name}: {gone}");
        }
        // The norms' weights are in the projections.
        for (_, norm) in f.nodes().filter(|(_, n)| n.op.name() == "rms_norm") {
            let weight = &f.node(norm.operands[1]).op;
            assert!(matches!(weight, Op::Constant(l) if l.splat() == Some(1.0)), "{name}: {weight}");
        }
        // The signature is as it was.
        let before = &module.functions[0];
        assert_eq!((&f.args, f.entry, &f.name), (&before.args, before.entry, &before.name));
        let results = |f: &Function| f.outputs.iter().map(|o| (o.name.clone(), o.updates)).collect::<Vec<_>>();
        assert_eq!(results(f), results(before));
        assert!(report.functions[0].cost_after < report.functions[0].cost_before, "{name}");
    }
}

#[test]
fn the_block_computes_the_same_numbers() {
    for (name, module) in spellings() {
        let (out, _) = rewritten(&module);
        for (i, sizes) in SIZES[..2].iter().enumerate() {
            let want = run(&module, &module.functions[0], sizes, 40 + i as u64);
            let got = run(&out, &out.functions[0], sizes, 40 + i as u64);
            for ((g, w), o) in got.iter().zip(&want).zip(&out.functions[0].outputs) {
                let error = difference(g, w);
                assert!(error < 1e-5, "{name} {sizes:?} {}: {error}", o.name);
            }
        }
    }
}

#[test]
fn every_spelling_lowers_to_the_same_kernels() {
    let mut templates: Vec<Vec<&str>> = vec![];
    for (name, module) in spellings() {
        let compiled = kiln_passes::compile(&module, &TargetSpec::x86_64_v3(), &kiln_passes::Options::default());
        let plan = compiled.unwrap_or_else(|e| panic!("{name}: {e}")).plan;
        let steps = |v: &kiln_core::Variant| -> Vec<&'static str> {
            v.schedule.steps.iter().map(|s| plan.kernels[s.kernel as usize].spec.template()).collect()
        };
        templates.extend(plan.signatures[0].variants.iter().take(1).map(steps));
    }
    println!("{:?}", templates[0]);
    assert!(templates.iter().all(|t| *t == templates[0]), "{templates:#?}");
}

#[test]
fn metrics_say_what_rewriting_saves() {
    let (_, module) = spellings().remove(1);
    let target = TargetSpec::x86_64_v3();
    let measured = |rewrite: bool, sizes: &[(&str, i64)]| {
        let options = kiln_passes::Options { rewrite, ..Default::default() };
        let compiled = kiln_passes::compile(&module, &target, &options).unwrap_or_else(|e| panic!("{e}"));
        metrics::of_entry(&compiled, "block", sizes, &target)
    };
    let one = [("b", 1), ("s", 1), ("t", 512)];
    let (before, after) = (measured(false, &one).expect("sizes"), measured(true, &one).expect("sizes"));
    println!("{before:?}\n{after:?}");
    // Queries and keys rotated, keys and values stored, attention, and four products.
    assert_eq!((after.launches, after.kernels), (8, 8));
    assert!(before.launches > 2 * after.launches && before.nodes > after.nodes);
    assert!(before.bytes > after.bytes && before.seconds > after.seconds);
    // At least the weights are read.
    let weights: i64 = 4 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576);
    assert!(after.bytes > weights && after.seconds > weights as f64 / target.rates().bandwidth, "{after:?}");
    let error = measured(true, &one[..2]).expect_err("t is not bound").to_string();
    assert!(error.contains("`t`"), "{error}");
}

#[test]
fn the_same_input_gives_the_same_function_and_a_second_run_finds_nothing() {
    for (name, module) in spellings() {
        let (first, report) = rewritten(&module);
        let (second, _) = rewritten(&module);
        assert_eq!(first.to_string(), second.to_string(), "{name}");
        let (_, again) = rewritten(&first);
        let (before, after) = (report.functions[0].cost_after, again.functions[0].cost_after);
        assert!((before - after).abs() <= 1e-3 * before, "{name}: {before} then {after}");
    }
}

#[test]
fn biases_merge_with_their_products() {
    let module = parse(
        r#"sym b in 1..=4
sym s in 1..=64
func @projections(
  %0: f32[b, s, 16] input "x",
  %1: f32[16, 16] param "q.weight",
  %2: f32[16] param "q.bias",
  %3: f32[8, 16] param "k.weight",
  %4: f32[8, 16] param "v.weight",
  %5: f32[8] param "v.bias"
) {
  %6: f32[b, s, 16] = dot_general %0, %1 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %7: f32[b, s, 16] = broadcast %2 {shape = [b, s, 16]}
  %8: f32[b, s, 16] = add %6, %7
  %9: f32[b, s, 8] = dot_general %0, %3 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %10: f32[b, s, 8] = dot_general %0, %4 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  %11: f32[b, s, 8] = broadcast %5 {shape = [b, s, 8]}
  %12: f32[b, s, 8] = add %10, %11
  return "q" %8, "k" %9, "v" %12
}
"#,
    );
    let (out, _) = rewritten(&module);
    let f = &out.functions[0];
    assert_eq!((count(f, "dot_general"), count(f, "add"), count(f, "slice")), (1, 1, 3), "{out}");
    let (want, got) = (run(&module, &module.functions[0], &SIZES[1], 5), run(&out, f, &SIZES[1], 5));
    assert!(got.iter().zip(&want).all(|(g, w)| difference(g, w) < 1e-6));
}

#[test]
fn a_tied_embedding_is_not_kept_twice() {
    let module = parse(
        r#"sym b in 1..=4
sym s in 1..=64
entry @head(
  %0: i64[b, s] input "input_ids",
  %1: f32[49152, 576] param "embed_tokens.weight",
  %2: f32[576] param "norm.weight"
) {
  %3: f32[b, s, 576] = take %1, %0 {axis = 0}
  %4: f32[b, s, 576] = rms_norm %3, %2 {eps = 1e-5}
  %5: f32[b, s, 49152] = dot_general %4, %1 {lhs_batch = [], rhs_batch = [], lhs_contract = [2], rhs_contract = [1]}
  return "logits" %5
}
"#,
    );
    let (out, _) = rewritten(&module);
    assert_eq!(out.to_string(), module.to_string());
}

#[test]
fn live_parameters_stay_as_they_are() {
    let source = include_str!("llama_block.kir").replace(" param ", " live ");
    let module = parse(&source);
    let (out, _) = rewritten(&module);
    assert_eq!(count(&out.functions[0], "dot_general"), 7);
    assert_eq!(count(&out.functions[0], "concat"), 0);
}

#[test]
fn callers_of_a_rewritten_block_stay_valid() {
    let mut source = include_str!("llama_block.kir").replace("entry @block", "func @block");
    let args: Vec<String> = (0..16).map(|i| format!("%{i}")).collect();
    let signature = source.split_once("@block(").and_then(|(_, s)| s.split_once(") {")).map(|(s, _)| s.to_string());
    source += &format!(
        "entry @step({}) {{\n  %16: (f32[b, s, 576], f32[4, t, 3, 64], f32[4, t, 3, 64]) = call @block {}\n  \
         %17: f32[b, s, 576] = get %16 {{index = 0}}\n  %18: f32[4, t, 3, 64] = get %16 {{index = 1}}\n  \
         %19: f32[4, t, 3, 64] = get %16 {{index = 2}}\n  \
         return \"hidden\" %17, \"past.key\" %18 updates 14, \"past.value\" %19 updates 15\n}}\n",
        signature.expect("a signature"),
        args.join(", "),
    );
    let module = parse(&source);
    let (out, report) = rewritten(&module);
    assert_eq!(report.functions.len(), 2);
    assert_eq!(count(&out.functions[0], "dot_general"), 4);
    assert_eq!(listing(&out.functions[1]), listing(&module.functions[1]));
}

/// The nodes, one a line.
fn listing(f: &Function) -> String {
    f.nodes().map(|(id, n)| format!("{id} {} {:?}\n", n.op, n.operands)).collect()
}
