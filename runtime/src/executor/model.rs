//! A loaded artifact.

use super::{bind::bind, check};
use crate::artifact::{Artifact, Bytes, Manifest, OpenOptions};
use crate::device::{self, Device, KernelFn, Memory, NOWHERE, Pool, Span, Touched, Workers, cpu::Cpu};
use crate::memory::{Layout, MemoryReport, unsized_buffer};
use crate::{Error, Result};
use kiln_core::{Buffer, Plan, Schedule, TargetSpec};
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
    /// The target whose code runs, by its name, where an artifact holds code for several; by default the one that makes most of this machine,
    /// which is the one that needs most of its features.
    pub target: Option<String>,
    /// Reads an artifact's file into memory instead of mapping it, for files that may be changed or truncated meanwhile
    /// ([`OpenOptions::copy`]).
    pub copy: bool,
}

/// A loaded model: code, weights and prepared tensors, shared by its sessions.
pub struct Model {
    weights: Vec<Memory>,
    prepared: Memory,
    prepared_at: Vec<u64>,
    device: Arc<dyn Device>,
    plan: Plan,
    /// Which of the artifact's builds runs.
    build: usize,
    artifact: Artifact,
}

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
        let build = choose(&artifact, options.target.as_deref(), &device::check)?;
        let plan = artifact.plan(build)?;
        let code = artifact.code(build)?;
        let device = Cpu::new(&plan.kernels, code, options.pool()?)?;
        Self::on_device(artifact, build, plan, Arc::new(device))
    }

    /// Loads an artifact with these functions in place of its kernels: for tests of the runtime alone.
    #[doc(hidden)]
    pub fn with_kernels(artifact: Artifact, kernels: Vec<KernelFn>, options: &LoadOptions) -> Result<Arc<Self>> {
        let build = choose(&artifact, options.target.as_deref(), &device::check)?;
        let plan = artifact.plan(build)?;
        if kernels.len() != plan.kernels.len() {
            return Err(Error::Plan {
                what: "kernels".into(),
                expected: plan.kernels.len().to_string(),
                found: kernels.len().to_string(),
            });
        }
        let device = Cpu::with_kernels(kernels, options.pool()?);
        Self::on_device(artifact, build, plan, Arc::new(device))
    }

    /// Loads one build of an artifact, on a device that holds its kernels.
    ///
    /// # Errors
    /// When the plan contradicts itself, or memory is short.
    #[doc(hidden)]
    pub fn on_device(artifact: Artifact, build: usize, plan: Plan, device: Arc<dyn Device>) -> Result<Arc<Self>> {
        check::check(&plan, &artifact.manifest().builds[build].target)?;
        let share = |w| {
            let bytes = artifact.weight(w)?;
            // SAFETY: the artifact is kept beside the weights, and its bytes do not move.
            unsafe { device.share(bytes) }
        };
        let weights = plan.weights.iter().map(share).collect::<Result<Vec<_>>>()?;
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
        let prepared = device.allocate(layout.len(), Touched::Wholly, "prepared weights")?;
        let model = Model { weights, prepared, prepared_at, device, plan, build, artifact };
        model.prepare()?;
        Ok(Arc::new(model))
    }

    /// Runs the plan's `prepare`, once.
    fn prepare(&self) -> Result<()> {
        let start = std::time::Instant::now();
        let schedule = &self.plan.prepare;
        let layout = ArenaLayout::new(schedule, &|_| None)?;
        let arena = self.device.allocate(layout.bytes, Touched::Wholly, "temporaries of `prepare`")?;
        let span = |buffer| match buffer {
            Buffer::Temporary(n) => layout.span(&arena, schedule, n),
            // The plan was checked: nothing else occurs in `prepare`.
            other => self.shared(other).unwrap_or(NOWHERE),
        };
        let results = (0..self.plan.prepared.len() as u32).map(Buffer::Prepared);
        let bound = self.device.bind(bind(&self.plan, schedule, &|_| None, &span, results)?)?;
        // Mapped pages of a weight that was packed are let go at once, so that the peak is not both forms of all weights.
        let mut release = |step: usize, _| {
            for operand in &schedule.steps[step].operands {
                if let Buffer::Weight(n) = operand {
                    self.artifact.release(&self.plan.weights[*n as usize]);
                }
            }
        };
        // SAFETY: the model and the arena live, and nobody else knows them; `bind` held the steps against their buffers.
        let result = unsafe { bound.run(None, Some(&mut release)) };
        tracing::debug!(bytes = self.prepared.len(), elapsed = ?start.elapsed(), "prepared weights");
        result
    }

    /// Where a buffer is that all sessions share.
    pub(super) fn shared(&self, buffer: Buffer) -> Option<Span> {
        match buffer {
            Buffer::Weight(n) => self.weights.get(n as usize).map(|weight| weight.span(0, weight.len())),
            Buffer::Prepared(n) => {
                let at = *self.prepared_at.get(n as usize)?;
                Some(self.prepared.span(at, self.plan.prepared.get(n as usize)?.bytes))
            }
            _ => None,
        }
    }

    pub(super) fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// The target that the code which runs was made for.
    pub fn target(&self) -> &TargetSpec {
        &self.artifact.manifest().builds[self.build].target
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
        self.device.threads()
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

    /// The threads that compute.
    fn pool(&self) -> Result<Arc<dyn Workers>> {
        match &self.workers {
            Some(workers) => Ok(workers.clone()),
            None => Ok(Arc::new(Pool::new(self.threads.unwrap_or(0))?)),
        }
    }
}

/// The build that runs: of those that the machine runs by `check`, the one that needs most features of it, and of equals the first.
fn choose(artifact: &Artifact, asked: Option<&str>, check: &dyn Fn(&TargetSpec) -> Result<()>) -> Result<usize> {
    let Manifest { builds, .. } = artifact.manifest();
    let file = || artifact.name().to_string();
    if let Some(asked) = asked {
        let known = || builds.iter().map(|b| b.target.name().to_string()).collect();
        let found = builds.iter().position(|b| b.target.name() == asked);
        let build = found.ok_or_else(|| Error::UnknownBuild { file: file(), asked: asked.into(), known: known() })?;
        return check(&builds[build].target).map(|()| build);
    }
    if builds.is_empty() {
        return Err(Error::NoBuild { file: file(), reasons: vec!["it holds no code at all".into()] });
    }
    let mut refused = vec![];
    let mut best: Option<(usize, usize)> = None;
    for (number, build) in builds.iter().enumerate() {
        match check(&build.target) {
            Err(e) => refused.push(e),
            Ok(()) => {
                let features = build.target.cpu().map_or(0, |cpu| cpu.features.len());
                if best.is_none_or(|(_, most)| features > most) {
                    best = Some((number, features));
                }
            }
        }
    }
    match (best, refused.len()) {
        (Some((build, _)), _) => Ok(build),
        (None, 1) => Err(refused.remove(0)),
        (None, _) => Err(Error::NoBuild { file: file(), reasons: refused.iter().map(Error::to_string).collect() }),
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
    pub(super) fn span(&self, arena: &Memory, schedule: &Schedule, temporary: u32) -> Span {
        let slot = schedule.temporaries[temporary as usize].slot;
        arena.span(self.slots[slot as usize], self.temporaries[temporary as usize])
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
