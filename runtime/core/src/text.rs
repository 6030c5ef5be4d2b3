//! A plan as text, for people and tests: what is prepared, and the steps of each entry's variants.
//!
//! ```text
//! prepare
//!   pack (f32[10, 12] as f32): weight "a" -> prepared 0
//! entry @f
//!   s in 1..=8
//!     matmul ([12, 10] f32; skinny; neg): input "x", prepared 0 -> output "y"
//! ```

use crate::{
    Buffer, DType, ElementOp, Inst, KernelSpec, Onto, Phase, Plan, Program, RightSide, Schedule, Signature, Size,
};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prepare.steps.is_empty() {
            writeln!(f, "prepare")?;
            self.steps(None, &self.prepare, "  ", f)?;
        }
        for s in &self.signatures {
            writeln!(f, "entry @{}", s.name)?;
            for v in &s.variants {
                writeln!(f, "  {}", v.range())?;
                self.steps(Some(s), &v.schedule, "    ", f)?;
            }
        }
        Ok(())
    }
}

impl Plan {
    fn steps(
        &self,
        signature: Option<&Signature>,
        schedule: &Schedule,
        indent: &str,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        for step in &schedule.steps {
            let Some(kernel) = self.kernels.get(step.kernel as usize) else { continue };
            let (read, written) = step.operands.split_at(kernel.spec.reads().len().min(step.operands.len()));
            let list =
                |buffers: &[Buffer]| buffers.iter().map(|b| self.buffer(signature, *b)).collect::<Vec<_>>().join(", ");
            let read = if read.is_empty() { String::new() } else { format!(": {}", list(read)) };
            writeln!(f, "{indent}{}{read} -> {}", kernel.spec, list(written))?;
        }
        Ok(())
    }

    fn buffer(&self, signature: Option<&Signature>, buffer: Buffer) -> String {
        let named = |kind: &str, n: u32, name: Option<&str>| match name {
            Some(name) => format!("{kind} {name:?}"),
            None => format!("{kind} {n}"),
        };
        match buffer {
            Buffer::Weight(n) => named("weight", n, self.weights.get(n as usize).map(|w| &*w.name)),
            Buffer::State(n) => named("state", n, self.states.get(n as usize).map(|s| &*s.name)),
            Buffer::Input(n) => named("input", n, signature.and_then(|s| s.inputs.get(n as usize)).map(|i| &*i.name)),
            Buffer::Output(n) => {
                named("output", n, signature.and_then(|s| s.outputs.get(n as usize)).map(|o| &*o.name))
            }
            Buffer::Prepared(n) => format!("prepared {n}"),
            Buffer::Temporary(n) => format!("temporary {n}"),
        }
    }
}

/// The template, and what tells one use of it from another, on one line.
impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = |flags: &[(bool, &str)]| {
            flags.iter().filter(|(holds, _)| *holds).map(|(_, name)| name.to_string()).collect::<Vec<_>>()
        };
        let parts = match self {
            KernelSpec::Map(s) => vec![instructions(&s.program)],
            KernelSpec::Row(s) => {
                let phase = |p: &Phase| match p {
                    Phase::Reduce { op, program, .. } => format!("{op} of {}", instructions(program)),
                    Phase::Scalar { program, .. } => format!("once {}", instructions(program)),
                    Phase::Map { program, .. } => instructions(program),
                    Phase::Scan { op, program, onto: Onto::Before, .. } => {
                        format!("running {op} of {}", instructions(program))
                    }
                    Phase::Scan { op, program, onto: Onto::Stored, .. } => {
                        format!("{op} of {} and what is stored", instructions(program))
                    }
                };
                s.phases.iter().map(phase).collect()
            }
            KernelSpec::MatMul(s) => {
                let mut parts = vec![format!("[{}, {}] {}", size(s.k), s.n, s.rhs.storage())];
                if s.lhs != DType::F32.into() {
                    parts.push(format!("of {}", s.lhs));
                }
                parts.extend(flags(&[
                    (matches!(s.rhs, RightSide::Columns(_)), "as it lies"),
                    (s.skinny, "skinny"),
                    (s.rms_norm.is_some(), "of normed rows"),
                    (s.parts > 1, "halves meet"),
                ]));
                parts.push(instructions(&s.program));
                parts
            }
            KernelSpec::Pack(s) => {
                let mut parts = vec![format!("{}[{}, {}] as {}", s.storage, s.n, size(s.k), s.packed)];
                if s.n != s.n_total {
                    parts.push(format!("columns {}.. of {}", s.column_offset, s.n_total));
                }
                parts.extend(flags(&[
                    (s.transposed, "transposed"),
                    (s.column_scale, "depth scaled"),
                    (s.row_scale, "columns scaled"),
                    (s.parts > 1, "halves meet"),
                ]));
                parts
            }
            KernelSpec::Dot(s) => flags(&[(!s.batch.is_empty(), "batched")]),
            KernelSpec::Attention(s) => flags(&[
                (s.causal, "causal"),
                (s.window.is_some(), "window"),
                (s.slots.is_some(), "cached"),
                (s.mask.is_some(), "masked"),
            ]),
        };
        f.write_str(self.template())?;
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join("; ")) }
    }
}

/// A constant, or `?` for what a launch says.
fn size(size: Size) -> String {
    match size {
        Size::Const(n) => n.to_string(),
        Size::Arg(_) => "?".into(),
    }
}

/// The ops of a program, loads and constants aside: `add mul rsqrt`.
fn instructions(program: &Program) -> String {
    let name = |i: &Inst| {
        Some(match i.op {
            ElementOp::Unary(op, _) => op.name().to_string(),
            ElementOp::Binary(op, ..) => op.name().to_string(),
            ElementOp::Compare(op, ..) => op.name().to_string(),
            ElementOp::Select(..) => "select".into(),
            ElementOp::Cast(_) => i.dtype.to_string(),
            _ => return None,
        })
    };
    let names: Vec<String> = program.insts.iter().filter_map(name).collect();
    if names.is_empty() { "copy".into() } else { names.join(" ") }
}
