//! What an artifact runs: signatures, their variants, and the steps of each, over named buffers.
//!
//! A [`Plan`] is complete: the runtime binds sizes, lays out memory and launches kernels, and decides nothing else.

use crate::{Dim, DimBounds, DimError, KernelSpec, Storage, Symbols, ValueRange};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Everything that a loaded program needs besides code and weight bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The size symbols with their bounds.
    pub symbols: Symbols,
    /// The kernels; steps refer to them by number. An artifact holds them beside their code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelEntry>,
    /// Tensors stored in the artifact as the checkpoint has them, and constants of the graph.
    pub weights: Vec<WeightSpec>,
    /// Tensors that `prepare` computes from the weights once, at load.
    pub prepared: Vec<PreparedSpec>,
    /// Buffers that live from call to call (the key/value cache).
    pub states: Vec<StateSpec>,
    /// Fills the prepared tensors; its steps read weights and write prepared buffers.
    pub prepare: Schedule,
    /// The entries, by name.
    pub signatures: Vec<Signature>,
}

/// One kernel: what it computes and where its code is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelEntry {
    /// Symbol name in the image.
    pub symbol: String,
    /// What it computes.
    pub spec: KernelSpec,
    /// Byte offset of its entry in the kernel image; set when the image is linked.
    pub entry: u64,
}

/// A tensor whose bytes the artifact holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightSpec {
    /// The checkpoint's name, or `const.N`.
    pub name: String,
    /// How it is stored.
    pub storage: Storage,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Byte offset in the weights section, a multiple of 64; set when the artifact is written.
    pub offset: u64,
}

/// A tensor made by `prepare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedSpec {
    /// What it is, for people: `model.layers.0 qkv, packed`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A buffer that each session has for itself, and that the program writes: a state, or a parameter that may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateSpec {
    /// Its name: `past_key_values.0.key`.
    pub name: String,
    /// How it is stored.
    pub storage: Storage,
    /// Its shape; symbols that appear here are fixed when a session is made.
    pub shape: Vec<Dim>,
    /// The weight that it begins as, of the same storage and shape; zero without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<u32>,
}

/// One entry of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Its name: `forward`, `step`.
    pub name: String,
    /// Inputs in order, by their forward argument names.
    pub inputs: Vec<InputSpec>,
    /// Outputs in order, by their field names.
    pub outputs: Vec<OutputSpec>,
    /// The variants; the first whose guards hold runs.
    pub variants: Vec<Variant>,
}

impl Signature {
    /// The variant that runs at these sizes, with its number: the first whose guards hold; `None` where none do.
    ///
    /// # Errors
    /// A guard that has no value at these sizes, of a variant up to the one that runs.
    pub fn variant(&self, size: &dyn Fn(&str) -> Option<i64>) -> Result<Option<(usize, &Variant)>, DimError> {
        for (i, variant) in self.variants.iter().enumerate() {
            if hold(&variant.guards, size)? {
                return Ok(Some((i, variant)));
            }
        }
        Ok(None)
    }
}

/// Whether each of the sizes lies within its bounds.
///
/// # Errors
/// A size without a value, also where another one lies outside already: which values a call has does not decide whether a
/// plan is sound.
pub fn hold(guards: &[(Dim, DimBounds)], size: &dyn Fn(&str) -> Option<i64>) -> Result<bool, DimError> {
    guards.iter().try_fold(true, |holds, (dim, bounds)| Ok(bounds.contains(dim.eval(size)?) && holds))
}

/// An input tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub storage: Storage,
    /// Its shape; symbols are bound by what is passed.
    pub shape: Vec<Dim>,
    /// What stands in when the caller passes nothing.
    pub default: Option<DefaultFill>,
    /// The values that it may have, where they address something; calls with others are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<ValueRange>,
}

/// The value of an input that was not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultFill {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// 0, 1, 2, … along the last axis.
    Iota,
}

/// An output tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub storage: Storage,
    /// Its shape.
    pub shape: Vec<Dim>,
}

/// The same function for a range of sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Runs only where each of these sizes lies within its bounds.
    pub guards: Vec<(Dim, DimBounds)>,
    /// What it does.
    pub schedule: Schedule,
}

impl Variant {
    /// The sizes that it is for: `b in 1..=1, s in 1..`; `any size` without guards.
    pub fn range(&self) -> String {
        let guards: Vec<String> = self.guards.iter().map(|(dim, bounds)| format!("{dim} in {bounds}")).collect();
        if guards.is_empty() { "any size".into() } else { guards.join(", ") }
    }
}

/// Steps in order, with a barrier between two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The steps.
    pub steps: Vec<Step>,
    /// Sizes in bytes of the arena's slots, laid out one after the other, each rounded up to 64 bytes.
    pub slots: Vec<Dim>,
    /// Where each temporary lives.
    pub temporaries: Vec<Temporary>,
}

impl Schedule {
    /// For each step, the bytes of the intermediates that live while it runs.
    pub fn live_bytes(&self) -> Vec<Dim> {
        let mut lives: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for (i, step) in self.steps.iter().enumerate() {
            for b in &step.operands {
                if let Buffer::Temporary(t) = b {
                    lives.entry(*t).or_insert((i, i)).1 = i;
                }
            }
        }
        let at = |i: usize| {
            let live = lives.iter().filter(|(_, (first, last))| (*first..=*last).contains(&i));
            live.map(|(t, _)| self.temporaries[*t as usize].bytes.clone()).fold(Dim::constant(0), |a, b| a + b)
        };
        (0..self.steps.len()).map(at).collect()
    }
}

