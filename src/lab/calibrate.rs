//! The rates of this machine, for the cost model.

use crate::Result;
use kiln_core::{Cache, CpuSpec, Rates, TargetSpec};
use kiln_runtime::device::rates;

/// Measures this machine with so many threads. It takes some seconds; what else the machine does meanwhile makes the rates too low.
///
/// # Errors
/// When this is no machine of the level x86-64-v3, or memory or threads are short.
pub fn calibrate(name: &str, threads: usize) -> Result<TargetSpec> {
    // Half of a cache, so that what else is in it finds room; of memory, far more than any cache holds.
    let sizes = rates::caches(threads);
    let beyond = sizes.last().map_or(0, |c| 8 * c.bytes).max(256 << 20);
    let mut caches: Vec<Cache> = vec![];
    for c in sizes {
        caches.push(Cache { name: c.name, bytes: c.bytes, bandwidth: rounded(rates::reads(threads, c.bytes / 2)?) });
    }
    let rates = Rates {
        cores: threads,
        peak_flops: rounded(rates::multiply_adds(1)?),
        machine_flops: rounded(rates::multiply_adds(threads)?),
        caches,
        bandwidth: rounded(rates::reads(threads, beyond)?),
        launch_seconds: rounded(rates::launch(threads)?),
    };
    // The rates are measured with the instructions of this level.
    let level = CpuSpec::level("x86-64-v3").expect("one of the levels");
    Ok(TargetSpec::Cpu(CpuSpec { name: name.into(), rates, ..level }))
}

/// Three digits: the fourth differs from run to run.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().unwrap_or(rate)
}
