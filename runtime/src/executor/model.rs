//! A loaded artifact.

use super::{
    check,
    launches::Launches,
    spans::{NOWHERE, Span},
};
use crate::artifact::{Artifact, Bytes, Code, OpenOptions, Section};
use crate::device::{KernelFn, Pool, Workers, cpu};
use crate::memory::{Layout, MemoryReport, Region, Touched, unsized_buffer};
use crate::{Error, Result};
use kiln_core::{Buffer, Plan, Schedule};
use std::path::Path;
use std::sync::Arc;

/// How to load a model.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// Threads that compute, the caller among them; by default, and for 0, as many as the machine has. Results do not depend on it.
    pub threads: Option<usize>,
    /// Threads of the program's own, instead of a pool.
    pub workers: Option<Arc<dyn Workers>>,
    /// Skips the checksum of the weights ([`OpenOptions::trust_weights`]).
    pub trust_weights: bool,
    /// Reads an artifact's file into memory instead of mapping it, for files that may be changed or truncated meanwhile
    /// ([`OpenOptions::copy`]).
    pub copy: bool,
}

/// A loaded model: code, weights and prepared tensors, shared by its sessions.
pub struct Model {
    artifact: Artifact,
    plan: Plan,
    kernels: Vec<KernelFn>,
    workers: Arc<dyn Workers>,
    weights: Vec<Span>,
    prepared: Region,
    prepared_at: Vec<u64>,
    /// Keeps the kernels mapped.
    _code: Option<Code>,
}

