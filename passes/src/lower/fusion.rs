//! What fusion made of an entry, for people: which nodes are computed by which kernels.

use super::Lowering;
use super::shared::Shared;
use crate::{PassError, Pipeline, variants};
use kiln_core::{Dim, TargetSpec};
use kiln_ir::{Function, Module, NodeId, Op};
use std::collections::BTreeSet;

/// An entry at given sizes, as it is fused.
#[derive(Clone, Debug)]
pub struct Fusion {
    /// What is lowered: the entry, inlined and specialised to the variant that these sizes take.
    pub function: Function,
    /// Its kernels, in the order in which they run.
    pub groups: Vec<FusedGroup>,
    /// For each node, whether `prepare` computes it, once.
    pub is_static: Vec<bool>,
}

/// The nodes that are computed together.
#[derive(Clone, Debug)]
pub struct FusedGroup {
    /// The node whose value is stored.
    pub stored: NodeId,
    /// All of them, in order. What is cheap to compute may be in several groups.
    pub nodes: Vec<NodeId>,
    /// What runs; mostly it is one step.
    pub steps: Vec<FusedStep>,
}

/// A step of a group.
#[derive(Clone, Debug)]
pub struct FusedStep {
    /// What it is, for people.
    pub label: String,
    /// The template of its kernel.
    pub template: &'static str,
    /// Floating-point operations.
    pub flops: Dim,
    /// Bytes read and written.
    pub bytes: Dim,
    /// Whether it reads weights or states.
    pub streams: bool,
    /// How its work is shared out.
    pub launch: kiln_core::Launch,
}

/// How an entry is fused at these sizes.
///
/// # Errors
/// As [`compile`](crate::compile); an entry that the module has not.
pub fn fusion(module: &Module, target: &TargetSpec, entry: &str, sizes: &[(String, i64)]) -> Result<Fusion, PassError> {
    let flat = Pipeline::flattening().run(module.with_entry(entry), target)?.module;
    let Some(flat) = flat.functions.first() else {
        let known = module.functions.iter().map(|f| f.name.to_string()).collect();
        return Err(PassError::NoEntry { name: entry.into(), known });
    };
    let size = |s: &str| sizes.iter().find(|(n, _)| n == s).map(|(_, v)| *v);
    let holds = |r: &variants::VariantRange| kiln_core::hold(&r.guards, &size).unwrap_or(false);
    let mut ranges = variants::ranges(module, flat);
    let at = ranges.iter().position(holds).unwrap_or(ranges.len() - 1);
    let range = ranges.swap_remove(at);
    let (function, info) = variants::variant(flat, &range)?;
    let mut shared = Shared::new(target, &module.symbols);
    let mut lowering = Lowering::new(&mut shared, &function, flat, &info, &range)?;
    lowering.nodes()?;
    let is_static: Vec<bool> = lowering.statics.iter().map(Option::is_some).collect();
    let (origins, steps) = (std::mem::take(&mut lowering.origins), std::mem::take(&mut lowering.steps.steps));
    let stored: BTreeSet<NodeId> = origins.iter().copied().collect();
    let mut groups: Vec<FusedGroup> = vec![];
    for (origin, step) in origins.iter().zip(steps) {
        let step = FusedStep {
            label: step.label.to_string(),
            template: shared.plan.kernels[step.kernel as usize].spec.template(),
            streams: step.streams(),
            flops: step.flops,
            bytes: step.bytes,
            launch: step.launch,
        };
        match groups.iter_mut().find(|g| g.stored == *origin) {
            Some(group) => group.steps.push(step),
            None => {
                let nodes = fused_into(&function, *origin, &stored, &is_static);
                groups.push(FusedGroup { stored: *origin, nodes, steps: vec![step] });
            }
        }
    }
    Ok(Fusion { function, groups, is_static })
}

/// A node, and those it needs that are stored nowhere.
fn fused_into(f: &Function, node: NodeId, stored: &BTreeSet<NodeId>, is_static: &[bool]) -> Vec<NodeId> {
    let elsewhere = |n: NodeId| stored.contains(&n) || is_static[n.index()] || matches!(f.node(n).op, Op::Arg(_));
    f.needs_within([node], |n| !elsewhere(n)).into_iter().collect()
}
