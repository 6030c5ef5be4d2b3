//! Whether the steps of a schedule stay within their buffers, once the sizes are known.
//!
//! What a kernel touches follows from its spec and its arguments ([`kiln_core::reaches`]). Held against the buffers, an argument, an operand or a
//! size that is wrong is an error before anything runs. Temporaries are also read only while they are what their slot of the arena holds, and what
//! must be computed as a whole is.

use crate::device::Span;
use crate::{Error, Result};
use kiln_core::{Buffer, Plan, Reaches, Schedule, Step, Storage, reaches};
use std::collections::HashMap;
use std::rc::Rc;

/// Most chunks or blocks that a launch is cut into: beyond what any target asks for.
const MAX_PIECES: i64 = 1 << 16;
/// A buffer has no more elements than this for each byte.
const ELEMENTS_PER_BYTE: i64 = 8;
/// Counts up to this one need no buffers behind them: what is computed from sizes and constants.
const FEW: i64 = 1 << 16;

/// Follows the steps of a schedule in order.
pub(super) struct Spans<'a> {
    plan: &'a Plan,
    schedule: &'a Schedule,
    /// Launches with equal arguments are common: layers are alike.
    known: HashMap<(u32, Vec<i64>), Rc<Reaches>>,
    /// The temporary that each slot holds.
    holds: Vec<Option<u32>>,
    /// Bytes of each buffer that were written for sure.
    written: HashMap<Buffer, (u64, u64)>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(plan: &'a Plan, schedule: &'a Schedule) -> Self {
        Spans {
            plan,
            schedule,
            known: HashMap::new(),
            holds: vec![None; schedule.slots.len()],
            written: HashMap::new(),
        }
    }

    /// Checks the next step with its arguments, its chunks or blocks, and its buffers.
    pub(super) fn step(&mut self, step: &Step, args: &[i64], pieces: i64, spans: &[Span]) -> Result<()> {
        let kernel = &self.plan.kernels[step.kernel as usize];
        let wrong = |what: &str, expected: String, found: String| Error::Plan {
            what: format!("step `{}`, {what}", step.label),
            expected,
            found,
        };
        if !(1..=MAX_PIECES).contains(&pieces) {
            return Err(wrong(&step.launch.to_string(), format!("1 to {MAX_PIECES}"), pieces.to_string()));
        }
        let key = (step.kernel, args.to_vec());
        let reaches = match self.known.get(&key) {
            Some(known) => known.clone(),
            None => {
                let found = reaches(&kernel.spec, args).map_err(|found| {
                    wrong("its arguments", format!("some that kernel `{}` takes", kernel.symbol), found)
                })?;
                self.known.entry(key).or_insert(Rc::new(found)).clone()
            }
        };
        // Work is bounded by what there is to work on, and no number of an item leaves 64 bits.
        let largest = spans.iter().map(|s| s.bytes).max().unwrap_or(0);
        let most = i64::try_from(largest).unwrap_or(i64::MAX).saturating_mul(ELEMENTS_PER_BYTE).max(FEW);
        for count in [reaches.items, reaches.depth] {
            if count > most || count.checked_mul(MAX_PIECES).is_none() {
                let expected = format!("at most {most} elements to work on, as its buffers have");
                return Err(wrong("its arguments", expected, count.to_string()));
            }
        }
        let storages = kernel.spec.operands();
        for (n, ((reach, span), storage)) in reaches.operands.iter().zip(spans).zip(&storages).enumerate() {
            let Some((first, last)) = reach.elements else { continue };
            if first < 0 || storage.end_of(last).is_none_or(|end| end > span.bytes) {
                let what = format!("operand {n} ({:?})", step.operands[n]);
                let expected = format!("{storage} elements within its {} bytes", span.bytes);
                return Err(wrong(&what, expected, format!("elements {first} to {last}")));
            }
        }
        self.follow(step, &reaches, spans, &storages, kernel.spec.reads().len(), &wrong)
    }

    /// What the arena holds before and after the step.
    fn follow(
        &mut self,
        step: &Step,
        reaches: &Reaches,
        spans: &[Span],
        storages: &[Storage],
        reads: usize,
        wrong: &dyn Fn(&str, String, String) -> Error,
    ) -> Result<()> {
        let touched = |n: usize| reaches.operands[n].elements.is_some();
        for (n, buffer) in step.operands.iter().enumerate() {
            let found = |what: String| wrong(&format!("operand {n}"), "what an earlier step wrote".into(), what);
            let Buffer::Temporary(t) = *buffer else {
                let made_here = match buffer {
                    Buffer::Output(_) => true,
                    Buffer::Prepared(_) => std::ptr::eq(self.schedule, &self.plan.prepare),
                    _ => false,
                };
                if n < reads && touched(n) && made_here && !self.written.contains_key(buffer) {
                    return Err(found(format!("{buffer:?}, which none did")));
                }
                continue;
            };
            let slot = self.schedule.temporaries[t as usize].slot as usize;
            if n >= reads {
                let held = step.operands.iter().find(|other| {
                    matches!(other, Buffer::Temporary(o) if *o != t && self.schedule.temporaries[*o as usize].slot as usize == slot)
                });
                if let Some(held) = held {
                    return Err(wrong(
                        &format!("operand {n}"),
                        "a slot of its own".into(),
                        format!("that of {held:?}"),
                    ));
                }
                self.holds[slot] = Some(t);
            } else if touched(n) && self.holds[slot] != Some(t) {
                return Err(found(format!("{buffer:?}, which its slot does not hold")));
            }
        }
        for (n, buffer) in step.operands.iter().enumerate().skip(reads) {
            if matches!(buffer, Buffer::Temporary(_) | Buffer::Output(_) | Buffer::Prepared(_)) {
                let size = storages[n].dense().map_or(0, |d| d.size() as u64);
                let written = reaches.operands[n].written as u64 * size;
                self.written.entry(*buffer).or_insert((0, spans[n].bytes)).0 += written;
            }
        }
        Ok(())
    }

    /// Checks that what was written was written as a whole, and all that must be.
    pub(super) fn finish(self, must: impl Iterator<Item = (Buffer, u64)>) -> Result<()> {
        let all = must.map(|(buffer, bytes)| (buffer, (self.written.get(&buffer).map_or(0, |w| w.0), bytes)));
        for (buffer, (written, bytes)) in self.written.iter().map(|(b, w)| (*b, *w)).chain(all) {
            if written != bytes {
                return Err(Error::Plan {
                    what: format!("{buffer:?}"),
                    expected: format!("steps that write its {bytes} bytes once"),
                    found: format!("{written} bytes"),
                });
            }
        }
        Ok(())
    }
}
