//! The machines that code is made for.

use serde::{Deserialize, Serialize};

/// A machine that a program is compiled for: what decides its code, and the rates that the cost model uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "device", rename_all = "snake_case")]
pub enum TargetSpec {
    /// A CPU.
    Cpu(CpuSpec),
    /// A CUDA device.
    Cuda(CudaSpec),
}

/// A CPU: one level of an instruction set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuSpec {
    /// What the machine is called, for people: `zen4`.
    pub name: String,
    /// LLVM target triple, `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// LLVM CPU name, `x86-64-v3`.
    pub cpu: String,
    /// CPU features that the code needs, as the runtime's detection names them: `avx2`, `fma`.
    pub features: Vec<String>,
    /// f32 values in a vector register.
    pub vector_lanes: usize,
    /// Vector registers.
    pub vector_registers: usize,
    /// Most chunks that one step is cut into.
    pub max_chunks: i64,
    /// How fast it is.
    pub rates: Rates,
}

/// A CUDA device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CudaSpec {
    /// What the device is called, for people: `a100`.
    pub name: String,
    /// Its compute capability, 80 for 8.0.
    pub capability: u32,
    /// How fast it is; its cores are its multiprocessors.
    pub rates: Rates,
}

impl CudaSpec {
    /// Threads in a block of a launch.
    pub const THREADS: u32 = 128;
}

/// How fast a machine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Cores, or multiprocessors of a GPU.
    pub cores: usize,
    /// Peak f32 rate of one core, FLOP/s.
    pub peak_flops: f64,
    /// Peak f32 rate of all cores together, FLOP/s.
    pub machine_flops: f64,
    /// The caches, nearest first.
    pub caches: Vec<Cache>,
    /// Memory bandwidth of the whole machine, byte/s.
    pub bandwidth: f64,
    /// Cost of starting one step of the schedule, seconds.
    pub launch_seconds: f64,
}

/// One level of caches, those of all cores together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Its name: `L2`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Rate at which it is read, byte/s.
    pub bandwidth: f64,
}

/// The features of x86-64-v2 that the runtime can detect.
const X86_64_V2: [&str; 5] = ["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"];
/// What x86-64-v3 adds.
const X86_64_V3: [&str; 7] = ["avx2", "fma", "bmi1", "bmi2", "f16c", "lzcnt", "movbe"];
/// What x86-64-v4 adds.
const X86_64_V4: [&str; 5] = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];

impl CpuSpec {
    /// The names of [`CpuSpec::level`].
    pub const LEVELS: [&str; 4] = ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"];

    /// A level of an instruction set by name; `None` for any but [`LEVELS`](Self::LEVELS).
    ///
    /// - `x86-64-v2`: SSE4.2, without fused multiply-adds: x86 machines since 2009.
    /// - `x86-64-v3`: AVX2 and FMA, what most x86 machines since 2013 have.
    /// - `x86-64-v4`: AVX-512.
    /// - `aarch64`: ARMv8-A with NEON, which all its machines have.
    ///
    /// Rates are those of two cores at 3.125 GHz that share their machine with others.
    pub fn level(name: &str) -> Option<Self> {
        let (triple, cpu, lanes, registers, features): (_, _, _, _, Vec<&str>) = match name {
            "x86-64-v2" => ("x86_64-unknown-linux-gnu", name, 4, 16, X86_64_V2.to_vec()),
            "x86-64-v3" => ("x86_64-unknown-linux-gnu", name, 8, 16, X86_64_V3.to_vec()),
            "x86-64-v4" => ("x86_64-unknown-linux-gnu", name, 16, 32, [&X86_64_V3[..], &X86_64_V4].concat()),
            "aarch64" => ("aarch64-unknown-linux-gnu", "generic", 4, 32, vec!["neon"]),
            _ => return None,
        };
        let cache = |name: &str, bytes, bandwidth| Cache { name: name.into(), bytes, bandwidth };
        // Two multiply-adds a cycle, or where there are none two multiplications or additions.
        let fused = if name == "x86-64-v2" { 1.0 } else { 2.0 };
        let peak = 3.125e9 * 2.0 * fused * lanes as f64;
        Some(CpuSpec {
            name: name.into(),
            triple: triple.into(),
            cpu: cpu.into(),
            features: features.into_iter().map(String::from).collect(),
            vector_lanes: lanes,
            vector_registers: registers,
            max_chunks: 64,
            rates: Rates {
                cores: 2,
                peak_flops: peak,
                machine_flops: 2.0 * peak,
                caches: vec![cache("L1", 64 << 10, 400e9), cache("L2", 1 << 20, 200e9), cache("L3", 32 << 20, 80e9)],
                bandwidth: 25e9,
                launch_seconds: 1e-6,
            },
        })
    }

    /// Whether it multiplies and adds with one rounding, in one instruction.
    pub fn fused_multiply_add(&self) -> bool {
        !self.is_x86() || self.has("fma")
    }

    /// Whether it converts between f16 and f32 by an instruction.
    pub fn converts_f16(&self) -> bool {
        !self.is_x86() || self.has("f16c")
    }

