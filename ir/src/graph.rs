//! Modules, functions and nodes.

use crate::{IrError, Op, SizeRange, SourceLine, TensorType, Type};
use kiln_core::{DefaultFill, Symbols, ValueRange};
use std::{collections::HashMap, fmt, sync::Arc};

/// The number of a node within its function; displayed `%7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The number of a function within its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FuncId(pub u32);

impl FuncId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One value: an op applied to earlier nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Operands, all earlier in the function.
    pub operands: Vec<NodeId>,
    /// The type of its value.
    pub ty: Type,
    /// The line of the model definition that made it.
    pub source: Option<SourceLine>,
}

/// What an argument is bound to, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArgKind {
    /// Given at each call.
    Input,
    /// A weight; `live` ones may be written (training), static ones may be folded and packed.
    Param {
        /// Whether it may change.
        live: bool,
    },
    /// A buffer that lives from call to call: consumed and returned.
    State,
}

impl ArgKind {
    /// Whether the program may write it: a state, or a parameter that may change. Its versions are linear.
    pub fn is_written(self) -> bool {
        matches!(self, ArgKind::State | ArgKind::Param { live: true })
    }
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name: a forward argument, a checkpoint tensor, or a state.
    pub name: Arc<str>,
    /// Its type.
    pub ty: TensorType,
    /// What it is bound to.
    pub kind: ArgKind,
    /// What stands in for an input that is not passed.
    pub default: Option<DefaultFill>,
    /// The values that an entry's input may have.
    pub range: Option<ValueRange>,
}

/// One result of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name: an output's field name.
    pub name: Arc<str>,
    /// Its value.
    pub value: NodeId,
    /// The number of the argument, a state or a parameter that may change, whose next version this is.
    pub updates: Option<u32>,
}

/// A function: arguments, nodes in order, results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is an entry of the program rather than a repeated block.
    pub entry: bool,
    /// Of an entry: the ranges of sizes that get code of their own, narrowest first.
    pub variants: Vec<SizeRange>,
    /// Arguments; node i is `Op::Arg(i)` for each of them.
    pub args: Vec<Arg>,
    nodes: Vec<Node>,
    /// Results.
    pub outputs: Vec<Output>,
}

impl Function {
    /// An empty function.
    pub fn new(name: impl Into<Arc<str>>, entry: bool) -> Self {
        Function { name: name.into(), entry, ..Default::default() }
    }

    /// A function that says of itself what this one says, and computes nothing yet: what a pass fills anew.
    pub fn shell(&self) -> Self {
        let Function { name, entry, variants, args: _, nodes: _, outputs: _ } = self;
        Function { variants: variants.clone(), ..Function::new(name.clone(), *entry) }
    }

    /// Appends an argument and its node. Arguments need not come before other nodes.
    pub fn add_arg(&mut self, arg: Arg) -> NodeId {
        let op = Op::Arg(self.args.len() as u32);
        let ty = arg.ty.clone().into();
        self.args.push(arg);
        self.push(Node { op, operands: vec![], ty, source: None })
    }

    /// Appends a node after checking its operands' types.
    ///
    /// # Errors
    /// [`IrError::Type`] with the op, its operands' types and what was expected. Calls are made with [`add_call`](Self::add_call).
    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, IrError> {
        self.add_at(op, operands, None)
    }

    /// As [`add`](Self::add), with the line of the model definition.
    pub fn add_at(&mut self, op: Op, operands: &[NodeId], source: Option<SourceLine>) -> Result<NodeId, IrError> {
        let types: Vec<&Type> = operands.iter().map(|n| &self.nodes[n.index()].ty).collect();
        let ty = op.infer(&types).map_err(|e| match (e, source) {
            (IrError::Type { op, operands, reason }, Some(line)) => {
                IrError::Type { op, operands, reason: format!("{reason} (at {line})") }
            }
            (e, _) => e,
        })?;
        Ok(self.push(Node { op, operands: operands.to_vec(), ty, source }))
    }

    /// Appends a call of `callee`, the function of that number, after checking the operands against its arguments.
    ///
    /// # Errors
    /// [`IrError::Type`] when number or types of the operands are not those of the arguments.
    pub fn add_call(&mut self, id: FuncId, callee: &Function, operands: &[NodeId]) -> Result<NodeId, IrError> {
        let ty = self.call_type(callee, operands)?;
        Ok(self.push(Node { op: Op::Call(id), operands: operands.to_vec(), ty, source: None }))
    }

    /// The type of a call of `callee` on these nodes.
    pub(crate) fn call_type(&self, callee: &Function, operands: &[NodeId]) -> Result<Type, IrError> {
        let error = |reason| IrError::Type {
            op: format!("call @{}", callee.name),
            operands: operands.iter().map(|n| self.ty(*n).to_string()).collect::<Vec<_>>().join(", "),
            reason,
        };
        if operands.len() != callee.args.len() {
            return Err(error(format!("expected {} operands, found {}", callee.args.len(), operands.len())));
        }
        for (n, a) in operands.iter().zip(&callee.args) {
            if self.ty(*n).tensor() != Some(&a.ty) {
                return Err(error(format!("argument `{}` is {}, found {}", a.name, a.ty, self.ty(*n))));
            }
        }
        let results: Option<Vec<_>> = callee.outputs.iter().map(|o| callee.ty(o.value).tensor().cloned()).collect();
        let results = results.ok_or_else(|| error("a callee returns tensors".into()))?;
        Ok(Type::Tuple(results.into()))
    }

