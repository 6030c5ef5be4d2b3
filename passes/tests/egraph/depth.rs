//! What compiling a model takes: no more for thirty layers than for two where layers are alike, and the same plan each time.

use crate::models;
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module};
use kiln_passes::egraph::{self, Options, Report, optimize};
use std::process::Command;
use std::time::Instant;

fn rewritten(module: &Module) -> (Module, Report) {
    optimize(module, &TargetSpec::x86_64_v3(), &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Nodes of the functions' e-graphs: of what is called, and of the entries, which call it.
fn graph_nodes(module: &Module, report: &Report) -> [usize; 2] {
    let nodes = |entry: bool| {
        let all = module.functions.iter().zip(&report.functions).filter(|(f, _)| f.entry == entry);
        all.map(|(_, r)| r.nodes).sum()
    };
    [nodes(false), nodes(true)]
}

#[test]
fn rewriting_does_not_grow_with_depth() {
    let (two, thirty) = (models::smollm2(2), models::smollm2(30));
    let mut seconds = vec![];
    let mut found = vec![];
    for module in [&two, &thirty] {
        let start = Instant::now();
        let (out, report) = rewritten(module);
        seconds.push(start.elapsed());
        assert!(report.functions.iter().all(|f| f.saturated));
        found.push((module.functions.len(), graph_nodes(module, &report), out));
    }
    println!("rewriting 2 layers: {:.1?}, 30 layers: {:.1?}", seconds[0], seconds[1]);
    let [(functions, nodes, _), (functions_30, nodes_30, _)] = &found[..] else { unreachable!("two models") };
    println!("e-graph nodes of blocks and of entries: {nodes:?}, {nodes_30:?}");
    // A layer is one function, however often it is called.
    assert_eq!((functions, nodes[0]), (functions_30, nodes_30[0]));
    // An entry has a call and its results for each layer, which no law looks into, and the arguments that the layer takes.
    let calls = |module: &Module| -> usize { module.entries().map(|(_, f)| f.len()).sum() };
    assert!(nodes_30[1] - nodes[1] <= calls(&thirty) - calls(&two), "{nodes:?} {nodes_30:?}");
    // The kernels are those of one layer.
    let kernels = |module: &Module| {
        let start = Instant::now();
        let compiled = kiln_passes::compile(module, &TargetSpec::x86_64_v3(), &kiln_passes::Options::default());
        let plan = compiled.unwrap_or_else(|e| panic!("{e}")).plan;
        println!("the whole way to a plan: {:.1?}", start.elapsed());
        plan.kernels.len()
    };
    assert_eq!(kernels(&two), kernels(&thirty));
}

#[test]
fn saturation_of_a_block_is_quick_to_measure() {
    // Not a limit on time, which would depend on the machine: a limit on what time grows with.
    let opened = kiln_ir::compose::decompose(&models::smollm2(2)).expect("opens");
    let blocks: Vec<&Function> = opened.functions.iter().filter(|f| !f.entry).collect();
    assert!(!blocks.is_empty());
    let rules = kiln_passes::rules::up_to(Options::default().numerics, &[]);
    for f in blocks {
        let start = Instant::now();
        let saturated = egraph::Saturated::new(&opened, f, &Options::default(), &rules).expect("sound");
        let graph = &saturated.loaded.graph;
        let (nodes, classes) = (graph.total_number_of_nodes(), graph.number_of_classes());
        println!("@{}: {} ops to {nodes} nodes in {classes} classes in {:.1?}", f.name, f.len(), start.elapsed());
        assert!(nodes < 10 * f.len(), "@{}: {nodes} nodes", f.name);
    }
}

/// Set where the test program runs itself, to print plans and nothing else.
const PRINT: &str = "KILN_PASSES_PRINT_PLANS";

/// The plans of a few models, as text.
fn plans() -> String {
    let mut out = String::new();
    for name in ["llama", "bert-mlm", "t5"] {
        let module = models::opened(name);
        let compiled =
            kiln_passes::compile(&module, &TargetSpec::x86_64_v3(), &kiln_passes::Options::default()).expect(name);
        out += &format!("{name}\n{}\n{:?}\n", compiled.module, compiled.plan);
    }
    out
}

#[test]
fn the_same_model_gives_the_same_plan_in_every_process() {
    if std::env::var_os(PRINT).is_some() {
        println!("{}", plans());
        return;
    }
    let here = plans();
    assert!(here == plans(), "two compilations in one process differ");
    // Another process has other addresses, and other seeds for its hash maps.
    let name = "egraph::depth::the_same_model_gives_the_same_plan_in_every_process";
    let program = std::env::current_exe().expect("the test program");
    let out = Command::new(program).args([name, "--exact", "--nocapture"]).env(PRINT, "1").output().expect("runs");
    let there = String::from_utf8(out.stdout).expect("text");
    assert!(out.status.success() && there.contains(&here), "another process compiles another plan");
}
