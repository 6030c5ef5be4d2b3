//! Target files: what the cost model knows of a machine. Those of common machines are under `targets/`; `kiln calibrate` measures another.
//!
//! ```toml
//! name = "zen4"
//! code = "x86-64-v3"      # what machine code is made for: x86-64-v2, -v3, -v4, aarch64, or a compute capability of CUDA: sm_80
//! cores = 16
//! peak_flops = 144e9      # f32, of one core, FLOP/s
//! machine_flops = 2304e9  # of all cores together
//! bandwidth = 83.2e9      # of memory, byte/s
//! launch_seconds = 1e-6   # to start a step
//!
//! [[caches]]              # nearest first, those of all cores together
//! name = "L1"
//! bytes = 524288
//! bandwidth = 4608e9
//! ```

use crate::Error;
use kiln_core::{Cache, CpuSpec, CudaSpec, Rates, TargetSpec};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The files of common machines, by the names that `--target` takes after `cpu:` or `cuda:`.
const KNOWN: [&str; 10] = [
    include_str!("../targets/x86-64-v3.toml"),
    include_str!("../targets/x86-64-v2.toml"),
    include_str!("../targets/x86-64-v4.toml"),
    include_str!("../targets/aarch64.toml"),
    include_str!("../targets/zen3.toml"),
    include_str!("../targets/zen4.toml"),
    include_str!("../targets/ice-lake.toml"),
    include_str!("../targets/sapphire-rapids.toml"),
    include_str!("../targets/a100.toml"),
    include_str!("../targets/h100.toml"),
];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFile {
    name: String,
    code: String,
    cores: usize,
    peak_flops: f64,
    machine_flops: f64,
    bandwidth: f64,
    launch_seconds: f64,
    #[serde(default)]
    caches: Vec<Cache>,
}

impl TargetFile {
    fn check(&self) -> Result<(), String> {
        let rates = [
            ("peak_flops", self.peak_flops),
            ("machine_flops", self.machine_flops),
            ("bandwidth", self.bandwidth),
            ("launch_seconds", self.launch_seconds),
            ("cores", self.cores as f64),
        ];
        let caches = self
            .caches
            .iter()
            .flat_map(|c| [("bandwidth of a cache", c.bandwidth), ("bytes of a cache", c.bytes as f64)]);
        for (what, value) in rates.into_iter().chain(caches) {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("`{what}` is {value}: expected a number above 0"));
            }
        }
        if let Some(two) = self.caches.windows(2).find(|two| two[0].bytes >= two[1].bytes) {
            let (near, far) = (&two[0], &two[1]);
            return Err(format!(
                "the caches `{}` ({} bytes) and `{}` ({} bytes) are not in order: expected the nearest and smallest first",
                near.name, near.bytes, far.name, far.bytes
            ));
        }
        Ok(())
    }

    fn spec(self) -> Result<TargetSpec, String> {
        self.check()?;
        let TargetFile { name, code, cores, peak_flops, machine_flops, bandwidth, launch_seconds, caches } = self;
        let rates = Rates { cores, peak_flops, machine_flops, caches, bandwidth, launch_seconds };
        if let Some(level) = CpuSpec::level(&code) {
            return Ok(TargetSpec::Cpu(CpuSpec { name, rates, ..level }));
        }
        match code.strip_prefix("sm_").and_then(|capability| capability.parse().ok()) {
            Some(capability) => Ok(TargetSpec::Cuda(CudaSpec { name, capability, rates })),
            None => Err(format!(
                "`code` is `{code}`: expected {}, or a compute capability such as sm_80",
                CpuSpec::LEVELS.join(", ")
            )),
        }
    }
}

/// The machine that a target file describes.
///
/// # Errors
/// A message that says what the text lacks or has too much of.
pub fn parse(text: &str) -> Result<TargetSpec, String> {
    toml::from_str::<TargetFile>(text).map_err(|e| e.to_string())?.spec()
}

/// The machines that are known by name, as `cpu:zen4` and `cuda:a100`.
pub fn known() -> Vec<(String, TargetSpec)> {
    let named = |spec: TargetSpec| {
        let device = match spec {
            TargetSpec::Cpu(_) => "cpu",
            TargetSpec::Cuda(_) => "cuda",
        };
        (format!("{device}:{}", spec.name()), spec)
    };
    KNOWN.iter().filter_map(|text| parse(text).ok()).map(named).collect()
}

