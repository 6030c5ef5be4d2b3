//! Where the time of a step goes: the launches of the schedule, gathered by kernel. Layers that are alike share theirs.

use bench_protocol::{Error, prompt};
use kiln_core::{KernelEntry, KernelSpec};
use kiln_runtime::causal_lm::STEP;
use kiln_runtime::{CausalSession, TensorView};
use std::collections::BTreeMap;
use std::time::Instant;

const RUNS: usize = 9;

/// Prints a table for a prefill of 512 tokens and one for a token decoded after 96 others.
pub fn print(session: &mut CausalSession) -> Result<(), Error> {
    let ids: Vec<i64> = prompt(512).into_iter().map(i64::from).collect();
    table("prefill of 512 tokens", session, &ids, 0)?;
    table("one token after 96", session, &ids[..1], 96)
}

/// One line of a table.
#[derive(Default)]
struct Group {
    /// Of one of the launches.
    label: String,
    launches: usize,
    flops: f64,
    bytes: f64,
    /// Of each run.
    seconds: Vec<f64>,
}

fn table(title: &str, session: &mut CausalSession, ids: &[i64], start: i64) -> Result<(), Error> {
    let shape = [1, ids.len()];
    let inputs = [
        ("input_ids", TensorView::new(&shape, ids)),
        ("slots", TensorView::new(&shape[..1], &[0i64])),
        ("starts", TensorView::new(&shape[..1], std::slice::from_ref(&start))),
    ];
    let session = session.session();
    let plan = session.model().clone();
    let kernels: BTreeMap<&str, &KernelEntry> = plan.plan().kernels.iter().map(|k| (&*k.symbol, k)).collect();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut walls = vec![];
    session.call(STEP, &inputs)?;
    for run in 0..RUNS {
        let begin = Instant::now();
        let (_, times) = session.call_profiled(STEP, &inputs)?;
        walls.push(begin.elapsed().as_secs_f64());
        for step in &times {
            let group = groups.entry(step.kernel.clone()).or_default();
            group.seconds.resize(run + 1, 0.0);
            group.seconds[run] += step.nanoseconds as f64 * 1e-9;
            if run == 0 {
                group.launches += 1;
                group.label = without_numbers(&step.label);
                group.flops += step.flops as f64;
                group.bytes += step.bytes as f64;
            }
        }
    }
    let wall = median(&mut walls);
    let mut rows: Vec<_> =
        groups.into_iter().map(|(kernel, mut group)| (kernel, median(&mut group.seconds), group)).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let steps: f64 = rows.iter().map(|(_, seconds, _)| seconds).sum();
    println!("{title}: {:.3} ms, of which {:.3} ms in kernels (median of {RUNS})", wall * 1e3, steps * 1e3);
    println!("{:>9} {:>6} {:>8} {:>9} {:>7}  template   what", "ms", "share", "launches", "GFLOP/s", "GB/s");
    for (kernel, seconds, group) in rows {
        let (template, size) =
            kernels.get(&*kernel).map_or(("?", String::new()), |k| (k.spec.template(), size(&k.spec)));
        println!(
            "{:>9.3} {:>5.1}% {:>8} {:>9.1} {:>7.1}  {template:<10} {size}{}",
            seconds * 1e3,
            seconds / wall * 100.0,
            group.launches,
            group.flops / seconds * 1e-9,
            group.bytes / seconds * 1e-9,
            group.label,
        );
    }
    println!();
    Ok(())
}

/// `k x n, ` of a matmul.
fn size(spec: &KernelSpec) -> String {
    match spec {
        KernelSpec::MatMul(matmul) => format!("{} x {}, ", matmul.k, matmul.n),
        _ => String::new(),
    }
}

/// `layers.12.mlp` and `layers.3.mlp` are the same work.
fn without_numbers(label: &str) -> String {
    let parts = label.split('.').map(|part| if part.bytes().all(|b| b.is_ascii_digit()) { "*" } else { part });
    parts.collect::<Vec<_>>().join(".")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
