//! `bench-machine [THREADS]`: what the machine gives at this moment. `flops` is answered with `{"gflops": …}`, the rate of f32
//! multiply-adds between registers; `read` with `{"gbps": …}`, the rate of reading memory that no cache holds.

use bench_protocol::{Error, serve_with};
use memmap2::{Advice, MmapMut};
use serde_json::json;
use std::time::{Duration, Instant};

/// Long enough to meet the same neighbours as the engines do.
const TIME: Duration = Duration::from_millis(500);
/// As much as the weights that decoding streams, and far more than the caches hold.
const MEMORY: usize = 512 << 20;
/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

mod work {
    use std::arch::x86_64::*;

    /// Independent chains: two units, each with a latency of four or five cycles.
    const CHAINS: usize = 12;
    const ROUNDS: usize = 100_000;
    /// Floating-point operations of [`multiply_add`].
    pub const FLOPS: f64 = (ROUNDS * CHAINS * 8 * 2) as f64;

    #[target_feature(enable = "avx2,fma")]
    pub fn multiply_add() -> f32 {
        let (mut sums, factor) = ([_mm256_set1_ps(1.0); CHAINS], std::hint::black_box(_mm256_set1_ps(0.5)));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        sums.iter().fold(0.0, |total, sum| total + _mm256_cvtss_f32(*sum))
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn sum(bytes: &[u8]) -> f32 {
        let mut lanes = [0.0f32; 64];
        for chunk in bytes.as_chunks::<4>().0.as_chunks::<64>().0 {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += f32::from_le_bytes(*value);
            }
        }
        lanes.iter().sum()
    }

    pub fn available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
}

/// How often per second the threads together do a part; each is told how many it has done before.
fn rate(threads: usize, part: impl Fn(usize, usize) -> f32 + Sync) -> f64 {
    let start = Instant::now();
    let repeat = |thread: usize| {
        let mut done = 0;
        while start.elapsed() < TIME {
            std::hint::black_box(part(thread, done));
            done += 1;
        }
        done as f64 / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let repeat = &repeat;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || repeat(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

fn main() -> Result<(), Error> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |n| n.parse::<usize>())?.max(1);
    if !work::available() {
        return Err("needs a CPU with AVX2 and FMA".into());
    }
    // Huge pages, where there are any, as kiln has them for its weights.
    let mut memory = MmapMut::map_anon(MEMORY)?;
    memory.advise(Advice::HugePage)?;
    memory.fill(1);
    let blocks = MEMORY / BLOCK / threads;
    Ok(serve_with("the machine", |line| match line {
        "flops" => {
            // SAFETY: the features were found above.
            let rate = rate(threads, |_, _| unsafe { work::multiply_add() });
            Ok(json!({ "gflops": work::FLOPS * rate * 1e-9 }))
        }
        "read" => {
            let rate = rate(threads, |thread, done| {
                let block = thread * blocks + done % blocks;
                // SAFETY: as above.
                unsafe { work::sum(&memory[block * BLOCK..(block + 1) * BLOCK]) }
            });
            Ok(json!({ "gbps": BLOCK as f64 * rate * 1e-9 }))
        }
        _ => Err(format!("expected `flops` or `read`, found `{line}`").into()),
    })?)
}