/// What `--target` names: `cpu`, a machine by name (`cpu:zen4`, `cuda:a100`), or a target file (`machine.toml`).
///
/// # Errors
/// A message that lists the known names, or says what is wrong with the file.
pub fn find(name: &str) -> Result<TargetSpec, String> {
    if Path::new(name).extension().is_some_and(|e| e == "toml") {
        let text = std::fs::read_to_string(name).map_err(|e| format!("cannot read the target file {name}: {e}"))?;
        return parse(&text).map_err(|e| format!("the target file {name}: {e}"));
    }
    let mut known = known();
    match known.iter().position(|(n, _)| n == name || (name == "cpu" && n == "cpu:x86-64-v3")) {
        Some(i) => Ok(known.swap_remove(i).1),
        None => {
            let names: Vec<String> = known.into_iter().map(|(n, _)| n).collect();
            Err(format!("unknown target `{name}`: expected cpu, {}, or a target file .toml", names.join(", ")))
        }
    }
}

/// The target file of a machine.
///
/// # Errors
/// None for a machine that was parsed or measured.
pub fn to_toml(spec: &TargetSpec) -> crate::Result<String> {
    let code = match spec {
        TargetSpec::Cpu(cpu) => {
            let same = |level: &CpuSpec| (&level.triple, &level.cpu) == (&cpu.triple, &cpu.cpu);
            CpuSpec::LEVELS.iter().filter_map(|name| CpuSpec::level(name)).find(same).map(|level| level.name)
        }
        TargetSpec::Cuda(cuda) => Some(format!("sm_{}", cuda.capability)),
    };
    let no_code = || Error::Option(format!("the target `{}` is of no level that a target file names", spec.name()));
    let Rates { cores, peak_flops, machine_flops, bandwidth, launch_seconds, caches } = spec.rates().clone();
    let (name, code) = (spec.name().to_string(), code.ok_or_else(no_code)?);
    let file = TargetFile { name, code, cores, peak_flops, machine_flops, bandwidth, launch_seconds, caches };
    toml::to_string(&file).map_err(|e| Error::Option(format!("the target cannot be written: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_known_machines_parse_and_have_their_names() {
        assert_eq!(known().len(), KNOWN.len());
        for (text, (name, _)) in KNOWN.iter().zip(known()) {
            let spec = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(name.ends_with(&format!(":{}", spec.name())), "{name}");
            assert_eq!(find(&name), Ok(spec.clone()));
            // As printed, it parses to the same.
            assert_eq!(parse(&to_toml(&spec).expect("prints")), Ok(spec.clone()), "{name}");
            // No core is faster than all of them, no level than a nearer one, and memory is the slowest.
            let rates = spec.rates();
            assert!(rates.peak_flops <= rates.machine_flops * 1.001, "{name}");
            let rates = rates.caches.iter().map(|c| c.bandwidth).chain([rates.bandwidth]).collect::<Vec<_>>();
            assert!(rates.is_sorted_by(|near, far| near >= far), "{name}: {rates:?}");
        }
        assert_eq!(find("cpu"), Ok(TargetSpec::x86_64_v3()));
        for level in CpuSpec::LEVELS {
            let spec = CpuSpec::level(level).expect(level);
            assert_eq!(find(&format!("cpu:{level}")), Ok(TargetSpec::Cpu(spec)));
        }
        assert!(find("cuda:a100").is_ok_and(|t| t.cpu().is_none()));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let good = KNOWN[0];
        for (from, to, words) in [
            ("peak_flops = 100e9", "peak_flops = -1", "`peak_flops` is -1: expected a number above 0"),
            ("peak_flops = 100e9", "", "missing field `peak_flops`"),
            ("peak_flops = 100e9", "peak_flop = 100e9", "unknown field `peak_flop`"),
            (
                "code = \"x86-64-v3\"",
                "code = \"riscv\"",
                "`code` is `riscv`: expected x86-64-v2, x86-64-v3, x86-64-v4, aarch64, or a compute",
            ),
            ("bytes = 65536", "bytes = 65536000", "`L1` (65536000 bytes) and `L2` (1048576 bytes) are not in order"),
            ("cores = 2", "cores = 0", "`cores` is 0"),
        ] {
            let error = parse(&good.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(words), "{to}: {error}");
        }
        assert!(find("gpu").expect_err("unknown").contains("cpu:zen4, cpu:ice-lake"));
        assert!(find("nowhere.toml").expect_err("missing").contains("cannot read the target file nowhere.toml"));
    }
}
