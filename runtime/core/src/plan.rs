//! What an artifact runs: signatures, their variants, and the steps of each, over named buffers.
//!
//! A [`Plan`] is complete: the runtime binds sizes, lays out memory and launches kernels, and decides nothing else.

use crate::{Dim, DimBounds, KernelSpec, Storage, Symbols, ValueRange};
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
    /// How many pieces the work is cut into, at least 1.
    pub chunks: Dim,
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
