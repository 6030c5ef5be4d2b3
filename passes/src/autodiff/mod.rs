//! Reverse-mode differentiation: an entry with a loss becomes one that returns gradients, too.
//!
//! It runs before rewriting, on composites as they are: the rule of an op's gradient is in the row of the op ([`kiln_ir::gradient`]). A
//! function is differentiated once for all its calls that ask for the same gradients: what a called function `@block` computes is split
//! into `@block.forward`, which returns what the way back reads as well, and `@block.backward`, which takes that and the gradients of the
//! results. So thirty layers cost what one costs, here and in every later pass.

mod joint;
mod reach;
mod split;

use crate::PassError;
use joint::{Joint, joint};
use kiln_ir::{ArgKind, FuncId, Function, Module, Node, Op, compose};
use split::{Split, split};
use std::collections::HashMap;

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

/// The name of the result that is the gradient by the argument of that name.
pub fn gradient_name(argument: &str) -> String {
    format!("gradient.{argument}")
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
    let mut work = Work { module, opened: HashMap::new(), out: vec![], copies: HashMap::new(), splits: HashMap::new() };
    for (id, f) in module.entries() {
        match loss(f) {
            Some(loss) => work.entry(id, loss, options)?,
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

/// The gradients that a call asks for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    function: FuncId,
    /// The arguments whose gradients are wanted.
    wanted: Vec<bool>,
    /// The results whose gradients are given.
    given: Vec<bool>,
}

struct Work<'a> {
    module: &'a Module,
    /// Functions without composites that have no rule of their own.
    opened: HashMap<FuncId, Function>,
    /// The functions that were made, callees before callers.
    out: Vec<Function>,
    copies: HashMap<FuncId, FuncId>,
    splits: HashMap<Question, Split>,
}

impl Work<'_> {
    fn push(&mut self, f: Function) -> FuncId {
        self.out.push(f);
        FuncId(self.out.len() as u32 - 1)
    }

    /// The function as it is, whose callees have other numbers now.
    fn copy(&mut self, id: FuncId) -> FuncId {
        if let Some(copy) = self.copies.get(&id) {
            return *copy;
        }
        let f = self.module.function(id);
        let mut out = f.shell();
        for (_, node) in f.nodes() {
            match &node.op {
                Op::Arg(i) => out.add_arg(f.args[*i as usize].clone()),
                Op::Call(callee) => out.push(Node { op: Op::Call(self.copy(*callee)), ..node.clone() }),
                _ => out.push(node.clone()),
            };
        }
        out.outputs.clone_from(&f.outputs);
        let copy = self.push(out);
        self.copies.insert(id, copy);
        copy
    }

    /// The function, with composites that have no rule of their own written out.
    fn open(&mut self, id: FuncId) -> Result<Function, PassError> {
        if let Some(f) = self.opened.get(&id) {
            return Ok(f.clone());
        }
        let opened = compose::decompose_where(self.module.function(id), |node| !node.op.has_gradient())?;
        self.opened.insert(id, opened.clone());
        Ok(opened)
    }

    fn entry(&mut self, id: FuncId, loss: usize, options: &Autodiff) -> Result<(), PassError> {
        let f = self.module.function(id);
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
        let joint = joint(self, &Question { function: id, wanted, given })?;
        let mut f = joint.function.without_dead_nodes();
        f.entry = true;
        self.push(f);
        Ok(())
    }

    /// The two functions of a call that asks this, made if they are not there yet.
    fn split(&mut self, question: &Question) -> Result<Split, PassError> {
        if let Some(split) = self.splits.get(question) {
            return Ok(split.clone());
        }
        let joint: Joint = joint(self, question)?;
        let made = split(self, question, &joint)?;
        self.splits.insert(question.clone(), made.clone());
        Ok(made)
    }
}
