//! What each table of laws is for: without it, some real model takes more kernels or moves more bytes.

use crate::models;
use kiln_core::TargetSpec;
use kiln_ir::Module;
use kiln_passes::egraph::{self, optimize};
use kiln_passes::metrics::{self, Metrics};
use kiln_passes::rules::TABLES;

/// One token, and sixteen, for the symbols of all families.
const SIZES: [[(&str, i64); 7]; 2] = [
    [("batch", 1), ("seq", 1), ("b", 1), ("s", 1), ("t", 64), ("rows", 1), ("decoder_seq", 1)],
    [("batch", 1), ("seq", 16), ("b", 1), ("s", 16), ("t", 64), ("rows", 1), ("decoder_seq", 16)],
];

/// What the entry takes after rewriting without those tables.
fn measure(module: &Module, entry: &str, without: &[&str]) -> [Metrics; 2] {
    let target = TargetSpec::x86_64_v3();
    let options =
        egraph::Options { without: without.iter().map(|t| t.to_string()).collect(), ..egraph::Options::default() };
    let (rewritten, _) = optimize(module, &target, &options).unwrap_or_else(|e| panic!("without {without:?}: {e}"));
    let as_it_is = kiln_passes::Options { rewrite: false, ..Default::default() };
    let compiled = kiln_passes::compile(&rewritten, &target, &as_it_is);
    let compiled = compiled.unwrap_or_else(|e| panic!("without {without:?}: {e}"));
    SIZES.map(|sizes| metrics::of_entry(&compiled, entry, &sizes, &target).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn every_table_matters_on_a_real_model() {
    // Written out in primitives, so that what the models' composites say is not given away.
    let models = [("llama", "step"), ("qwen2", "step"), ("bert-mlm", "forward"), ("gpt2", "step")];
    let tables: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    let mut matters = vec![false; tables.len()];
    println!("{:10} {:12} {:>6} {:>16} {:>24}", "model", "without", "nodes", "kernels", "KB moved");
    for (name, entry) in models {
        let module = models::opened(name);
        let row = |without: &str, [one, many]: &[Metrics; 2]| {
            let kilobytes = |m: &Metrics| m.bytes / 1000;
            println!(
                "{name:10} {without:12} {:6} {:8}{:8} {:12}{:12}",
                one.nodes,
                one.launches,
                many.launches,
                kilobytes(one),
                kilobytes(many)
            );
        };
        let all = measure(&module, entry, &[]);
        row("", &all);
        for (table, matters) in tables.iter().zip(&mut matters) {
            let less = measure(&module, entry, &[table]);
            row(table, &less);
            let differs = |(a, b): (&Metrics, &Metrics)| b.launches > a.launches || b.bytes > a.bytes;
            *matters |= all.iter().zip(&less).any(differs);
        }
        let none = measure(&module, entry, &tables);
        row("all", &none);
        assert!(none[0].launches > all[0].launches && none[0].bytes > all[0].bytes, "{name}");
    }
    let idle: Vec<&str> = tables.iter().zip(&matters).filter(|(_, m)| !**m).map(|(t, _)| *t).collect();
    assert!(idle.is_empty(), "tables that change no model: {idle:?}");
}
