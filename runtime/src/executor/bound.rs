//! A variant bound to sizes and addresses.

use super::bind::bind;
use super::model::{ArenaLayout, Model};
use crate::device::{self, Device, Memory, NOWHERE, Span, Staging, Touched};
use crate::memory::{Layout, tensor_bytes, unsized_buffer};
use crate::{Error, Result};
use kiln_core::{BoundRange, Buffer, Dim, Signature, Storage, Variant};

/// Sizes by symbol, in the order of the plan's symbols; `None` where a call leaves one open.
pub(super) type Sizes = [Option<i64>];

const TEMPORARIES: &str = "temporaries";
const IO: &str = "inputs and outputs";

/// The value of a symbol.
pub(super) fn lookup<'a>(model: &'a Model, sizes: &'a Sizes) -> impl Fn(&str) -> Option<i64> + 'a {
    move |name| model.plan().symbols.keys().position(|s| **s == *name).and_then(|i| sizes[i])
}

/// A part of the input and output region.
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) shape: Vec<usize>,
}

/// All that a call with these sizes needs.
pub(super) struct Bound {
    pub(super) signature: usize,
    pub(super) sizes: Box<Sizes>,
    pub(super) variant: usize,
    pub(super) inputs: Vec<Place>,
    pub(super) outputs: Vec<Place>,
    /// The values that each input may have.
    pub(super) ranges: Vec<Option<BoundRange>>,
    pub(super) launches: Box<dyn device::Bound>,
    /// When it ran last, for eviction.
    pub(super) used: u64,
}

/// A session's memory that changes from call to call. It only grows, and what was bound to it before is then void.
pub(super) struct Scratch {
    pub(super) arena: Memory,
    pub(super) io: Staging,
}

impl Scratch {
    pub(super) fn new(device: &dyn Device) -> Result<Self> {
        Ok(Scratch { arena: device.allocate(0, Touched::Wholly, TEMPORARIES)?, io: Staging::new(device, 0, IO)? })
    }
}

impl Bound {
    /// Chooses the variant and evaluates it. The flag says whether `scratch` grew.
    pub(super) fn new(
        model: &Model,
        signature: usize,
        sizes: &Sizes,
        states: &[Span],
        scratch: &mut Scratch,
    ) -> Result<(Self, bool)> {
        let (spec, device) = (&model.plan().signatures[signature], model.device());
        let size = lookup(model, sizes);
        let (number, variant) = choose(model, spec, sizes)?;
        let mut io = Layout::default();
        let mut place = |what: &str, name: &str, storage: Storage, dims: &[Dim]| {
            let what = || format!("signature `{}`, {what} `{name}`", spec.name);
            let values = dims
                .iter()
                .map(|d| d.eval(&size))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| unsized_buffer(&what(), &e))?;
            let placed = tensor_bytes(storage, values.iter().copied()).and_then(|b| Some((b, io.place(b)?)));
            let Some((bytes, at)) = placed else {
                return Err(Error::Plan {
                    what: what(),
                    expected: "sizes that fit memory".into(),
                    found: format!("{values:?}"),
                });
            };
            Ok(Place { at, bytes, shape: values.iter().map(|v| *v as usize).collect() })
        };
        let inputs =
            spec.inputs.iter().map(|i| place("input", &i.name, i.storage, &i.shape)).collect::<Result<Vec<_>>>()?;
        let outputs =
            spec.outputs.iter().map(|o| place("output", &o.name, o.storage, &o.shape)).collect::<Result<Vec<_>>>()?;
        let ranges = spec.inputs.iter().map(|i| {
            let what = |e| unsized_buffer(&format!("signature `{}`, range of input `{}`", spec.name, i.name), &e);
            i.range.as_ref().map(|range| range.bind(&size)).transpose().map_err(what)
        });
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        let schedule = &variant.schedule;
        let layout = ArenaLayout::new(schedule, &size)?;
        let arena_bytes = layout.bytes;
        let mut grew = false;
        // The old memory goes before the new comes, so that there is never both.
        if arena_bytes > scratch.arena.len() {
            scratch.arena = device.allocate(0, Touched::Wholly, TEMPORARIES)?;
            scratch.arena = device.allocate(arena_bytes, Touched::Wholly, TEMPORARIES)?;
            grew = true;
        }
        if io.len() > scratch.io.len() {
            scratch.io = Staging::new(device, io.len(), IO)?;
            grew = true;
        }
        let passed = |place: &Place| scratch.io.span(place.at, place.bytes);
        let span = |buffer| match buffer {
            Buffer::State(n) => states[n as usize],
            Buffer::Temporary(n) => layout.span(&scratch.arena, schedule, n),
            Buffer::Input(n) => passed(&inputs[n as usize]),
            Buffer::Output(n) => passed(&outputs[n as usize]),
            // The plan was checked: the others are the model's.
            shared => model.shared(shared).unwrap_or(NOWHERE),
        };
        let results = (0..outputs.len() as u32).map(Buffer::Output);
        let launches = device.bind(bind(model.plan(), schedule, &size, &span, results)?)?;
        let bound =
            Bound { signature, sizes: sizes.into(), variant: number, inputs, outputs, ranges, launches, used: 0 };
        Ok((bound, grew))
    }
}

/// The variant for these sizes, with its number.
fn choose<'a>(model: &'a Model, signature: &'a Signature, sizes: &Sizes) -> Result<(usize, &'a Variant)> {
    let what = || format!("signature `{}`, a guard", signature.name);
    let chosen = signature.variant(&lookup(model, sizes)).map_err(|e| unsized_buffer(&what(), &e))?;
    chosen.ok_or_else(|| {
        let values = model.plan().symbols.keys().zip(sizes).filter_map(|(s, v)| Some(format!("{s} = {}", (*v)?)));
        Error::NoVariant {
            signature: signature.name.clone(),
            sizes: values.collect::<Vec<_>>().join(", "),
            ranges: signature.variants.iter().map(Variant::range).collect::<Vec<_>>().join(" or "),
        }
    })
}
