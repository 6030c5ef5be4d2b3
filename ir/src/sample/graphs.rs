//! Random modules of many ops.
//!
//! A module is made from numbers, any numbers: each [`Choice`] says which op a node is, what it takes and with which attributes, among what is
//! possible at that point. So whatever makes numbers makes modules (`proptest` for tests that shrink, [`random_module`] for a seed), and
//! with choices taken away the module gets smaller and stays well-typed.

mod steps;

use super::Random;
use crate::{Arg, ArgKind, DType, FuncId, Function, Literal, Module, Node, NodeId, Op, TensorType};
use kiln_core::{BinaryOp, Dim, Symbol, Symbols};
use std::fmt;

/// What one step of a random module is made from. Smaller numbers make simpler nodes.
pub type Choice = [u16; 5];

/// A module that `Debug` shows as its text: what a failing test should print.
#[derive(Clone)]
pub struct Printed(pub Module);

impl fmt::Debug for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

/// Most elements of a value, at the symbols' upper bounds.
const MOST_ELEMENTS: i64 = 2048;

/// The module that the choices stand for, of one entry `@f` and perhaps a function that it calls twice. Floats are of type `float`; symbols are `b`
/// in 1..=3 and `s` in 1..=7. Every value that nothing uses is a result, up to four. Arguments of logarithms, roots and divisions are kept away
/// from where small errors become large ones.
pub fn module_of(choices: &[Choice], float: DType) -> Module {
    let symbols = Symbols::from([("b".into(), Symbol::batch(1..=3)), ("s".into(), Symbol::length(1..=7))]);
    let has_callee = choices.len() > 3 && choices[0][4] % 3 == 2;
    let (inner, outer) = choices.split_at(if has_callee { choices.len() / 2 } else { 0 });
    let mut functions = vec![];
    if has_callee {
        let mut callee = Graph::new("block", false, float, &symbols);
        inner.iter().for_each(|c| callee.step(*c));
        functions.push(callee.finish());
    }
    let mut entry = Graph::new("f", true, float, &symbols);
    for c in outer.iter().take(outer.len() / 2) {
        entry.step(*c);
    }
    for (i, callee) in functions.iter().enumerate() {
        entry.call(FuncId(i as u32), callee, 0);
        entry.call(FuncId(i as u32), callee, 1);
    }
    for c in outer.iter().skip(outer.len() / 2) {
        entry.step(*c);
    }
    functions.push(entry.finish());
    Module { symbols, functions }
}

/// A module of that many steps for a seed: the same on every machine.
pub fn random_module(seed: u64, steps: usize, float: DType) -> Module {
    let mut random = Random::new(seed);
    let choices: Vec<Choice> = (0..steps).map(|_| [(); 5].map(|()| random.bits() as u16)).collect();
    module_of(&choices, float)
}

/// One module with the functions of all, which may then be compiled at once: functions, parameters and states carry the module's
/// number in their names.
pub fn together(modules: &[Module]) -> Module {
    let mut out = Module::default();
    for (i, module) in modules.iter().enumerate() {
        let mut numbered = Module { symbols: module.symbols.clone(), functions: vec![] };
        for f in &module.functions {
            let mut renamed = f.shell();
            renamed.name = format!("{}{i}", f.name).into();
            for (_, node) in f.nodes() {
                match &node.op {
                    Op::Arg(n) => {
                        let mut arg = f.args[*n as usize].clone();
                        if arg.kind != ArgKind::Input {
                            arg.name = format!("{i}.{}", arg.name).into();
                        }
                        renamed.add_arg(arg)
                    }
                    _ => renamed.push(node.clone()),
                };
            }
            renamed.outputs.clone_from(&f.outputs);
            numbered.functions.push(renamed);
        }
        out.append(numbered);
    }
    out
}

struct Graph<'a> {
    f: Function,
    float: DType,
    symbols: &'a Symbols,
    /// What later steps may use.
    values: Vec<NodeId>,
    /// States with their last version, by number of the argument.
    states: Vec<(u32, NodeId)>,
}

fn symbol(name: &str) -> Dim {
    Dim::symbol(name)
}

impl<'a> Graph<'a> {
    fn new(name: &str, entry: bool, float: DType, symbols: &'a Symbols) -> Self {
        Graph { f: Function::new(name, entry), float, symbols, values: vec![], states: vec![] }
    }

    fn ty(&self, id: NodeId) -> TensorType {
        self.f.tensor(id).clone()
    }

    fn floats(&self, shape: impl Into<Vec<Dim>>) -> TensorType {
        TensorType::new(self.float, shape.into())
    }

    fn add_arg(&mut self, ty: &TensorType, kind: ArgKind) -> NodeId {
        let name = format!("x{}", self.f.args.len());
        self.f.add_arg(Arg { name: name.into(), ty: ty.clone(), kind, default: None, range: None })
    }