/// An intermediate tensor: it takes a slot of the arena while it lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temporary {
    /// Number of its slot.
    pub slot: u32,
    /// Size in bytes, at most the slot's.
    pub bytes: Dim,
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of its kernel.
    pub kernel: u32,
    /// Its operands, in the kernel's order: what it reads, then what it writes.
    pub operands: Vec<Buffer>,
    /// The kernel's runtime arguments.
    pub args: Vec<Dim>,
    /// How its work is shared out.
    pub launch: Launch,
    /// What it is, for people and profiles: `layers.0 qkv`.
    pub label: Arc<str>,
    /// Floating-point operations, for profiles.
    pub flops: Dim,
    /// Bytes read and written, for profiles.
    pub bytes: Dim,
}

impl Step {
    /// Whether it reads or writes weights or states, which lie in memory, rather than only what other steps wrote just before.
    pub fn streams(&self) -> bool {
        self.operands.iter().any(|b| matches!(b, Buffer::Weight(_) | Buffer::Prepared(_) | Buffer::State(_)))
    }
}

/// How the work of a step is shared out. A function of the sizes alone, so that results depend on nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Launch {
    /// Pieces, at least 1, that any thread of a CPU may take.
    Chunks(Dim),
    /// A grid of a CUDA device; each of its threads is a piece.
    Grid {
        /// Blocks, at least 1.
        blocks: Dim,
        /// Threads in a block.
        threads: u32,
    },
}

impl Launch {
    /// How many cores or multiprocessors can take part.
    pub fn width(&self) -> &Dim {
        match self {
            Launch::Chunks(chunks) => chunks,
            Launch::Grid { blocks, .. } => blocks,
        }
    }
}

impl std::fmt::Display for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Launch::Chunks(chunks) => write!(f, "{chunks} chunks"),
            Launch::Grid { blocks, threads } => write!(f, "{blocks} blocks of {threads} threads"),
        }
    }
}

/// A buffer of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Buffer {
    Weight(u32),
    Prepared(u32),
    State(u32),
    Temporary(u32),
    Input(u32),
    Output(u32),
}

impl Plan {
    /// The signature of that name.
    pub fn signature(&self, name: &str) -> Option<&Signature> {
        self.signatures.iter().find(|s| s.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(s: &str) -> Dim {
        s.parse().expect(s)
    }

    fn variant(guards: &[(&str, i64, i64)]) -> Variant {
        let guards = guards.iter().map(|(d, min, max)| (dim(d), DimBounds { min: *min, max: *max }));
        Variant { guards: guards.collect(), schedule: Schedule::default() }
    }

    fn signature(variants: Vec<Variant>) -> Signature {
        Signature { name: "f".into(), inputs: vec![], outputs: vec![], variants }
    }

    #[test]
    fn the_first_variant_whose_guards_hold_runs_and_bounds_are_inclusive() {
        let f = signature(vec![
            variant(&[("b", 1, 1), ("s", 1, 1)]),
            variant(&[("b*s", 1, 8)]),
            variant(&[("b", 2, i64::MAX), ("s - b", 0, i64::MAX)]),
        ]);
        let at = |b, s| {
            let size = move |name: &str| Some(if name == "b" { b } else { s });
            f.variant(&size).expect("sizes").map(|(number, _)| number)
        };
        assert_eq!([at(1, 1), at(1, 2), at(2, 1), at(1, 8), at(2, 4), at(8, 1)], [0, 1, 1, 1, 1, 1].map(Some));
        assert_eq!([at(2, 5), at(3, 3)], [Some(2); 2]);
        assert_eq!([at(1, 9), at(0, 4), at(9, 8)], [None; 3]);
        assert!(matches!(f.variant(&|_| Some(i64::MAX)), Err(DimError::Overflow(_))));
    }

    #[test]
    fn a_guard_without_a_value_is_an_error_wherever_it_stands() {
        let known = |name: &str| (name == "s").then_some(1);
        let unbound = Err(DimError::Unbound("t".into()));
        for guards in [[("t", 1, 1), ("s", 1, 1)], [("s", 1, 1), ("t", 1, 1)], [("s", 2, 2), ("t", 1, 1)]] {
            assert_eq!(signature(vec![variant(&guards)]).variant(&known).map(|_| ()), unbound);
        }
        let after = signature(vec![variant(&[("s", 1, 1)]), variant(&[("t", 1, 1)])]);
        assert_eq!(after.variant(&known).map(|v| v.map(|(number, _)| number)), Ok(Some(0)), "nobody asks the second");
        assert_eq!(signature(vec![variant(&[])]).variant(&|_| None).map(|v| v.map(|(n, _)| n)), Ok(Some(0)));
        assert_eq!(signature(vec![]).variant(&known), Ok(None));
    }

    #[test]
    fn the_range_of_a_variant_reads_as_its_guards() {
        assert_eq!(variant(&[("b", 1, 1), ("s", 1, i64::MAX)]).range(), "b in 1..=1, s in 1..");
        assert_eq!(variant(&[]).range(), "any size");
    }
}
