//! What this machine gives at this moment: its rate of multiply-adds, the rate at which it reads each level of its memory, and what it
//! costs to start a step. `kiln calibrate` writes them to a target file.

use super::{Pool, Workers, check};
use crate::Result;
use crate::device::{Memory, Touched};
use kiln_core::CpuSpec;
use std::path::Path;
use std::time::{Duration, Instant};

/// One measurement lasts so long; of three the best counts, since whatever else runs on the machine only takes away.
const TIME: Duration = Duration::from_millis(150);
const ROUNDS: usize = 3;

/// A cache as the system describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// `L2`.
    pub name: String,
    /// Bytes of those that `threads` threads reach, all together.
    pub bytes: u64,
}

/// The data caches of the first CPU, nearest first; a cache that CPUs share counts once for all that share it. Empty where the system does
/// not say.
pub fn caches(threads: usize) -> Vec<CacheSize> {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let mut found: Vec<(u32, u64)> =
        (0..16).filter_map(|i| cache(&folder.join(format!("index{i}")), threads)).collect();
    found.sort_unstable();
    found.into_iter().map(|(level, bytes)| CacheSize { name: format!("L{level}"), bytes }).collect()
}

fn cache(folder: &Path, threads: usize) -> Option<(u32, u64)> {
    let read = |name: &str| Some(std::fs::read_to_string(folder.join(name)).ok()?.trim().to_string());
    if read("type")? == "Instruction" {
        return None;
    }
    let (level, size, sharing) = (read("level")?.parse().ok()?, read("size")?, read("shared_cpu_list")?);
    let kib: u64 = size.strip_suffix('K')?.parse().ok()?;
    Some((level, (kib << 10) * threads.div_ceil(cpus(&sharing)?) as u64))
}

/// How many CPUs a list such as `0-3,8-11` names.
fn cpus(list: &str) -> Option<usize> {
    let count = |range: &str| match range.split_once('-') {
        Some((first, last)) => Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1),
        None => range.parse::<usize>().ok().map(|_| 1),
    };
    list.split(',').map(count).sum::<Option<usize>>().filter(|n| *n > 0)
}

/// The level whose instructions measure.
fn level() -> CpuSpec {
    CpuSpec::level("x86-64-v3").expect("one of the levels")
}

/// Floating-point operations per second of f32 multiply-adds between registers, by all threads together.
///
/// # Errors
/// When this is no machine that kernels run on.
pub fn multiply_adds(threads: usize) -> Result<f64> {
    check(&level())?;
    // SAFETY: the features were found above.
    let rate = best(|| rate(threads, |_| unsafe { work::multiply_add() }));
    Ok(rate * work::FLOPS)
}

/// Bytes per second that the threads together read of a buffer of so many bytes, of which each has its part.
///
/// # Errors
/// When this is no machine that kernels run on, or memory is short.
pub fn reads(threads: usize, bytes: u64) -> Result<f64> {
    // Reads between two looks at the clock.
    const AT_LEAST: usize = 1 << 20;
    check(&level())?;
    let region = Memory::of_the_program(bytes.next_multiple_of(4096), Touched::Wholly, "a buffer to read")?;
    // SAFETY: the region is as long as this and lives as long as the slice, which is the only one.
    let memory = unsafe { std::slice::from_raw_parts_mut(region.span(0, region.len()).at, region.len() as usize) };
    memory.fill(1);
    let memory = &*memory;
    let part = (bytes as usize / threads.max(1) / 256 * 256).max(256);
    let (block, passes) = (part.min(AT_LEAST), (AT_LEAST / part).max(1));
    let blocks = part / block;
    let rate = best(|| {
        rate(threads, |(thread, done)| {
            let at = (thread * part + done % blocks * block).min(memory.len() - block);
            // SAFETY: the features were found above.
            unsafe { work::sum(&memory[at..at + block], passes) }
        })
    });
    Ok(rate * (block * passes) as f64)
}

/// Seconds that it takes to start a step on the threads of a pool and to wait for its end, beyond the work of its slowest chunk.
///
/// # Errors
/// When the system gives no more threads.
pub fn launch(threads: usize) -> Result<f64> {
    const LAUNCHES: u32 = 100;
    // Long enough for every thread to claim a chunk.
    let work = |_: u32| (0..4000u32).for_each(|i| _ = std::hint::black_box(i));
    let pool = Pool::new(threads)?;
    let fastest = |run: &dyn Fn()| {
        let batch = |_| {
            let start = Instant::now();
            (0..LAUNCHES).for_each(|_| run());
            start.elapsed().as_secs_f64() / f64::from(LAUNCHES)
        };
        (0..200).map(batch).fold(f64::INFINITY, f64::min)
    };
    let mut seconds = 0.0;
    pool.during_call(&mut || {
        let chunks = threads.max(1) as u32;
        seconds = fastest(&|| pool.run(chunks, &work)) - fastest(&|| work(0));
    });
    // A pool of one thread starts nothing; still a step is not free.
    Ok(seconds.max(1e-8))
}

fn best(measure: impl Fn() -> f64) -> f64 {
    (0..ROUNDS).map(|_| measure()).fold(0.0, f64::max)
}

/// How often per second the threads together do a part; each is told its number, and how many it has done before.
fn rate(threads: usize, part: impl Fn((usize, usize)) -> f32 + Sync) -> f64 {
    let start = Instant::now();
    let repeat = |thread: usize| {
        let mut done = 0;
        while start.elapsed() < TIME {
            std::hint::black_box(part((thread, done)));
            done += 1;
        }
        done as f64 / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let repeat = &repeat;
        let running: Vec<_> = (0..threads.max(1)).map(|thread| scope.spawn(move || repeat(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

#[cfg(target_arch = "x86_64")]
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

    /// Reads a whole number of 256 bytes so often.
    #[target_feature(enable = "avx2,fma")]
    pub fn sum(bytes: &[u8], passes: usize) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 8];
        for _ in 0..passes {
            for block in std::hint::black_box(bytes).as_chunks::<32>().0.as_chunks::<8>().0 {
                for (sum, lanes) in sums.iter_mut().zip(block) {
                    // SAFETY: there are 32 bytes, and any bits are floats.
                    *sum = _mm256_add_ps(*sum, unsafe { _mm256_loadu_ps(lanes.as_ptr().cast()) });
                }
            }
        }
        sums.iter().fold(0.0, |total, sum| total + _mm256_cvtss_f32(*sum))
    }
}

/// Other machines are refused before they get here.
#[cfg(not(target_arch = "x86_64"))]
mod work {
    pub const FLOPS: f64 = 0.0;

    pub unsafe fn multiply_add() -> f32 {
        0.0
    }

    pub unsafe fn sum(_: &[u8], _: usize) -> f32 {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(["0", "0-3", "0-1,8-9,12"].map(cpus), [Some(1), Some(4), Some(5)]);
        assert_eq!(["", "a", "3-1"].map(cpus), [None, None, None]);
    }

    #[test]
    fn every_level_is_named_once_and_each_is_larger_than_the_one_before() {
        let levels = caches(2);
        assert!(levels.windows(2).all(|l| l[0].name < l[1].name && l[0].bytes < l[1].bytes), "{levels:?}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_machine_that_runs_kernels_has_rates() {
        for rate in [multiply_adds(1), reads(1, 1 << 14), reads(2, 3 << 20)] {
            assert!(rate.expect("measures") > 1e8);
        }
        let seconds = launch(2).expect("measures");
        assert!(seconds > 0.0 && seconds < 1.0, "{seconds}");
    }
}