    /// Appends a node as it is; [`verify`](crate::verify()) finds what is wrong with it.
    pub fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a function has fewer than 2^32 nodes"));
        self.nodes.push(node);
        id
    }

    /// Appends a result.
    pub fn add_output(&mut self, name: impl Into<Arc<str>>, value: NodeId, updates: Option<u32>) {
        self.outputs.push(Output { name: name.into(), value, updates });
    }

    /// The node of that number.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.nodes[id.index()].ty
    }

    /// The type of a node that is a tensor.
    ///
    /// # Panics
    /// When the node is a call: a graph that passed the verifier uses calls through `get` only.
    pub fn tensor(&self, id: NodeId) -> &TensorType {
        self.ty(id).tensor().expect("a tensor, not the tuple of a call")
    }

    /// The nodes with their numbers, in order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i as u32), n))
    }

    /// Whether a call takes the version that it is given for that argument, and gives the next: of a state always, of a parameter
    /// that may change if it is written.
    pub fn consumes(&self, arg: usize) -> bool {
        self.args[arg].kind == ArgKind::State || self.outputs.iter().any(|o| o.updates == Some(arg as u32))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// For each node, the nodes that use it, in order (an op that uses it twice is there twice); results are not counted.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![vec![]; self.nodes.len()];
        for (id, node) in self.nodes() {
            node.operands.iter().for_each(|o| users[o.index()].push(id));
        }
        users
    }

    /// The function without the nodes that no result needs; arguments stay.
    pub fn without_dead_nodes(&self) -> Function {
        let live = self.needs(self.outputs.iter().map(|o| o.value));
        let mut out = Function { nodes: vec![], ..self.clone() };
        let mut renamed = HashMap::new();
        for (id, node) in self.nodes().filter(|(id, node)| live.contains(id) || matches!(node.op, Op::Arg(_))) {
            let mut node = node.clone();
            node.operands.iter_mut().for_each(|o| *o = renamed[o]);
            renamed.insert(id, out.push(node));
        }
        out.outputs.iter_mut().for_each(|o| o.value = renamed[&o.value]);
        out
    }
}

/// Functions and size symbols: one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// The size symbols with their bounds.
    pub symbols: Symbols,
    /// Callees come before their callers.
    pub functions: Vec<Function>,
}

impl Module {
    /// The module with the function of that name as its one entry. Ranges of values and of sizes are for what callers pass, so the other
    /// functions have none.
    pub fn with_entry(&self, name: &str) -> Module {
        let mut module = self.clone();
        for f in &mut module.functions {
            f.entry = *f.name == *name;
            if !f.entry {
                f.args.iter_mut().for_each(|arg| arg.range = None);
                f.variants.clear();
            }
        }
        module
    }

    /// Adds the functions and symbols of another program. Where both have a symbol, that of the other one stands.
    pub fn append(&mut self, other: Module) {
        let first = self.functions.len() as u32;
        self.symbols.extend(other.symbols);
        for mut f in other.functions {
            for node in &mut f.nodes {
                if let Op::Call(FuncId(n)) = &mut node.op {
                    *n += first;
                }
            }
            self.functions.push(f);
        }
    }

    /// The function of that number.
    pub fn function(&self, id: FuncId) -> &Function {
        &self.functions[id.index()]
    }

    /// The function of that name.
    pub fn find(&self, name: &str) -> Option<(FuncId, &Function)> {
        self.functions.iter().enumerate().find(|(_, f)| &*f.name == name).map(|(i, f)| (FuncId(i as u32), f))
    }

    /// The entries of the program.
    pub fn entries(&self) -> impl Iterator<Item = (FuncId, &Function)> {
        self.functions.iter().enumerate().filter(|(_, f)| f.entry).map(|(i, f)| (FuncId(i as u32), f))
    }

    /// The function with every call replaced by the callee's nodes, to any depth.
    pub fn inline(&self, id: FuncId) -> Function {
        let f = self.function(id);
        let mut out = Function { nodes: vec![], ..f.clone() };
        let mut values: Vec<Vec<NodeId>> = Vec::with_capacity(f.nodes.len());
        for node in &f.nodes {
            let operand = |o: &NodeId| values[o.index()][0];
            values.push(match &node.op {
                Op::Call(callee) => {
                    let args: Vec<NodeId> = node.operands.iter().map(operand).collect();
                    self.inline_into(&mut out, *callee, &args)
                }
                Op::Get(i) => vec![values[node.operands[0].index()][*i as usize]],
                _ => vec![out.push(Node { operands: node.operands.iter().map(operand).collect(), ..node.clone() })],
            });
        }
        out.outputs.iter_mut().for_each(|o| o.value = values[o.value.index()][0]);
        out
    }

    fn inline_into(&self, out: &mut Function, callee: FuncId, args: &[NodeId]) -> Vec<NodeId> {
        let f = self.function(callee);
        let mut values: Vec<Vec<NodeId>> = Vec::with_capacity(f.nodes.len());
        for node in &f.nodes {
            let operand = |o: &NodeId| values[o.index()][0];
            values.push(match &node.op {
                Op::Arg(i) => vec![args[*i as usize]],
                Op::Call(inner) => {
                    let args: Vec<NodeId> = node.operands.iter().map(operand).collect();
                    self.inline_into(out, *inner, &args)
                }
                Op::Get(i) => vec![values[node.operands[0].index()][*i as usize]],
                _ => vec![out.push(Node { operands: node.operands.iter().map(operand).collect(), ..node.clone() })],
            });
        }
        f.outputs.iter().map(|o| values[o.value.index()][0]).collect()
    }
}
