//! Whether this machine can run code.

use crate::{Error, Result};
use kiln_core::CpuSpec;

/// Checks that this machine runs code for that target.
///
/// # Errors
/// When the architecture differs, or a CPU feature is missing or unknown to this program.
pub fn check(target: &CpuSpec) -> Result<()> {
    check_with(target, std::env::consts::ARCH, detect)
}

fn check_with(target: &CpuSpec, arch: &str, detect: impl Fn(&str) -> Option<bool>) -> Result<()> {
    let wrong =
        |lacks: String| Error::WrongMachine { built_for: target.cpu.clone(), needs: target.features.join(", "), lacks };
    let built_for = target.triple.split('-').next().unwrap_or_default();
    if built_for != arch {
        return Err(Error::WrongMachine {
            built_for: target.triple.clone(),
            needs: format!("a CPU of architecture {built_for}"),
            lacks: format!("is {arch}"),
        });
    }
    let unknown: Vec<&str> = names(target, |f| detect(f).is_none());
    if !unknown.is_empty() {
        return Err(wrong(format!("cannot be asked for {} by this version of kiln", unknown.join(", "))));
    }
    let missing: Vec<&str> = names(target, |f| detect(f) == Some(false));
    if !missing.is_empty() {
        return Err(wrong(format!("lacks {}", missing.join(", "))));
    }
    Ok(())
}

fn names(target: &CpuSpec, keep: impl Fn(&str) -> bool) -> Vec<&str> {
    target.features.iter().map(String::as_str).filter(|f| keep(f)).collect()
}

/// Whether this CPU has a feature; `None` for a name that is not in the table.
macro_rules! detect {
    ($arch:literal, $detector:ident, $($name:tt),*) => {
        #[cfg(target_arch = $arch)]
        fn detect(feature: &str) -> Option<bool> {
            match feature {
                $($name => Some(std::arch::$detector!($name)),)*
                _ => None,
            }
        }
    };
}

detect!(
    "x86_64",
    is_x86_feature_detected,
    "sse3",
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "bmi1",
    "bmi2",
    "lzcnt",
    "movbe",
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
    "avx512vnni",
    "avx512bf16",
    "avx512fp16",
    "avxvnni"
);
detect!("aarch64", is_aarch64_feature_detected, "neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect(_: &str) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_is_missing() {
        let level = CpuSpec::level("x86-64-v3").unwrap();
        let target = CpuSpec { features: vec!["avx2".into(), "fma".into()], ..level };
        let message = |arch, detect: &dyn Fn(&str) -> Option<bool>| {
            check_with(&target, arch, detect).map_err(|e| e.to_string()).expect_err("refused")
        };
        assert_eq!(
            message("x86_64", &|f| Some(f != "avx2")),
            "built for x86-64-v3 (needs avx2, fma), this machine lacks avx2: recompile it for this machine"
        );
        assert!(message("aarch64", &|_| Some(true)).contains("this machine is aarch64"));
        assert!(message("x86_64", &|_| None).contains("cannot be asked for avx2, fma"));
        assert!(check_with(&target, "x86_64", |_| Some(true)).is_ok());
    }

    #[test]
    fn every_feature_of_this_architecture_s_levels_is_known() {
        for level in CpuSpec::LEVELS.map(|name| CpuSpec::level(name).unwrap()) {
            for feature in level.features.iter().filter(|_| level.triple.starts_with(std::env::consts::ARCH)) {
                assert!(detect(feature).is_some(), "{feature}");
            }
        }
    }
}
