//! The machine that code is made for.

use serde::{Deserialize, Serialize};

/// What the compiler knows of a CPU target: what decides the code, and the rates that the cost model uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSpec {
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
    /// Most chunks that one step is cut into.
    pub max_chunks: i64,
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

impl TargetSpec {
    /// The x86-64-v3 level: AVX2 and FMA, what most x86 machines since 2013 have. Rates are those of two Zen 3 cores at 3.2 GHz
    /// that share their machine with others.
    pub fn x86_64_v3() -> Self {
        let cache = |name: &str, bytes, bandwidth| Cache { name: name.into(), bytes, bandwidth };
        TargetSpec {
            name: "x86-64-v3".into(),
            triple: "x86_64-unknown-linux-gnu".into(),
            cpu: "x86-64-v3".into(),
            features: ["avx2", "fma", "bmi1", "bmi2", "f16c", "lzcnt", "movbe"].map(String::from).to_vec(),
            vector_lanes: 8,
            vector_registers: 16,
            cores: 2,
            peak_flops: 100e9,
            machine_flops: 200e9,
            caches: vec![cache("L1", 64 << 10, 400e9), cache("L2", 1 << 20, 200e9), cache("L3", 32 << 20, 80e9)],
            bandwidth: 25e9,
            launch_seconds: 1e-6,
            max_chunks: 64,
        }
    }

    /// Columns in a panel of a packed right-hand side of `n` columns in `parts` parts: what a tile of accumulators holds. Three
    /// vectors make the best tile; where they do not divide a narrow matrix, or its halves must meet, two.
    pub fn panel(&self, n: i64, parts: i64) -> i64 {
        let lanes = self.vector_lanes.max(1) as i64;
        let (columns, wide) = (n / parts.max(1), 3 * lanes);
        match parts {
            2 => 2 * lanes,
            _ if columns <= lanes => lanes,
            _ if columns % wide == 0 || columns >= 16 * wide => wide,
            _ => 2 * lanes,
        }
    }

    /// A CUDA device of that compute capability, `sm_80`. Nothing is compiled for one yet: its rates serve the cost model alone. They
    /// are zero here, for a target file to fill in.
    pub fn cuda(capability: &str) -> Self {
        TargetSpec {
            name: capability.into(),
            triple: "nvptx64-nvidia-cuda".into(),
            cpu: capability.into(),
            features: vec![],
            cores: 0,
            peak_flops: 0.0,
            machine_flops: 0.0,
            caches: vec![],
            bandwidth: 0.0,
            launch_seconds: 0.0,
            // Weights are packed as they are for a CPU.
            ..Self::x86_64_v3()
        }
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        self.triple.starts_with("nvptx")
    }

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
        let t = TargetSpec::x86_64_v3();
        let rates = [1.0, 65536.0, 65537.0, 2e6, 1e9].map(|bytes| t.bandwidth_of(bytes));
        assert_eq!(rates, [400e9, 400e9, 200e9, 80e9, 25e9]);
        assert_eq!(t.roofline(1e6, 4096.0, true, 2), 5e-6);
        assert_eq!(t.roofline(1e6, 4096.0, true, 1), 1e-5);
        assert_eq!(t.roofline(0.0, 4096.0, true, 2), 4096.0 / 25e9);
        assert_eq!(t.roofline(0.0, 4096.0, false, 2), 4096.0 / 400e9);
    }
}
