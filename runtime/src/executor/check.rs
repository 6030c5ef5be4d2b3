//! Whether a plan is consistent, once at load: afterwards every number in it can be used as an index. What depends on sizes is checked when they
//! are bound, by `spans`.

use crate::{Error, Result};
use kiln_core::{Buffer, Dim, Launch, Plan, Schedule, Signature, Storage, TargetSpec};

/// Checks every reference of a plan.
pub(super) fn check(plan: &Plan, target: &TargetSpec) -> Result<()> {
    if let Some((s, b)) = plan.symbols.iter().find(|(_, b)| b.min < 0 || b.min > b.max) {
        return Err(inconsistent(format!("size `{s}`"), "0 <= min <= max", format!("{}..={}", b.min, b.max)));
    }
    for state in &plan.states {
        let Some(number) = state.initial else { continue };
        let constant = |d: &Dim| d.as_const().and_then(|n| usize::try_from(n).ok());
        let shape: Option<Vec<usize>> = state.shape.iter().map(constant).collect();
        let weight = plan.weights.get(number as usize);
        if weight.is_none_or(|w| w.storage != state.storage || Some(&w.shape) != shape.as_ref()) {
            let found = weight.map_or(format!("weight {number} of {}", plan.weights.len()), |w| {
                format!("`{}`, {}{:?}", w.name, w.storage, w.shape)
            });
            let what = format!("state `{}`, the weight that it begins as", state.name);
            return Err(inconsistent(what, "one of its storage and shape", found));
        }
    }
    schedule(plan, target, &plan.prepare, None, "prepare")?;
    for (i, s) in plan.signatures.iter().enumerate() {
        if plan.signatures[..i].iter().any(|other| other.name == s.name) {
            return Err(inconsistent("signatures".into(), "each name once", format!("`{}` again", s.name)));
        }
        for (i, input) in s.inputs.iter().enumerate() {
            if input.storage.dense().is_none() {
                let what = format!("signature `{}`, input `{}`", s.name, input.name);
                return Err(inconsistent(what, "a dense element type", input.storage.to_string()));
            }
            if s.inputs[..i].iter().any(|other| other.name == input.name) {
                let what = format!("signature `{}`, inputs", s.name);
                return Err(inconsistent(what, "each name once", format!("`{}` again", input.name)));
            }
        }
        if let Some(output) = s.outputs.iter().find(|o| o.storage.dense().is_none()) {
            let what = format!("signature `{}`, output `{}`", s.name, output.name);
            return Err(inconsistent(what, "a dense element type", output.storage.to_string()));
        }
        for (i, variant) in s.variants.iter().enumerate() {
            schedule(plan, target, &variant.schedule, Some(s), &format!("signature `{}`, variant {i}", s.name))?;
        }
    }
    Ok(())
}

fn schedule(
    plan: &Plan,
    target: &TargetSpec,
    schedule: &Schedule,
    signature: Option<&Signature>,
    place: &str,
) -> Result<()> {
    for (i, t) in schedule.temporaries.iter().enumerate() {
        if t.slot as usize >= schedule.slots.len() {
            let expected = format!("a slot below {}", schedule.slots.len());
            return Err(inconsistent(format!("{place}, temporary {i}"), &expected, t.slot.to_string()));
        }
    }
    for (i, step) in schedule.steps.iter().enumerate() {
        let what = || format!("{place}, step {i} (`{}`)", step.label);
        let Some(kernel) = plan.kernels.get(step.kernel as usize) else {
            let expected = format!("a kernel below {}", plan.kernels.len());
            return Err(inconsistent(what(), &expected, step.kernel.to_string()));
        };
        let expected = match (&step.launch, target) {
            (Launch::Chunks(_), TargetSpec::Cpu(_)) | (Launch::Grid { .. }, TargetSpec::Cuda(_)) => None,
            (Launch::Grid { .. }, TargetSpec::Cpu(_)) => Some("chunks, for a CPU"),
            (Launch::Chunks(_), TargetSpec::Cuda(_)) => Some("a grid, for a CUDA device"),
        };
        if let Some(expected) = expected {
            return Err(inconsistent(what(), expected, step.launch.to_string()));
        }
        let (storages, reads) = (kernel.spec.operands(), kernel.spec.reads().len());
        let writes = storages.len() - reads;
        if step.operands.len() != reads + writes {
            let expected = format!("{reads} + {writes} operands of kernel `{}`", kernel.symbol);
            return Err(inconsistent(what(), &expected, step.operands.len().to_string()));
        }
        let arguments = kernel.spec.arguments();
        if step.args.len() != arguments {
            let expected = format!("{arguments} arguments of kernel `{}`", kernel.symbol);
            return Err(inconsistent(what(), &expected, step.args.len().to_string()));
        }
        for (n, operand) in step.operands.iter().enumerate() {
            let written = n >= reads;
            let (number, count, allowed) = match *operand {
                Buffer::Weight(n) => (n, plan.weights.len(), !written),
                Buffer::Prepared(n) => (n, plan.prepared.len(), !written || signature.is_none()),
                Buffer::State(n) => (n, plan.states.len(), signature.is_some()),
                Buffer::Temporary(n) => (n, schedule.temporaries.len(), true),
                Buffer::Input(n) => (n, signature.map_or(0, |s| s.inputs.len()), !written),
                Buffer::Output(n) => (n, signature.map_or(0, |s| s.outputs.len()), true),
            };
            if number as usize >= count {
                let expected = format!("a buffer that exists as operand {n} (there are {count})");
                return Err(inconsistent(what(), &expected, format!("{operand:?}")));
            }
            if let Some(storage) = stored(plan, signature, *operand).filter(|s| *s != storages[n]) {
                let expected = format!("{} as operand {n}", storages[n]);
                return Err(inconsistent(what(), &expected, format!("{operand:?}, {storage}")));
            }
            if !allowed {
                let role = if written { "may be written" } else { "may be read" };
                return Err(inconsistent(what(), &format!("a buffer that {role} here"), format!("{operand:?}")));
            }
        }
    }
    Ok(())
}

/// How a buffer that there is holds its elements, where the plan says it.
fn stored(plan: &Plan, signature: Option<&Signature>, buffer: Buffer) -> Option<Storage> {
    match buffer {
        Buffer::Weight(n) => plan.weights.get(n as usize).map(|w| w.storage),
        Buffer::State(n) => plan.states.get(n as usize).map(|s| s.storage),
        Buffer::Input(n) => signature?.inputs.get(n as usize).map(|i| i.storage),
        Buffer::Output(n) => signature?.outputs.get(n as usize).map(|o| o.storage),
        Buffer::Prepared(_) | Buffer::Temporary(_) => None,
    }
}

fn inconsistent(what: String, expected: &str, found: String) -> Error {
    Error::Plan { what, expected: expected.into(), found }
}