// SAFETY: after loading nothing in a model changes: weights and code are mapped read-only, prepared tensors are only read.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Opens, checks and loads an artifact. It holds machine code that this runs: open only artifacts you trust.
    ///
    /// # Errors
    /// When the file is damaged, of another version or for another machine, or memory or threads are short.
    pub fn open(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Arc<Self>> {
        Self::load(Artifact::open(path, &options.artifact())?, options)
    }

    /// Loads an artifact from memory, as [`open`](Self::open) does from a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: impl Into<Bytes>, options: &LoadOptions) -> Result<Arc<Self>> {
        Self::load(Artifact::from_bytes(bytes, &options.artifact())?, options)
    }

    /// Loads an open artifact.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(artifact: Artifact, options: &LoadOptions) -> Result<Arc<Self>> {
        cpu::check(&artifact.manifest().target)?;
        let plan = artifact.plan()?;
        if !plan.kernels.is_empty() {
            artifact.require(Section::Kernels)?;
        }
        let code = artifact.code()?;
        let entry = |k: &kiln_core::KernelEntry| {
            let address = code.as_ref().and_then(|c| c.at(k.entry)).ok_or_else(|| Error::Plan {
                what: format!("kernel `{}`", k.symbol),
                expected: "an entry within the image".into(),
                found: k.entry.to_string(),
            })?;
            // SAFETY: a function pointer is an address of code, and this one lies in the image, which is mapped executable for as
            // long as the model lives. That it is a kernel's entry is the word of the compiler that wrote the artifact.
            Ok(unsafe { std::mem::transmute::<*const u8, KernelFn>(address) })
        };
        let kernels = plan.kernels.iter().map(entry).collect::<Result<Vec<_>>>()?;
        Self::assemble(artifact, plan, kernels, code, options)
    }

    /// Loads an artifact with these functions in place of its kernels: for tests of the runtime alone.
    #[doc(hidden)]
    pub fn with_kernels(artifact: Artifact, kernels: Vec<KernelFn>, options: &LoadOptions) -> Result<Arc<Self>> {
        cpu::check(&artifact.manifest().target)?;
        let plan = artifact.plan()?;
        Self::assemble(artifact, plan, kernels, None, options)
    }

    fn assemble(
        artifact: Artifact,
        plan: Plan,
        kernels: Vec<KernelFn>,
        code: Option<Code>,
        options: &LoadOptions,
    ) -> Result<Arc<Self>> {
        check::check(&plan)?;
        if kernels.len() != plan.kernels.len() {
            return Err(Error::Plan {
                what: "kernels".into(),
                expected: plan.kernels.len().to_string(),
                found: kernels.len().to_string(),
            });
        }
        let workers = match &options.workers {
            Some(workers) => workers.clone(),
            None => Arc::new(Pool::new(options.threads.unwrap_or(0))?),
        };
        let weights = plan
            .weights
            .iter()
            .map(|w| artifact.weight(w).map(|b| Span { at: b.as_ptr().cast_mut(), bytes: b.len() as u64 }))
            .collect::<Result<Vec<_>>>()?;
        let mut layout = Layout::default();
        let prepared_at = plan
            .prepared
            .iter()
            .map(|p| {
                layout.place(p.bytes).ok_or_else(|| Error::Plan {
                    what: format!("prepared tensor `{}`", p.name),
                    expected: "a size that fits memory".into(),
                    found: format!("{} bytes", p.bytes),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let prepared = Region::new(layout.len(), Touched::Wholly, "prepared weights")?;
        let model = Model { artifact, plan, kernels, workers, weights, prepared, prepared_at, _code: code };
        model.prepare()?;
        Ok(Arc::new(model))
    }

    /// Runs the plan's `prepare`, once.
    fn prepare(&self) -> Result<()> {
        let start = std::time::Instant::now();
        let schedule = &self.plan.prepare;
        let layout = ArenaLayout::new(schedule, &|_| None)?;
        let arena = Region::new(layout.bytes, Touched::Wholly, "temporaries of `prepare`")?;
        let span = |buffer| match buffer {
            Buffer::Temporary(n) => layout.span(&arena, schedule, n),
            // The plan was checked: nothing else occurs in `prepare`.
            other => self.shared(other).unwrap_or(NOWHERE),
        };
        let results = (0..self.plan.prepared.len() as u32).map(Buffer::Prepared);
        let launches = Launches::bind(&self.plan, schedule, &self.kernels, &|_| None, &span, results)?;
        // Mapped pages of a weight that was packed are let go at once, so that the peak is not both forms of all weights.
        let mut release = |step: usize, _| {
            for operand in &schedule.steps[step].operands {
                if let Buffer::Weight(n) = operand {
                    self.artifact.release(&self.plan.weights[*n as usize]);
                }
            }
        };
        let mut result = Ok(());
        self.workers.during_call(&mut || result = launches.run(&*self.workers, None, Some(&mut release)));
        tracing::debug!(bytes = self.prepared.len(), elapsed = ?start.elapsed(), "prepared weights");
        result
    }

    /// Where a buffer is that all sessions share.
    pub(super) fn shared(&self, buffer: Buffer) -> Option<Span> {
        match buffer {
            Buffer::Weight(n) => self.weights.get(n as usize).copied(),
            Buffer::Prepared(n) => {
                let at = self.prepared.at(*self.prepared_at.get(n as usize)?);
                Some(Span { at, bytes: self.plan.prepared.get(n as usize)?.bytes })
            }
            _ => None,
        }
    }

    pub(super) fn kernels(&self) -> &[KernelFn] {
        &self.kernels
    }

    pub(super) fn workers(&self) -> &dyn Workers {
        &*self.workers
    }

    /// What it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The artifact it came from: manifest, tokenizer, generation config.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// What this model with one session takes, at the upper bounds of its sizes or at the `sizes` given.
    ///
    /// # Errors
    /// When the plan's sizes are not numbers within 64 bits.
    pub fn memory(&self, sizes: &[(&str, i64)]) -> Result<MemoryReport> {
        MemoryReport::of(&self.plan, sizes)
    }
}

impl LoadOptions {
    /// How to open the artifact.
    pub fn artifact(&self) -> OpenOptions {
        OpenOptions { trust_weights: self.trust_weights, threads: self.threads, copy: self.copy }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("artifact", &self.artifact.name()).finish_non_exhaustive()
    }
}

/// Where a schedule's temporaries lie in its arena.
pub(super) struct ArenaLayout {
    /// Offset of each slot.
    slots: Vec<u64>,
    /// Size of each temporary.
    temporaries: Vec<u64>,
    /// Size of the arena.
    pub(super) bytes: u64,
}

impl ArenaLayout {
    pub(super) fn span(&self, arena: &Region, schedule: &Schedule, temporary: u32) -> Span {
        let slot = schedule.temporaries[temporary as usize].slot;
        Span { at: arena.at(self.slots[slot as usize]), bytes: self.temporaries[temporary as usize] }
    }

    pub(super) fn new(schedule: &Schedule, size: &dyn Fn(&str) -> Option<i64>) -> Result<Self> {
        let mut layout = Layout::default();
        let mut sizes = vec![];
        let (mut offsets, mut temporaries) = (vec![], vec![]);
        for (i, slot) in schedule.slots.iter().enumerate() {
            let bytes = slot.eval(size).map_err(|e| unsized_buffer(&format!("arena slot {i}"), &e))?;
            let placed = u64::try_from(bytes).ok().and_then(|b| layout.place(b));
            let Some(offset) = placed else {
                let expected = "a size that fits memory".into();
                return Err(Error::Plan { what: format!("arena slot {i}"), expected, found: format!("{bytes} bytes") });
            };
            sizes.push(bytes);
            offsets.push(offset);
        }
        for (i, t) in schedule.temporaries.iter().enumerate() {
            let bytes = t.bytes.eval(size).map_err(|e| unsized_buffer(&format!("temporary {i}"), &e))?;
            let room = sizes[t.slot as usize];
            if !(0..=room).contains(&bytes) {
                let expected = format!("at most the {room} bytes of slot {}", t.slot);
                return Err(Error::Plan { what: format!("temporary {i}"), expected, found: bytes.to_string() });
            }
            temporaries.push(bytes as u64);
        }
        Ok(ArenaLayout { slots: offsets, temporaries, bytes: layout.len() })
    }
}
