//! Pictures of blocks: as they were written beside as they became, each kernel a box of the ops that it computes.
//!
//! A box is as warm as its kernel is slow, by the target's roofline. SVG is for documents; HTML is one page without anything from elsewhere, to zoom into,
//! that tells of each op under the pointer.

mod layout;
mod page;
mod picture;
mod svg;

pub use picture::{KernelBox, OpLabel, Panel, Picture};

use crate::Result;
use kiln_core::{Dim, TargetSpec};
use kiln_ir::{ArgKind, Function, Module, NodeId, Op};
use kiln_passes::egraph::{self, Point};
use kiln_passes::{Fusion, PassError, fusion};
use picture::kilobytes;
use std::collections::BTreeMap;

/// The pictures of these functions of a module, at sizes, rewritten for a target by these options.
///
/// # Errors
/// What the passes cannot do.
pub fn pictures(
    module: &Module,
    functions: &[&Function],
    point: &Point,
    target: &TargetSpec,
    options: &egraph::Options,
) -> Result<Vec<Picture>> {
    let sizes = point.sizes();
    let mut out = vec![];
    for f in functions {
        let Some((id, _)) = module.find(&f.name) else { continue };
        let mut alone = module.clone();
        alone.functions[id.index()].entry = true;
        let (after, _) = egraph::optimize(&alone, target, options)?;
        let panel = |title, module: &Module| -> std::result::Result<Panel, PassError> {
            Ok(panel(title, &fusion(module, target, &f.name, &sizes)?, &sizes, target))
        };
        let panels = [panel("as written", &alone)?, panel("rewritten", &after)?];
        out.push(Picture { block: f.name.to_string(), panels });
    }
    Ok(out)
}

/// The functions that call no other, which is where the work is; of a module without such, all.
pub fn blocks(module: &Module) -> Vec<&Function> {
    let calls = |f: &Function| f.nodes().any(|(_, n)| matches!(n.op, Op::Call(_)));
    module.functions.iter().filter(|f| !calls(f)).collect()
}

/// The pictures as one SVG image.
pub fn to_svg(pictures: &[Picture], target: &TargetSpec) -> String {
    svg::image(pictures, target)
}

/// The pictures as one HTML page.
pub fn to_html(pictures: &[Picture], target: &TargetSpec) -> String {
    page::page(pictures, target)
}

fn panel(title: &'static str, fused: &Fusion, sizes: &[(String, i64)], target: &TargetSpec) -> Panel {
    let value = |d: &Dim| d.eval(&|s| sizes.iter().find(|(n, _)| n == s).map(|(_, v)| *v)).unwrap_or(0) as f64;
    let mut out = Panel { title, boxes: vec![], edges: vec![], steps: 0, bytes: 0.0, seconds: 0.0 };
    // The box that holds a value that others read.
    let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
    let (f, rates) = (&fused.function, target.rates());
    for group in &fused.groups {
        let mut kernel = KernelBox::default();
        let mut places: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut reads = vec![];
        for node in &group.nodes {
            for o in &f.node(*node).operands {
                let is_arg = matches!(f.node(*o).op, Op::Arg(_));
                if fused.is_static[o.index()] && !places.contains_key(o) {
                    places.insert(*o, kernel.ops.len());
                    kernel.ops.push(weight(f, *o));
                } else if !fused.is_static[o.index()] && !group.nodes.contains(o) {
                    if is_arg && !held.contains_key(o) {
                        held.insert(*o, out.boxes.len());
                        out.boxes.push(KernelBox { ops: vec![label(f, *o, true)], ..KernelBox::default() });
                    }
                    reads.extend(held.get(o).copied());
                }
            }
            places.insert(*node, kernel.ops.len());
            kernel.ops.push(label(f, *node, false));
        }
        for node in &group.nodes {
            for o in &f.node(*node).operands {
                if let (Some(from), Some(to)) = (places.get(o), places.get(node)) {
                    kernel.edges.push((*from, *to));
                }
            }
        }
        for step in &group.steps {
            let (flops, bytes, width) = (value(&step.flops), value(&step.bytes), value(step.launch.width()));
            let cores = rates.cores.min(width.max(1.0) as usize);
            let seconds = rates.launch_seconds + rates.roofline(flops, bytes, step.streams, cores);
            kernel.bytes += bytes;
            kernel.seconds += seconds;
            kernel.details.push(format!(
                "{}: {}, {:.0} kFLOP, {}",
                step.template,
                step.label,
                flops * 1e-3,
                kilobytes(bytes)
            ));
        }
        let templates: Vec<&str> = group.steps.iter().map(|s| s.template).collect();
        kernel.title = templates.join(" + ");
        out.steps += group.steps.len();
        out.bytes += kernel.bytes;
        out.seconds += kernel.seconds;
        kernel.edges.sort_unstable();
        kernel.edges.dedup();
        reads.sort_unstable();
        reads.dedup();
        let number = out.boxes.len();
        out.edges.extend(reads.into_iter().map(|r| (r, number)));
        out.boxes.push(kernel);
        held.insert(group.stored, number);
    }
    out
}

fn label(f: &Function, id: NodeId, leaf: bool) -> OpLabel {
    let node = f.node(id);
    let ty = node.ty.to_string();
    let operands: Vec<String> = node.operands.iter().map(|o| o.to_string()).collect();
    let (name, tooltip) = match node.op {
        Op::Arg(i) => {
            let arg = &f.args[i as usize];
            let kind = match arg.kind {
                ArgKind::Input => "input",
                ArgKind::Param { .. } => "parameter",
                ArgKind::State => "state",
            };
            (short(&arg.name), format!("{kind} {}: {ty}", arg.name))
        }
        _ => (node.op.name().to_string(), format!("{id}: {ty} = {} {}", node.op, operands.join(", "))),
    };
    OpLabel { name, detail: ty, tooltip, leaf }
}

/// What `prepare` makes: a constant by its value, anything else by the parameters that go into it.
fn weight(f: &Function, id: NodeId) -> OpLabel {
    let (mut names, mut constant) = (vec![], None);
    for n in f.needs([id]) {
        match &f.node(n).op {
            Op::Arg(i) => names.push(f.args[*i as usize].name.to_string()),
            Op::Constant(l) => constant = constant.or(l.splat()),
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    let node = f.node(id);
    let name = match (names.as_slice(), constant) {
        ([], Some(value)) => value.to_string(),
        ([], None) => "constant".into(),
        ([one], _) => short(one),
        ([first, .., last], _) => format!("{} .. {}", short(first), short(last)),
    };
    let made = if matches!(node.op, Op::Arg(_) | Op::Constant(_)) { "" } else { ", made once by prepare" };
    let tooltip = format!("{}: {}{made}", if names.is_empty() { name.clone() } else { names.join(", ") }, node.ty);
    OpLabel { name, detail: node.ty.to_string(), tooltip, leaf: true }
}

/// The last words of a checkpoint's name: `q_proj.weight`.
fn short(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    parts[parts.len().saturating_sub(2)..].join(".")
}