    /// Appends a node that later steps may use; nothing where the op does not take these operands or its value would be too large.
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let id = self.add_unlisted(op, operands)?;
        self.values.push(id);
        Some(id)
    }

    fn add_unlisted(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let types: Vec<_> = operands.iter().map(|o| self.f.ty(*o)).collect();
        let ty = op.infer(&types).ok()?;
        let fits = ty.tensor()?.elements().upper_bound(self.symbols).is_ok_and(|n| (1..=MOST_ELEMENTS).contains(&n));
        fits.then(|| self.f.add(op, operands).ok()).flatten()
    }

    /// One of the values that fit, the newest for 0.
    fn pick(&self, n: u16, fits: impl Fn(&TensorType) -> bool) -> Option<NodeId> {
        let found: Vec<NodeId> = self.values.iter().copied().filter(|v| fits(self.f.tensor(*v))).collect();
        (!found.is_empty()).then(|| found[found.len() - 1 - usize::from(n) % found.len()])
    }

    /// A value of that type: one that is there, or an argument.
    fn of_type(&mut self, ty: &TensorType, n: u16) -> NodeId {
        let found = if n.is_multiple_of(2) { self.pick(n / 2, |t| t == ty) } else { None };
        found.unwrap_or_else(|| self.new_value(ty, n / 2))
    }

    fn new_value(&mut self, ty: &TensorType, n: u16) -> NodeId {
        let constant = ty.shape.iter().all(|d| d.as_const().is_some());
        let kind = match n % 4 {
            1 | 2 if constant => ArgKind::Param { live: false },
            3 if constant => ArgKind::Param { live: true },
            _ => ArgKind::Input,
        };
        let id = self.add_arg(ty, kind);
        self.values.push(id);
        id
    }

    /// A weight of that shape.
    fn weight(&mut self, shape: &[i64]) -> NodeId {
        let ty = self.floats(shape.iter().map(|n| Dim::from(*n)).collect::<Vec<_>>());
        self.add_arg(&ty, ArgKind::Param { live: false })
    }

    /// A float value, of any shape.
    fn float(&mut self, n: u16) -> NodeId {
        let float = self.float;
        self.pick(n, |t| t.dtype() == Some(float)).unwrap_or_else(|| {
            let shapes =
                [vec![symbol("b"), symbol("s"), 8.into()], vec![4.into(), 6.into()], vec![symbol("s"), 4.into()]];
            let ty = self.floats(shapes[usize::from(n) % shapes.len()].clone());
            self.new_value(&ty, 0)
        })
    }

    /// A tensor of one value, of the shape of `like`.
    fn splat(&mut self, like: NodeId, value: f64) -> Option<NodeId> {
        let ty = self.ty(like);
        let scalar = self.add_unlisted(Op::Constant(Literal::scalar(ty.dtype()?, value)), &[])?;
        self.add_unlisted(Op::Broadcast(ty.shape.to_vec()), &[scalar])
    }

    /// `x * x + 1`: positive, and not small.
    fn positive(&mut self, x: NodeId) -> Option<NodeId> {
        let square = self.add_unlisted(Op::Binary(BinaryOp::Mul), &[x, x])?;
        let one = self.splat(x, 1.0)?;
        self.add_unlisted(Op::Binary(BinaryOp::Add), &[square, one])
    }

    /// A step that finds nothing to do does nothing.
    fn step(&mut self, c: Choice) {
        let _ = match c[0] % 24 {
            0..=2 => self.unary(c),
            3..=5 => self.binary(c),
            6 => self.by_constant(c),
            7 => self.with_bias(c),
            8 => self.positive_unary(c),
            9 => self.chosen(c),
            10 | 11 => self.transpose(c),
            12 | 13 => self.reshape(c),
            14 => self.broadcast(c),
            15 => self.slice(c),
            16 => self.concat_or_pad(c),
            17 => self.reduce(c),
            18 | 19 => self.linear(c),
            20 => self.product(c),
            21 => self.norm(c),
            22 => self.rows_of_table(c),
            _ => self.attention(c),
        };
    }

    /// Calls a function on arguments of its own.
    fn call(&mut self, id: FuncId, callee: &Function, n: u16) {
        let operands: Vec<NodeId> = callee
            .args
            .iter()
            .map(|a| match a.kind {
                ArgKind::Input => self.of_type(&a.ty, n),
                kind => self.add_arg(&a.ty, kind),
            })
            .collect();
        let Ok(call) = self.f.add_call(id, callee, &operands) else { return };
        for (i, o) in callee.outputs.iter().enumerate() {
            let Ok(value) = self.f.add(Op::Get(i as u32), &[call]) else { continue };
            match o.updates.and_then(|a| operands.get(a as usize)).map(|o| &self.f.node(*o).op) {
                Some(Op::Arg(number)) => self.states.push((*number, value)),
                _ => self.values.push(value),
            }
        }
    }

    /// The function, with what nothing uses as results and arguments first, as the text has them.
    fn finish(mut self) -> Function {
        if self.values.is_empty() {
            self.float(0);
        }
        let users = self.f.users();
        let unused = self.values.iter().rev().filter(|v| users[v.index()].is_empty());
        for (i, value) in unused.take(4).enumerate() {
            self.f.add_output(format!("y{i}"), *value, None);
        }
        for (number, value) in self.states {
            let name = self.f.args[number as usize].name.clone();
            self.f.add_output(name, value, Some(number));
        }
        let mut out = self.f.shell();
        out.variants = super::by_rows_of_first_input(&self.f);
        out.args.clone_from(&self.f.args);
        let mut renamed = vec![NodeId(0); self.f.len()];
        for args in [true, false] {
            for (id, node) in self.f.nodes().filter(|(_, n)| matches!(n.op, Op::Arg(_)) == args) {
                let operands = node.operands.iter().map(|o| renamed[o.index()]).collect();
                renamed[id.index()] = out.push(Node { operands, ..node.clone() });
            }
        }
        for o in &self.f.outputs {
            out.add_output(o.name.clone(), renamed[o.value.index()], o.updates);
        }
        out
    }
}
