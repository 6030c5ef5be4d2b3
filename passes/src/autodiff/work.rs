//! What is known while a program is differentiated: the functions that were made so far.

use kiln_ir::{FuncId, Function, Module, Node, Op};
use std::collections::HashMap;

/// The name of the result that is the gradient by the argument of that name.
pub fn gradient_name(argument: &str) -> String {
    format!("gradient.{argument}")
}

/// The gradients that a call asks for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub function: FuncId,
    /// The arguments whose gradients are wanted.
    pub wanted: Vec<bool>,
    /// The results whose gradients are given.
    pub given: Vec<bool>,
}

pub(super) struct Work<'a> {
    pub module: &'a Module,
    /// The functions that were made, callees before callers.
    pub out: Vec<Function>,
    copies: HashMap<FuncId, FuncId>,
    pub splits: HashMap<Question, Split>,
}

impl<'a> Work<'a> {
    pub fn new(module: &'a Module) -> Self {
        Work { module, out: vec![], copies: HashMap::new(), splits: HashMap::new() }
    }

    pub fn push(&mut self, f: Function) -> FuncId {
        self.out.push(f);
        FuncId(self.out.len() as u32 - 1)
    }

    /// The function as it is, whose callees have other numbers now.
    pub fn copy(&mut self, id: FuncId) -> FuncId {
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

    /// Pushes a function under its name, or, where another question about the same function took that, with a number behind it.
    pub fn push_named(&mut self, mut f: Function) -> FuncId {
        let mut name = f.name.clone();
        let mut count = 2;
        while self.out.iter().chain(&self.module.functions).any(|other| other.name == name) {
            name = format!("{}.{count}", f.name).into();
            count += 1;
        }
        f.name = name;
        self.push(f)
    }
}

/// The two functions that a call becomes.
#[derive(Clone)]
pub(super) struct Split {
    /// Takes the function's arguments. Returns its results, and then what is saved for the way back.
    pub forward: FuncId,
    /// Takes some of the function's arguments, what was saved, and the gradients of the results that are given.
    pub backward: FuncId,
    /// Those arguments, by number.
    pub arguments: Vec<usize>,
    /// How many values are saved.
    pub saved: usize,
    /// For each argument of the function, the result of `backward` that is its gradient.
    pub gradients: Vec<Option<usize>>,
}
