//! The machine that code is made for.

use serde::{Deserialize, Serialize};

/// What the compiler knows of a CPU target: what decides the code, and the rates that the cost model uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSpec {
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
    /// Peak f32 rate of one core, FLOP/s.
    pub peak_flops: f64,
    /// Memory bandwidth of the whole machine, byte/s.
    pub bandwidth: f64,
    /// Cost of starting one step of the schedule, seconds.
    pub launch_seconds: f64,
    /// Most chunks that one step is cut into.
    pub max_chunks: i64,
}

impl TargetSpec {
    /// The x86-64-v3 level: AVX2 and FMA, what most x86 machines since 2013 have. Rates are those of a 3.2 GHz Zen 3 core.
    pub fn x86_64_v3() -> Self {
        TargetSpec {
            triple: "x86_64-unknown-linux-gnu".into(),
            cpu: "x86-64-v3".into(),
            features: ["avx2", "fma", "bmi1", "bmi2", "f16c", "lzcnt", "movbe"].map(String::from).to_vec(),
            vector_lanes: 8,
            vector_registers: 16,
            peak_flops: 100e9,
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

    /// The target that `--target` names: `cpu` (the default level of this family) or `cpu:NAME`.
    ///
    /// # Errors
    /// A message that lists the known names.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "cpu" | "cpu:x86-64-v3" => Ok(Self::x86_64_v3()),
            _ => Err(format!("unknown target `{name}`: expected one of cpu, cpu:x86-64-v3")),
        }
    }
}
