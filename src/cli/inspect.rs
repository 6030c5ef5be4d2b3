//! `kiln inspect`: what an artifact holds.

use super::{out, outln};
use crate::{Artifact, Error, MemoryReport, OpenOptions, Result, TargetSpec};
use clap::Args;
use kiln_runtime::Section;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub struct InspectArgs {
    /// The `.kiln` file.
    artifact: PathBuf,
    /// Print the optimised IR.
    #[arg(long)]
    ir: bool,
    /// Print the steps of each signature with their costs, and the bytes of intermediates that live while each runs.
    #[arg(long)]
    schedule: bool,
    /// Which of the artifact's programs --ir, --schedule and memory speak of, by its target's name; the first by default.
    #[arg(long, value_name = "TARGET")]
    code: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let artifact = Artifact::open(&args.artifact, &OpenOptions::default())?;
    let manifest = artifact.manifest();
    let known: Vec<&str> = manifest.builds.iter().map(|b| b.target.name()).collect();
    let number = match &args.code {
        Some(name) => known.iter().position(|n| n == name).ok_or_else(|| {
            Error::Option(format!("the artifact has no code for the target `{name}`: expected {}", known.join(" or ")))
        })?,
        None => 0,
    };
    let plan = artifact.plan(number)?;
    let ir = || artifact.build_text(Section::Ir, number);
    let upper = MemoryReport::of(&plan, &[])?;
    let sections: Vec<Value> = artifact.sections().iter().map(|s| json!({ "name": s.name, "bytes": s.size })).collect();
    if args.json {
        let mut all = json!({ "manifest": manifest, "sections": sections, "memory_at_upper_bounds": upper });
        if args.ir {
            all["ir"] = ir()?.into();
        }
        if args.schedule {
            all["plan"] = json!(plan);
            let live = |v: &kiln_core::Variant| v.schedule.live_bytes();
            let live = plan.signatures.iter().map(|s| s.variants.iter().map(live).collect::<Vec<_>>());
            all["live_bytes"] = json!(live.collect::<Vec<_>>());
        }
        outln!("{all}")?;
        return Ok(());
    }
    if args.ir {
        out!("{}", ir()?.unwrap_or_default())?;
        return Ok(());
    }
    outln!("kiln {}, model {}", manifest.kiln, manifest.model.id)?;
    for build in &manifest.builds {
        match &build.target {
            TargetSpec::Cpu(cpu) => outln!("target {}: {} ({})", cpu.name, cpu.triple, cpu.cpu)?,
            TargetSpec::Cuda(cuda) => outln!("target {}: CUDA, sm_{}", cuda.name, cuda.capability)?,
        }
    }
    for s in artifact.sections() {
        outln!("  {:<18} {:>12} bytes", s.name, s.size)?;
    }
    let m = manifest.builds.get(number).map(|b| b.memory).unwrap_or_default();
    outln!("memory of one sequence: prepared {}, state {}, arena {}, io {} bytes", m.prepared, m.state, m.arena, m.io)?;
    outln!(
        "at upper bounds:        prepared {}, state {}, arena {}, io {} bytes",
        upper.prepared,
        upper.state,
        upper.arena,
        upper.io
    )?;
    for s in &plan.signatures {
        let dims = |shape: &[kiln_core::Dim]| shape.iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", ");
        outln!("signature {}", s.name)?;
        for i in &s.inputs {
            outln!("  in  {}: {}[{}]", i.name, i.storage, dims(&i.shape))?;
        }
        for o in &s.outputs {
            outln!("  out {}: {}[{}]", o.name, o.storage, dims(&o.shape))?;
        }
        for v in &s.variants {
            outln!("  variant [{}]: {} steps", v.range(), v.schedule.steps.len())?;
            if args.schedule {
                for (step, live) in v.schedule.steps.iter().zip(v.schedule.live_bytes()) {
                    let kernel = &plan.kernels[step.kernel as usize];
                    outln!(
                        "    {:<24} {:<56} flops {}, bytes {}, live {live}, {}",
                        kernel.symbol,
                        step.label,
                        step.flops,
                        step.bytes,
                        step.launch
                    )?;
                }
            }
        }
    }
    Ok(())
}
