//! How buffers lie in memory one after the other, and how much a plan takes.

use crate::artifact::weight_bytes;
use crate::{Error, Result};
use kiln_core::{Dim, DimError, Plan, Schedule, Storage, Symbols};
use serde::{Deserialize, Serialize};

/// Buffers begin at multiples of this.
pub(crate) const ALIGN: u64 = 64;

/// Places buffers one after the other.
#[derive(Default)]
pub(crate) struct Layout {
    end: u64,
}

impl Layout {
    /// The offset of the next buffer, of that many bytes; `None` beyond 64 bits.
    pub(crate) fn place(&mut self, bytes: u64) -> Option<u64> {
        let at = self.end;
        self.end = at.checked_add(bytes)?.checked_next_multiple_of(ALIGN)?;
        Some(at)
    }

    pub(crate) fn len(&self) -> u64 {
        self.end
    }
}

/// How many bytes a program takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Weights in the artifact, mapped from the file: the system may drop and read them again.
    pub weights: u64,
    /// Tensors that `prepare` makes at load; one copy for all sessions.
    pub prepared: u64,
    /// States of one session, as far as they are used.
    pub state: u64,
    /// Temporaries of one session.
    pub arena: u64,
    /// Inputs and outputs of one session.
    pub io: u64,
}

impl MemoryReport {
    /// What a plan takes at the upper bounds of its sizes, or at `sizes` for those given there.
    ///
    /// # Errors
    /// When the plan's sizes are not numbers within 64 bits.
    pub fn of(plan: &Plan, sizes: &[(&str, i64)]) -> Result<Self> {
        Self::of_signatures(plan, sizes, |_| true)
    }

    /// As [`of`](Self::of), for a program of which only the signatures that `chosen` picks are called.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_signatures(plan: &Plan, sizes: &[(&str, i64)], chosen: impl Fn(&str) -> bool) -> Result<Self> {
        let mut symbols = plan.symbols.clone();
        for (name, value) in sizes {
            if let Some(bounds) = symbols.get_mut(*name) {
                bounds.max = *value;
            }
        }
        let mut report = MemoryReport::default();
        for w in &plan.weights {
            let bytes = weight_bytes(w).ok_or_else(|| too_large(&w.name))?;
            report.weights = sum(report.weights, bytes as u64)?;
        }
        report.prepared = total(plan.prepared.iter().map(|p| Ok(p.bytes)))?;
        report.state = total(plan.states.iter().map(|s| tensor(s.storage, &s.shape, &symbols, &s.name)))?;
        report.arena = arena(&plan.prepare, &symbols)?;
        for signature in plan.signatures.iter().filter(|s| chosen(&s.name)) {
            let inputs = signature.inputs.iter().map(|i| (i.storage, &i.shape, &i.name));
            let outputs = signature.outputs.iter().map(|o| (o.storage, &o.shape, &o.name));
            for variant in &signature.variants {
                let mut guarded = symbols.clone();
                for (dim, bounds) in &variant.guards {
                    if let Some(s) = dim.as_symbol().and_then(|s| guarded.get_mut(s)) {
                        s.max = s.max.min(bounds.max);
                    }
                }
                report.arena = report.arena.max(arena(&variant.schedule, &guarded)?);
                let io = total(inputs.clone().chain(outputs.clone()).map(|(s, d, n)| tensor(s, d, &guarded, n)))?;
                report.io = report.io.max(io);
            }
        }
        Ok(report)
    }

    /// Everything but the weights, which live in the file: what a process with one session is sure to need.
    pub fn resident(&self) -> u64 {
        self.prepared.saturating_add(self.state).saturating_add(self.arena).saturating_add(self.io)
    }
}

fn arena(schedule: &Schedule, symbols: &Symbols) -> Result<u64> {
    total(schedule.slots.iter().map(|d| {
        let bytes = d.upper_bound(symbols).map_err(|e| unsized_buffer("a slot of the arena", &e))?;
        u64::try_from(bytes).map_err(|_| too_large("a slot of the arena"))
    }))
}

fn tensor(storage: Storage, shape: &[Dim], symbols: &Symbols, name: &str) -> Result<u64> {
    let dims = shape.iter().map(|d| d.upper_bound(symbols)).collect::<Result<Vec<_>, _>>();
    tensor_bytes(storage, dims.map_err(|e| unsized_buffer(name, &e))?).ok_or_else(|| too_large(name))
}

/// Bytes of a tensor; `None` when a size is negative or the product does not fit.
pub(crate) fn tensor_bytes(storage: Storage, shape: impl IntoIterator<Item = i64>) -> Option<u64> {
    let elements = shape.into_iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(d).ok()?))?;
    storage.bytes(elements).map(|b| b as u64)
}

fn total(sizes: impl Iterator<Item = Result<u64>>) -> Result<u64> {
    let mut layout = Layout::default();
    for bytes in sizes {
        layout.place(bytes?).ok_or_else(|| too_large("a region"))?;
    }
    Ok(layout.len())
}

fn sum(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(|| too_large("the weights"))
}

fn too_large(what: &str) -> Error {
    Error::Plan { what: what.into(), expected: "a size within 64 bits".into(), found: "none".into() }
}

pub(crate) fn unsized_buffer(what: &str, error: &DimError) -> Error {
    Error::Plan { what: what.into(), expected: "a size".into(), found: error.to_string() }
}