    fn is_x86(&self) -> bool {
        self.triple.starts_with("x86_64")
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
}

impl TargetSpec {
    /// [`CpuSpec::level`] `x86-64-v3`, the default.
    pub fn x86_64_v3() -> Self {
        TargetSpec::Cpu(CpuSpec::level("x86-64-v3").expect("one of the levels"))
    }

    /// What the machine is called.
    pub fn name(&self) -> &str {
        match self {
            TargetSpec::Cpu(cpu) => &cpu.name,
            TargetSpec::Cuda(cuda) => &cuda.name,
        }
    }

    /// How fast it is.
    pub fn rates(&self) -> &Rates {
        match self {
            TargetSpec::Cpu(cpu) => &cpu.rates,
            TargetSpec::Cuda(cuda) => &cuda.rates,
        }
    }

    /// The CPU, if it is one.
    pub fn cpu(&self) -> Option<&CpuSpec> {
        match self {
            TargetSpec::Cpu(cpu) => Some(cpu),
            TargetSpec::Cuda(_) => None,
        }
    }

    /// Columns in a panel of a packed right-hand side of `n` columns in `parts` parts: what a tile of accumulators holds. On a CPU,
    /// three vectors make the best tile; where they do not divide a narrow matrix, or its halves must meet, two. Vectors of four lanes
    /// go two by two, so that eight columns can be packed at a time.
    pub fn panel(&self, n: i64, parts: i64) -> i64 {
        let TargetSpec::Cpu(cpu) = self else { return CUDA_PANEL };
        let lanes = cpu.vector_lanes.max(1) as i64;
        let vectors = match lanes {
            ..8 if cpu.vector_registers >= 32 => 4,
            ..8 => 2,
            _ => 3,
        };
        let (columns, wide) = (n / parts.max(1), vectors * lanes);
        match parts {
            2 => 2 * lanes.max(8),
            _ if columns <= lanes => lanes,
            _ if columns % wide == 0 || columns >= 16 * wide => wide,
            _ => 2 * lanes,
        }
    }
}

/// Columns in a panel for a CUDA device, where a thread holds a tile's accumulators.
const CUDA_PANEL: i64 = 16;

impl Rates {
    /// The rate at which so many bytes are read that were used just before, byte/s: that of the nearest cache that holds them.
    pub fn bandwidth_of(&self, bytes: f64) -> f64 {
        self.caches.iter().find(|c| bytes <= c.bytes as f64).map_or(self.bandwidth, |c| c.bandwidth)
    }

    /// The roofline of a step: the seconds that it takes at least. `streams` says whether its bytes come from memory (weights, caches of
    /// keys and values) rather than from a step before it; `cores` is how many work.
    pub fn roofline(&self, flops: f64, bytes: f64, streams: bool, cores: usize) -> f64 {
        let rate = self.machine_flops.min(self.peak_flops * cores.max(1) as f64);
        let bandwidth = if streams { self.bandwidth } else { self.bandwidth_of(bytes) };
        (flops / rate).max(bytes / bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_at_the_rate_of_the_nearest_cache_that_holds_them() {
        let target = TargetSpec::x86_64_v3();
        let t = target.rates();
        let rates = [1.0, 65536.0, 65537.0, 2e6, 1e9].map(|bytes| t.bandwidth_of(bytes));
        assert_eq!(rates, [400e9, 400e9, 200e9, 80e9, 25e9]);
        assert_eq!(t.roofline(1e6, 4096.0, true, 2), 5e-6);
        assert_eq!(t.roofline(1e6, 4096.0, true, 1), 1e-5);
        assert_eq!(t.roofline(0.0, 4096.0, true, 2), 4096.0 / 25e9);
        assert_eq!(t.roofline(0.0, 4096.0, false, 2), 4096.0 / 400e9);
    }

    #[test]
    fn a_panel_is_whole_vectors_and_its_parts_are_eight_columns_or_more() {
        for level in CpuSpec::LEVELS {
            let cpu = CpuSpec::level(level).expect(level);
            let lanes = cpu.vector_lanes as i64;
            let target = TargetSpec::Cpu(cpu);
            for n in [2, 8, 48, 96, 576, 1024, 49152] {
                for parts in [1, 2] {
                    let panel = target.panel(n, parts);
                    assert_eq!(panel % (lanes * parts), 0, "{level}, {n} columns in {parts} parts: {panel}");
                    assert!(panel / parts >= 8.min(lanes), "{level}, {n} columns in {parts} parts: {panel}");
                }
            }
        }
        let v3 = TargetSpec::x86_64_v3();
        assert_eq!(
            [(8, 1), (576, 1), (49152, 1), (40, 1), (3072, 2)].map(|(n, parts)| v3.panel(n, parts)),
            [8, 24, 24, 16, 16]
        );
    }

    #[test]
    fn a_target_reads_back_and_unknown_fields_are_refused() {
        let cuda = TargetSpec::Cuda(CudaSpec { name: "a100".into(), capability: 80, rates: Rates::default() });
        for target in [TargetSpec::x86_64_v3(), cuda] {
            let text = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<TargetSpec>(&text).unwrap(), target);
            let wrong = text.replacen("\"name\"", "\"warps\":4,\"name\"", 1);
            assert!(serde_json::from_str::<TargetSpec>(&wrong).is_err(), "{wrong}");
        }
    }
}
