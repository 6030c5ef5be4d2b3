//! The memory plan: intermediates that do not live at the same time share a slot of the arena.
//!
//! An intermediate lives from the step that first writes it to the last step that reads it. Slots are assigned in step
//! order, best fit by size at the symbols' upper bounds; a slot is as large as the largest of its tenants for any binding, so the
//! layout holds for all sizes and needs no planning when the program runs.

use crate::PassError;
use kiln_core::{Buffer, Dim, Schedule, Step, Symbols, Temporary};

/// A schedule of these steps over intermediates of these sizes in bytes.
pub(crate) fn plan(steps: Vec<Step>, sizes: &[Dim], symbols: &Symbols) -> Result<Schedule, PassError> {
    let mut life: Vec<Option<(usize, usize)>> = vec![None; sizes.len()];
    for (i, step) in steps.iter().enumerate() {
        for b in &step.operands {
            if let Buffer::Temporary(t) = b {
                let (_, last) = life[*t as usize].get_or_insert((i, i));
                *last = i;
            }
        }
    }
    struct Slot {
        bytes: Dim,
        bound: i64,
        free_after: usize,
    }
    let mut slots: Vec<Slot> = vec![];
    let mut temporaries = vec![Temporary { slot: 0, bytes: 0.into() }; sizes.len()];
    let mut order: Vec<(usize, usize, usize)> =
        life.iter().enumerate().filter_map(|(t, l)| l.map(|(first, last)| (first, last, t))).collect();
    order.sort_unstable();
    for (first, last, t) in order {
        let bound = sizes[t].upper_bound(symbols)?;
        // Of the free slots the one that wastes least, or that grows least.
        let free = slots.iter().enumerate().filter(|(_, s)| s.free_after < first);
        let best = free.min_by_key(|(i, s)| ((s.bound - bound).abs(), *i)).map(|(i, _)| i);
        let slot = match best {
            Some(i) => i,
            None => {
                slots.push(Slot { bytes: 0.into(), bound: 0, free_after: 0 });
                slots.len() - 1
            }
        };
        let s = &mut slots[slot];
        s.bytes = s.bytes.maximum(&sizes[t]);
        s.bound = s.bound.max(bound);
        s.free_after = last;
        temporaries[t] = Temporary { slot: slot as u32, bytes: sizes[t].clone() };
    }
    Ok(Schedule { steps, slots: slots.into_iter().map(|s| s.bytes).collect(), temporaries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Launch;

    fn step(operands: &[u32]) -> Step {
        Step {
            kernel: 0,
            operands: operands.iter().map(|t| Buffer::Temporary(*t)).collect(),
            args: vec![],
            launch: Launch::Chunks(1.into()),
            label: "t".into(),
            flops: 0.into(),
            bytes: 0.into(),
        }
    }

    #[test]
    fn tenants_of_a_slot_never_live_at_once() {
        let steps = vec![step(&[0]), step(&[0, 1]), step(&[1, 2]), step(&[2, 3]), step(&[0, 3])];
        let sizes: Vec<Dim> = ["4*s", "8*s", "8*s", "16"].iter().map(|s| s.parse().expect("a size")).collect();
        let symbols = [("s".into(), (1..=64).into())].into();
        let plan = plan(steps, &sizes, &symbols).expect("plans");
        let slot = |t: usize| plan.temporaries[t].slot;
        assert_eq!(plan.slots.len(), 3);
        assert_eq!(slot(1), slot(3));
        assert!(slot(0) != slot(1) && slot(0) != slot(2) && slot(1) != slot(2) && slot(2) != slot(3));
    }
}
