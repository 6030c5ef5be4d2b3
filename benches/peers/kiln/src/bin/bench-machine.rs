//! `bench-machine [THREADS]`: what the machine gives at this moment. `flops` is answered with `{"gflops": …}`, the rate of f32
//! multiply-adds between registers; `read` with `{"gbps": …}`, the rate of reading memory that no cache holds.

use bench_protocol::{Error, serve_with};
use kiln_runtime::device::rates;
use serde_json::json;

/// As much as the weights that decoding streams, and far more than the caches hold.
const MEMORY: u64 = 512 << 20;

fn main() -> Result<(), Error> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |n| n.parse::<usize>())?.max(1);
    Ok(serve_with("the machine", |line| match line {
        "flops" => Ok(json!({ "gflops": rates::multiply_adds(threads)? * 1e-9 })),
        "read" => Ok(json!({ "gbps": rates::reads(threads, MEMORY)? * 1e-9 })),
        _ => Err(format!("expected `flops` or `read`, found `{line}`").into()),
    })?)
}
