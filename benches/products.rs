//! What a product costs whose matrix may change, beside one with a packed weight, at the shapes of SmolLM2-135M:
//! `cargo bench --features cli --bench products`.
//!
//! Each pair of calls runs in turns; the ratio is that of the fastest calls, and the median of the pairs' ratios.

use kiln::{CompileOptions, LoadOptions, Model, Session, SessionOptions, TensorView, lab};
use kiln_ir::text;
use std::sync::Arc;
use std::time::Instant;

/// Columns and depth: queries, keys, gate or up, down, the head.
const SHAPES: [(usize, usize); 5] = [(576, 576), (192, 576), (1536, 576), (576, 1536), (49152, 576)];
const ROUNDS: usize = 15;

fn load(kind: &str, transposed: bool, n: usize, k: usize, threads: usize) -> Arc<Model> {
    let (shape, contract) = if transposed { (format!("{k}, {n}"), 0) } else { (format!("{n}, {k}"), 1) };
    let text = format!(
        r#"sym s in 1..=512
entry @f(%0: f32[s, {k}] input "x", %1: f32[{shape}] {kind} "w") variants (s in 1..=8), (s in 1..=512) {{
  %2: f32[s, {n}] = dot_general %0, %1 {{lhs_batch = [], rhs_batch = [], lhs_contract = [1], rhs_contract = [{contract}]}}
  return "y" %2
}}
"#
    );
    let module = text::parse(&text).expect("parses");
    let options = CompileOptions::default();
    let load = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    let weight: Vec<u8> = (0..n * k).flat_map(|i| ((i % 17) as f32 / 16.0 - 0.5).to_le_bytes()).collect();
    let program = lab::build(&module, &options).expect("compiles");
    program.load(&options, &load, |_, out| out.write_all(&weight)).expect("loads")
}

fn seconds(session: &mut Session, x: &[f32], shape: &[usize], calls: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        session.call("f", &[("x", TensorView::new(shape, x))]).expect("runs");
    }
    start.elapsed().as_secs_f64() / calls as f64
}

fn main() {
    if kiln::maybe_run_worker() {
        return;
    }
    for threads in [1, 2] {
        for rows in [512, 1] {
            for (n, k) in SHAPES {
                let x: Vec<f32> = (0..rows * k).map(|i| (i % 13) as f32 / 12.0 - 0.5).collect();
                let models = [("param", false), ("live", false), ("live", true)]
                    .map(|(kind, transposed)| load(kind, transposed, n, k, threads));
                let mut sessions =
                    models.each_ref().map(|model| Session::new(model, &SessionOptions::default()).expect("a session"));
                let calls = (20_000_000_000 / (2 * rows * n * k * 15)).clamp(1, 2000);
                let (mut best, mut ratios) = ([f64::INFINITY; 3], [vec![], vec![]]);
                for _ in 0..ROUNDS {
                    let times = sessions.each_mut().map(|session| seconds(session, &x, &[rows, k], calls));
                    best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
                    ratios.iter_mut().zip(&times[1..]).for_each(|(ratios, time)| ratios.push(time / times[0]));
                }
                ratios.iter_mut().for_each(|r| r.sort_by(f64::total_cmp));
                let median = |r: &[f64]| r[r.len() / 2];
                println!(
                    "{threads} threads, {rows:>3} rows, [{n:>5}, {k:>4}]: packed {:>9.1} µs; live [n, k] {:.2} (median {:.2}), live [k, n] {:.2} (median {:.2})",
                    best[0] * 1e6,
                    best[1] / best[0],
                    median(&ratios[0]),
                    best[2] / best[0],
                    median(&ratios[1]),
                );
            }
        }
    }
}
