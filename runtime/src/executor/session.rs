//! One conversation with a model: its states, its temporaries, its calls.

use super::bound::{Bound, Place, Scratch, Sizes, lookup};
use super::model::Model;
use super::outputs::{Outputs, StepTime};
use crate::device::{Memory, Span, Touched};
use crate::memory::{Layout, tensor_bytes, unsized_buffer};
use crate::tensor::TensorView;
use crate::{Error, Result};
use kiln_core::{BoundRange, Buffer, DefaultFill, Dim, InputSpec};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bound variants that a session keeps; the one that ran longest ago makes room.
const KEPT: usize = 16;
const STATE: &str = "the session's state";

/// How to make a session.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Sizes that stay fixed for the session, by symbol: those of the states' shapes, such as cache rows and context. What is not
    /// given here is its upper bound; a state's memory is taken only as it is written.
    pub sizes: Vec<(String, i64)>,
}

/// A model's states and temporaries for one caller at a time. Sessions of one model are independent; a session may move between
/// threads.
pub struct Session {
    pub(super) model: Arc<Model>,
    fixed: Box<Sizes>,
    states: Memory,
    state_at: Vec<Span>,
    state_places: Vec<StatePlace>,
    pub(super) scratch: Scratch,
    pub(super) bound: Vec<Bound>,
    clock: u64,
    /// The sizes of the call at hand.
    sizes: Box<Sizes>,
    cancel: CancelToken,
}

// SAFETY: the addresses in a session point into regions that it or its model owns, and every use goes through `&mut self`.
unsafe impl Send for Session {}

/// Where a state lies in a session's states.
struct StatePlace {
    at: u64,
    bytes: u64,
    /// The first two sizes, 1 where there are fewer.
    rows: u64,
    entries: u64,
}

/// States as they begin.
fn fresh(model: &Model, bytes: u64, places: &[StatePlace]) -> Result<Memory> {
    let states = model.device().allocate(bytes, Touched::Lazily, STATE)?;
    for (state, place) in model.plan().states.iter().zip(places) {
        let Some(weight) = state.initial.and_then(|n| model.shared(Buffer::Weight(n))) else { continue };
        // SAFETY: the plan was checked: the weight has as many bytes as the state, and nobody else knows the new memory.
        unsafe { model.device().copy(weight, states.span(place.at, place.bytes)) };
    }
    Ok(states)
}

fn spans(states: &Memory, places: &[StatePlace]) -> Vec<Span> {
    places.iter().map(|place| states.span(place.at, place.bytes)).collect()
}

