//! Reverse-mode differentiation: an entry with a loss becomes one that returns gradients, too.
//!
//! It runs before rewriting, on composites as they are: the rule of an op's gradient is in the row of the op ([`kiln_ir::gradient`]). A
//! function is differentiated once for all its calls that ask for the same gradients: what a called function `@block` computes is split
//! into `@block.forward`, which returns what the way back reads as well, and `@block.backward`, which takes that and the gradients of the
//! results. So thirty layers cost what one costs, here and in every later pass.

mod joint;
mod split;
mod way;
mod work;

use crate::PassError;
use joint::{Joint, joint};
use kiln_ir::{ArgKind, FuncId, Function, Module, compose};
use way::Way;
pub use work::gradient_name;
use work::{Question, Work};

/// What is differentiated, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autodiff {
    /// The result that is differentiated, a float scalar. Entries that have no such result stay as they are.
    pub loss: String,
    /// The arguments that it is differentiated by; all parameters that may change if there are none.
    pub wrt: Vec<String>,
}

impl Default for Autodiff {
    fn default() -> Self {
        Autodiff { loss: "loss".into(), wrt: vec![] }
    }
}

/// The module whose entries with that loss return [gradients](gradient_name) after their results: one for each of the arguments that the
/// loss depends on.
///
/// # Errors
/// [`PassError::Autodiff`]: no entry has such a result, or it is no float scalar; an argument that is not there or has no float type; a
/// gradient that needs what a state held before it was written.
/// [`PassError::Unsupported`] for an op on the way that has no gradient, by name.
pub fn autodiff(module: &Module, options: &Autodiff) -> Result<Module, PassError> {
    let loss = |f: &Function| f.outputs.iter().position(|o| *o.name == *options.loss);
    if !module.entries().any(|(_, f)| loss(f).is_some()) {
        let results: Vec<String> = module
            .entries()
            .flat_map(|(_, f)| f.outputs.iter().map(move |o| format!("`{}` of @{}", o.name, f.name)))
            .collect();
        let reason = format!("no entry has a result `{}`: there are {}", options.loss, results.join(", "));
        return Err(PassError::Autodiff { reason });
    }
    let mut work = Work::new(module);
    for (id, f) in module.entries() {
        match loss(f) {
            Some(loss) => entry(&mut work, id, loss, options)?,
            None => {
                work.copy(id);
            }
        }
    }
    let out = Module { functions: work.out, symbols: module.symbols.clone() };
    kiln_ir::verify(&out).map_err(|e| {
        let reason = format!("the way back reads a state that the entry has written since: train without states ({e})");
        PassError::Autodiff { reason }
    })?;
    Ok(out)
}

fn entry(work: &mut Work<'_>, id: FuncId, loss: usize, options: &Autodiff) -> Result<(), PassError> {
    let f = work.module.function(id);
    let ty = f.tensor(f.outputs[loss].value);
    if ty.rank() > 0 || !ty.dtype().is_some_and(|d| d.is_float()) {
        let reason = format!("`{}` of @{} is {ty}: a loss is a float scalar", options.loss, f.name);
        return Err(PassError::Autodiff { reason });
    }
    let float = |i: usize| f.args[i].ty.dtype().is_some_and(|d| d.is_float());
    let mut wanted: Vec<bool> =
        (0..f.args.len()).map(|i| f.args[i].kind == ArgKind::Param { live: true } && float(i)).collect();
    if !options.wrt.is_empty() {
        wanted.fill(false);
        for name in &options.wrt {
            let Some(i) = f.args.iter().position(|a| *a.name == **name) else {
                let names: Vec<&str> = f.args.iter().map(|a| &*a.name).collect();
                let reason = format!("@{} has no argument `{name}`: it has {}", f.name, names.join(", "));
                return Err(PassError::Autodiff { reason });
            };
            if !float(i) {
                let reason = format!("`{name}` of @{} is {}: gradients are by floats", f.name, f.args[i].ty);
                return Err(PassError::Autodiff { reason });
            }
            wanted[i] = true;
        }
    }
    let given = (0..f.outputs.len()).map(|i| i == loss).collect();
    let joint = solved(work, &Question { function: id, wanted, given })?;
    let mut f = joint.function.without_dead_nodes();
    f.entry = true;
    work.push(f);
    Ok(())
}

/// The function of a question with the way back behind it, once the functions that its calls become are there.
fn solved(work: &mut Work<'_>, question: &Question) -> Result<Joint, PassError> {
    // A composite without a rule of its own has the gradient of what it stands for.
    let f = compose::decompose_where(work.module.function(question.function), |node| !node.op.has_gradient())?;
    let way = Way::of(work, &f, question);
    for (id, node) in f.nodes() {
        if let Some(call) = way.question(id, node).filter(|call| !work.splits.contains_key(call)) {
            let joint = solved(work, &call)?;
            let made = split::split(work, &call, &joint);
            work.splits.insert(call, made);
        }
    }
    joint(work, &f, &way, question)
}