/// Cancels the calls of a session from another thread.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Makes the running call, and those after it, end with [`Error::Cancelled`] before their next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets calls run again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Session {
    /// A session with states as they begin: zero, or a parameter's weight.
    ///
    /// # Errors
    /// When a size is unknown or out of bounds, or memory is short.
    pub fn new(model: &Arc<Model>, options: &SessionOptions) -> Result<Self> {
        let plan = model.plan();
        let mut fixed: Box<Sizes> = vec![None; plan.symbols.len()].into();
        for (name, value) in &options.sizes {
            let wrong = |expected| Error::StateSize { symbol: name.clone(), expected, found: value.to_string() };
            let Some((i, (_, bounds))) = plan.symbols.iter().enumerate().find(|(_, (s, _))| ***s == **name) else {
                let known = plan.symbols.keys().map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
                return Err(wrong(format!("one of the sizes {known}")));
            };
            if !bounds.bounds().contains(*value) {
                return Err(wrong(format!("{} to {}", bounds.min, bounds.max)));
            }
            fixed[i] = Some(*value);
        }
        for dim in plan.states.iter().flat_map(|s| &s.shape) {
            dim.for_each_symbol(&mut |symbol| {
                if let Some((i, (_, bounds))) = plan.symbols.iter().enumerate().find(|(_, (s, _))| *s == symbol) {
                    fixed[i].get_or_insert(bounds.max);
                }
            });
        }
        let mut layout = Layout::default();
        let mut places = vec![];
        for state in &plan.states {
            let what = || format!("state `{}`", state.name);
            let shape = state.shape.iter().map(|d| d.eval(&lookup(model, &fixed))).collect::<Result<Vec<_>, _>>();
            let shape = shape.map_err(|e| unsized_buffer(&what(), &e))?;
            let size = |axis: usize| shape.get(axis).map_or(1, |n| n.unsigned_abs());
            let placed = tensor_bytes(state.storage, shape.iter().copied()).and_then(|bytes| {
                Some(StatePlace { at: layout.place(bytes)?, bytes, rows: size(0), entries: size(1) })
            });
            places.push(placed.ok_or_else(|| Error::Plan {
                what: what(),
                expected: "sizes that fit memory".into(),
                found: format!("{shape:?}"),
            })?);
        }
        let states = fresh(model, layout.len(), &places)?;
        Ok(Session {
            model: model.clone(),
            sizes: fixed.clone(),
            fixed,
            state_at: spans(&states, &places),
            state_places: places,
            states,
            scratch: Scratch::new(model.device())?,
            bound: vec![],
            clock: 0,
            cancel: CancelToken::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What cancels this session's calls.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// The value of a size that is fixed for the session.
    pub fn fixed_size(&self, symbol: &str) -> Option<i64> {
        lookup(&self.model, &self.fixed)(symbol)
    }

    /// The bytes of a state, by name: themselves, or a copy where they lie on a device that the program cannot reach.
    pub fn state(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let i = self.model.plan().states.iter().position(|s| s.name == name)?;
        let (span, len) = (self.state_at[i], self.state_at[i].bytes as usize);
        if self.states.is_reachable() {
            // SAFETY: the state lies within `states`, which is zeroed when made, and no call runs while the session is borrowed.
            return Some(Cow::Borrowed(unsafe { std::slice::from_raw_parts(span.at, len) }));
        }
        let mut copy = vec![0; len];
        // SAFETY: as above.
        unsafe { self.model.device().read(span, &mut copy) };
        Some(Cow::Owned(copy))
    }

    /// In every state whose name begins with `prefix`, of shape `[rows, entries, ...]`, copies the first `len` entries of row `from` to
    /// row `to`.
    ///
    /// # Errors
    /// When a state has no such rows or not so many entries; nothing is copied then.
    pub fn copy_state_rows(&mut self, prefix: &str, from: usize, to: usize, len: usize) -> Result<()> {
        let (from, to, len) = (from as u64, to as u64, len as u64);
        let states = &self.model.plan().states;
        let chosen = || states.iter().zip(&self.state_places).filter(|(state, _)| state.name.starts_with(prefix));
        if let Some((state, place)) = chosen().find(|(_, p)| from.max(to) >= p.rows || len > p.entries) {
            return Err(Error::Plan {
                what: format!("copying {len} entries of row {from} to row {to} of state `{}`", state.name),
                expected: format!("rows below {} and at most {} entries", place.rows, place.entries),
                found: "others".into(),
            });
        }
        for (_, place) in chosen() {
            let row = place.bytes / place.rows;
            let bytes = row.checked_div(place.entries).unwrap_or(0) * len;
            let at = |index: u64| self.states.span(place.at + index * row, bytes);
            // SAFETY: both rows lie within the state, as was checked, and no call runs while the session is borrowed.
            unsafe { self.model.device().copy(at(from), at(to)) };
        }
        Ok(())
    }

    /// Overwrites a state, or a parameter that may change, by name.
    ///
    /// # Errors
    /// When there is none of that name, or the tensor is not of its type and shape.
    pub fn set_state(&mut self, name: &str, value: &TensorView<'_>) -> Result<()> {
        let plan = self.model.plan();
        let known = || plan.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        let wrong = |expected: String, found: String| Error::State { name: name.into(), expected, found };
        let Some(i) = plan.states.iter().position(|s| s.name == name) else {
            return Err(wrong(format!("one of the states {}", known()), "none of that name".into()));
        };
        let (state, place) = (&plan.states[i], &self.state_places[i]);
        value.check().map_err(|found| wrong("as many bytes as its shape has".into(), found))?;
        let shape = state.shape.iter().map(|d| d.eval(&lookup(&self.model, &self.fixed)).ok());
        let same = shape.eq(value.shape.iter().map(|n| i64::try_from(*n).ok()));
        if state.storage.dense() != Some(value.dtype) || !same {
            let dims = state.shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
            return Err(wrong(format!("{} [{dims}]", state.storage), value.describe()));
        }
        // SAFETY: the state lies within `states`, the value has as many bytes, and no call runs while the session is borrowed.
        unsafe { self.model.device().write(value.bytes, self.states.span(place.at, place.bytes)) };
        Ok(())
    }

    /// Makes every state as it began, by taking new memory for them.
    ///
    /// # Errors
    /// When memory is short; the states are as before then.
    pub fn reset(&mut self) -> Result<()> {
        self.states = fresh(&self.model, self.states.len(), &self.state_places)?;
        self.state_at = spans(&self.states, &self.state_places);
        self.bound.clear();
        Ok(())
    }

    /// Runs a signature on inputs given by name. Inputs with a default may be left out.
    ///
    /// Once a signature has run with some sizes, running it again with the same sizes allocates nothing.
    ///
    /// # Errors
    /// When the signature or an input is unknown, missing or of the wrong type or shape, when a value of an input is outside of the range
    /// that the plan gives it, when no variant was compiled for these
    /// sizes, when memory is short, or when the call was cancelled.
    pub fn call(&mut self, signature: &str, inputs: &[(&str, TensorView<'_>)]) -> Result<Outputs<'_>> {
        let bound = self.begin(signature, inputs)?;
        self.run(bound, None)?;
        Ok(self.outputs(bound))
    }

    /// As [`call`](Self::call), and tells how long each step took.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_profiled(
        &mut self,
        signature: &str,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<(Outputs<'_>, Vec<StepTime>)> {
        let bound = self.begin(signature, inputs)?;
        let mut times = vec![];
        self.run(bound, Some(&mut |_, nanoseconds| times.push(nanoseconds)))?;
        let times = self.step_times(&self.bound[bound], &times);
        Ok((self.outputs(bound), times))
    }

    /// What the bound variant of that number left.
    fn outputs(&mut self, bound: usize) -> Outputs<'_> {
        let bound = &self.bound[bound];
        let specs = &self.model.plan().signatures[bound.signature].outputs;
        Outputs { specs, places: &bound.outputs, io: &self.scratch.io }
    }

    fn step_times(&self, bound: &Bound, nanoseconds: &[u64]) -> Vec<StepTime> {
        let plan = self.model.plan();
        let size = lookup(&self.model, &bound.sizes);
        let steps = &plan.signatures[bound.signature].variants[bound.variant].schedule.steps;
        let times = steps.iter().zip(nanoseconds).map(|(step, nanoseconds)| StepTime {
            label: step.label.clone(),
            kernel: plan.kernels[step.kernel as usize].symbol.clone(),
            nanoseconds: *nanoseconds,
            flops: step.flops.eval(&size).unwrap_or(0),
            bytes: step.bytes.eval(&size).unwrap_or(0),
            streams: step.streams(),
            width: step.launch.width().eval(&size).unwrap_or(1),
        });
        times.collect()
    }

    /// Checks the inputs, binds sizes, and copies the inputs to where the steps read them. Gives the number of the bound variant.
    fn begin(&mut self, name: &str, passed: &[(&str, TensorView<'_>)]) -> Result<usize> {
        let model = self.model.clone();
        let plan = model.plan();
        let Some(signature) = plan.signatures.iter().position(|s| s.name == name) else {
            let known = plan.signatures.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownSignature { name: name.into(), known });
        };
        let specs = &plan.signatures[signature].inputs;
        let wrong = |input: &str, expected: String, found: String| Error::Input {
            signature: name.into(),
            input: input.into(),
            expected,
            found,
        };
        for (i, (input, _)) in passed.iter().enumerate() {
            if !specs.iter().any(|s| s.name == *input) {
                let known = specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(wrong(input, format!("one of the inputs {known}"), "a name that is none of them".into()));
            }
            if passed[..i].iter().any(|(other, _)| other == input) {
                return Err(wrong(input, "it once".into(), "it twice".into()));
            }
        }
        self.sizes.copy_from_slice(&self.fixed);
        for spec in specs {
            match passed.iter().find(|(n, _)| *n == spec.name) {
                Some((_, view)) => self
                    .bind_sizes(&model, spec, view)
                    .map_err(|found| wrong(&spec.name, expectation(&model, spec, &self.sizes), found))?,
                None if spec.default.is_some() => {}
                None => return Err(wrong(&spec.name, expectation(&model, spec, &self.sizes), "nothing".into())),
            }
        }
        self.check_shapes(&model, specs, passed)
            .map_err(|(spec, found)| wrong(&spec.name, expectation(&model, spec, &self.sizes), found))?;
        let bound = self.bound_for(&model, signature)?;
        for (i, spec) in specs.iter().enumerate() {
            let bound = &self.bound[bound];
            let place = &bound.inputs[i];
            let at = self.scratch.io.at(place.at, place.bytes);
            // SAFETY: the place lies within `io`, which nobody reads or writes while the session is borrowed by a call.
            let target = unsafe { std::slice::from_raw_parts_mut(at, place.bytes as usize) };
            let view = passed.iter().find(|(n, _)| *n == spec.name).map(|(_, v)| v);
            match view {
                Some(view) => target.copy_from_slice(view.bytes),
                None => fill(spec, place.shape.last().copied(), target)
                    .map_err(|found| wrong(&spec.name, expectation(&model, spec, &self.sizes), found))?,
            }
            check_values(spec, place, bound.ranges[i].as_ref(), target, view.is_none())
                .map_err(|(expected, found)| wrong(&spec.name, expected, found))?;
            // SAFETY: nobody writes the place while the session is borrowed by a call.
            unsafe { self.scratch.io.push(model.device(), place.at, place.bytes) };
        }
        Ok(bound)
    }

    /// Binds the symbols of an input's shape by the shape passed; gives what was found if it cannot fit.
    fn bind_sizes(&mut self, model: &Model, spec: &InputSpec, view: &TensorView<'_>) -> Result<(), String> {
        view.check()?;
        if spec.storage.dense() != Some(view.dtype) || spec.shape.len() != view.shape.len() {
            return Err(view.describe());
        }
        for (dim, size) in spec.shape.iter().zip(view.shape) {
            let Some(symbol) = dim.as_symbol() else { continue };
            let found = model.plan().symbols.iter().enumerate().find(|(_, (s, _))| *s == symbol);
            if let Some((i, (_, bounds))) = found {
                let size = i64::try_from(*size).map_err(|_| view.describe())?;
                if !bounds.bounds().contains(size) || *self.sizes[i].get_or_insert(size) != size {
                    return Err(view.describe());
                }
            }
        }
        Ok(())
    }

    /// Compares all shapes, now that the symbols have their values; gives the first input that does not fit, and what was found.
    fn check_shapes<'p>(
        &self,
        model: &Model,
        specs: &'p [InputSpec],
        passed: &[(&str, TensorView<'_>)],
    ) -> Result<(), (&'p InputSpec, String)> {
        let size = lookup(model, &self.sizes);
        for spec in specs {
            let view = passed.iter().find(|(n, _)| *n == spec.name).map(|(_, v)| v);
            for (i, dim) in spec.shape.iter().enumerate() {
                let value = dim.eval(&size).ok();
                match view {
                    Some(view) if value.is_some() && i64::try_from(view.shape[i]).ok() == value => {}
                    Some(view) => return Err((spec, view.describe())),
                    None if value.is_some() => {}
                    None => return Err((spec, "nothing, though no other input gives its size".into())),
                }
            }
        }
        Ok(())
    }

    /// The bound variant for `self.sizes`, made if this is their first call.
    fn bound_for(&mut self, model: &Model, signature: usize) -> Result<usize> {
        self.clock += 1;
        let known = self.bound.iter().position(|b| b.signature == signature && b.sizes == self.sizes);
        let at = match known {
            Some(at) => at,
            None => {
                let bound = Bound::new(model, signature, &self.sizes, &self.state_at, &mut self.scratch);
                // Growth, even if what followed it failed, moved what the others point to.
                let (bound, grew) = bound.inspect_err(|_| self.bound.clear())?;
                if grew {
                    self.bound.clear();
                }
                if self.bound.len() == KEPT {
                    let oldest = self.bound.iter().enumerate().min_by_key(|(_, b)| b.used).map_or(0, |(i, _)| i);
                    self.bound.swap_remove(oldest);
                }
                self.bound.push(bound);
                self.bound.len() - 1
            }
        };
        self.bound[at].used = self.clock;
        Ok(at)
    }

    fn run(&mut self, bound: usize, after: Option<&mut dyn FnMut(usize, u64)>) -> Result<()> {
        let bound = &self.bound[bound];
        // SAFETY: the session and its model own the memory, and nobody else uses it while the session is borrowed by a call; `bind` held
        // the steps against their buffers.
        unsafe { bound.launches.run(Some(&self.cancel.0), after)? };
        for place in &bound.outputs {
            // SAFETY: as above.
            unsafe { self.scratch.io.fetch(self.model.device(), place.at, place.bytes) };
        }
        Ok(())
    }
}

/// Holds the values of an input that address something against its range; gives what was expected and what was found.
fn check_values(
    spec: &InputSpec,
    place: &Place,
    bound: Option<&BoundRange>,
    bytes: &[u8],
    left_out: bool,
) -> Result<(), (String, String)> {
    let (Some(range), Some(bound), Some(dtype)) = (&spec.range, bound, spec.storage.dense()) else { return Ok(()) };
    match bound.refuses(dtype, bytes) {
        None => Ok(()),
        Some(refused) => {
            let filled = if left_out { ", which stands in for what was not passed" } else { "" };
            Err((range.expected(bound), format!("{}{filled}", refused.found(&place.shape))))
        }
    }
}

/// `i64 [b, s] with b in 1..=8 and s = 3`.
fn expectation(model: &Model, spec: &InputSpec, sizes: &Sizes) -> String {
    let dims = spec.shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
    let mut symbols = vec![];
    for dim in &spec.shape {
        dim.for_each_symbol(&mut |s| {
            if !symbols.contains(s) {
                symbols.push(s.clone());
            }
        });
    }
    let known = model.plan().symbols.iter().zip(sizes).filter(|((s, _), _)| symbols.contains(s));
    let known: Vec<_> = known
        .map(|((s, bounds), value)| match value {
            Some(value) => format!("{s} = {value}"),
            None => format!("{s} in {}..={}", bounds.min, bounds.max),
        })
        .collect();
    let with = if known.is_empty() { "" } else { " with " };
    format!("{} [{dims}]{with}{}", spec.storage, known.join(" and "))
}

/// Fills an input that was not passed.
fn fill(spec: &InputSpec, last: Option<usize>, target: &mut [u8]) -> Result<(), String> {
    let last = last.unwrap_or(1).max(1);
    let value = match spec.default {
        Some(DefaultFill::Zeros) | None => {
            target.fill(0);
            return Ok(());
        }
        Some(DefaultFill::Ones) => |_: usize, _: usize| 1,
        Some(DefaultFill::Iota) => |i: usize, last: usize| i % last,
    };
    let dtype = spec.storage.dense().ok_or("no default for block storage")?;
    for (i, element) in target.chunks_exact_mut(dtype.size()).enumerate() {
        element.copy_from_slice(&dtype.bits(value(i, last) as f64).to_le_bytes()[..dtype.size()]);
    }
    Ok(())
}
