//! From a function to its e-graph, and from a choice of terms to a function.

use super::build;
use super::extract::{Choice, Problem};
use super::facts::{Facts, Graph, attr};
use super::term::{Head, Term};
use egg::{Id, Language};
use kiln_ir::{ArgKind, Class, Function, Module, NodeId, Op, SourceLine};
use std::collections::{BTreeMap, BTreeSet};

/// A function in an e-graph.
pub struct Loaded {
    /// The e-graph.
    pub graph: Graph,
    /// The class of the function's results.
    pub root: Id,
    /// The class of each node, as it was when added.
    pub classes: Vec<Id>,
}

/// An e-graph for functions with these arguments.
pub fn empty(module: &Module, f: &Function) -> Graph {
    let fixed = |k: ArgKind| matches!(k, ArgKind::Param { live: false });
    let args = f.args.iter().map(|a| (a.ty.clone(), fixed(a.kind))).collect();
    let results = |f: &Function| f.outputs.iter().map(|o| f.tensor(o.value).clone()).collect();
    let callees = module.functions.iter().enumerate().map(|(i, f)| (kiln_ir::FuncId(i as u32), results(f))).collect();
    Graph::new(Facts { args, callees, ..Facts::default() })
}

/// Adds a function's nodes to an e-graph.
pub fn add(graph: &mut Graph, f: &Function) -> (Id, Vec<Id>) {
    let mut classes: Vec<Id> = Vec::with_capacity(f.len());
    for (_, node) in f.nodes() {
        let operands: Vec<Id> = node.operands.iter().map(|o| classes[o.index()]).collect();
        classes.push(build::add(graph, &node.op, &operands));
    }
    let results: Vec<Id> = f.outputs.iter().map(|o| classes[o.value.index()]).collect();
    (graph.add(Term::new(Head::Results, results)), classes)
}

/// A function in an e-graph of its own.
pub fn load(module: &Module, f: &Function) -> Loaded {
    let mut graph = empty(module, f);
    let (root, classes) = add(&mut graph, f);
    graph.rebuild();
    Loaded { graph, root, classes }
}

/// The function of a choice: the same arguments and results as `f`.
pub struct Writer<'a> {
    graph: &'a Graph,
    problem: &'a Problem,
    choice: &'a Choice,
    f: &'a Function,
    module: &'a Module,
    sources: BTreeMap<Id, SourceLine>,
    /// For each class whose value a term consumes, that term's class.
    consumers: BTreeMap<usize, usize>,
    /// The chosen terms that have a class as an operand.
    readers: BTreeMap<usize, BTreeSet<Id>>,
    written: BTreeMap<usize, NodeId>,
    open: Vec<bool>,
}

impl<'a> Writer<'a> {
    /// Writes `f` from the chosen terms; `classes` are those of its nodes.
    ///
    /// # Errors
    /// What makes the choice no function: a bug in a rule or in the extraction.
    pub fn write(
        module: &'a Module,
        f: &'a Function,
        graph: &'a Graph,
        classes: &[Id],
        problem: &'a Problem,
        choice: &'a Choice,
    ) -> Result<Function, String> {
        let mut sources = BTreeMap::new();
        for ((_, node), class) in f.nodes().zip(classes) {
            if let Some(line) = node.source {
                sources.entry(graph.find(*class)).or_insert(line);
            }
        }
        let mut writer = Writer {
            graph,
            problem,
            choice,
            f,
            module,
            sources,
            consumers: BTreeMap::new(),
            readers: BTreeMap::new(),
            written: BTreeMap::new(),
            open: vec![false; problem.candidates.len()],
        };
        writer.function()
    }

    fn term(&self, index: usize) -> Result<&'a Term, String> {
        let problem = self.problem;
        let mut index = index;
        loop {
            let chosen = problem.candidates[index].get(self.choice[index]).ok_or("a class that can't be computed")?;
            match (&chosen.term, chosen.needs.first()) {
                (Some(t), _) => return Ok(t),
                // The memory of a static tensor stands for the tensor.
                (None, Some(n)) => index = *n,
                (None, None) => return Err("a class without a term".into()),
            }
        }
    }

    fn index_of(&self, id: Id) -> Result<usize, String> {
        let id = self.graph.find(id);
        // Classes come first, sorted.
        let classes = self.problem.ids.partition_point(Option::is_some);
        self.problem.ids[..classes].binary_search(&Some(id)).map_err(|_| format!("class {id} is not a value"))
    }

    /// Which operands a term consumes.
    fn consumed(&self, term: &Term) -> Vec<Id> {
        match &term.head {
            Head::Op(op) if op.class() == Class::Write => vec![term.children[0]],
            Head::Op(Op::Call(callee)) => {
                let callee = self.module.function(*callee);
                let consumed = term.children.iter().enumerate().filter(|(i, _)| callee.consumes(*i));
                consumed.map(|(_, c)| *c).collect()
            }
            _ => vec![],
        }
    }

    fn function(&mut self) -> Result<Function, String> {
        let f = self.f;
        let mut out = f.shell();
        for arg in &f.args {
            let id = out.add_arg(arg.clone());
            let class = self.graph.lookup(Term::new(Head::Op(Op::Arg(id.0)), []));
            if let Some(class) = class {
                self.written.insert(self.index_of(class)?, id);
            }
        }
        let root = self.term(self.problem.root)?;
        self.find_consumers()?;
        if !matches!(root.head, Head::Results) {
            // One term, as its own result. It is a value and no version of a state, whose next version something returns.
            out.args.iter_mut().filter(|arg| arg.kind.is_written()).for_each(|arg| arg.kind = ArgKind::Input);
            let value = self.term_node(&mut out, root, None)?;
            out.add_output("value", value, None);
            return Ok(out);
        }
        for (output, class) in f.outputs.iter().zip(&root.children) {
            let value = self.node(&mut out, *class)?;
            out.add_output(output.name.clone(), value, output.updates);
        }
        Ok(out)
    }

    /// The classes that the root needs.
    fn roots(&self) -> Result<Vec<Id>, String> {
        let root = self.term(self.problem.root)?;
        Ok(if matches!(root.head, Head::Results) { root.children.to_vec() } else { root.operands().to_vec() })
    }

    /// Notes who reads which value, who consumes it, and that each value has one consumer at most.
    fn find_consumers(&mut self) -> Result<(), String> {
        let mut seen = vec![false; self.problem.candidates.len()];
        let mut stack: Vec<Id> = self.roots()?;
        while let Some(id) = stack.pop() {
            let index = self.index_of(id)?;
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let term = self.term(index)?;
            for consumed in self.consumed(term) {
                let version = self.index_of(consumed)?;
                if self.consumers.insert(version, index).is_some_and(|other| other != index) {
                    return Err("a state version has two consumers".into());
                }
            }
            for operand in term.operands() {
                self.readers.entry(self.index_of(*operand)?).or_default().insert(id);
                stack.push(*operand);
            }
        }
        Ok(())
    }

    /// Writes a class and what it needs; whoever reads a value that the class consumes comes before it.
    fn node(&mut self, out: &mut Function, id: Id) -> Result<NodeId, String> {
        let index = self.index_of(id)?;
        if let Some(node) = self.written.get(&index) {
            return Ok(*node);
        }
        if std::mem::replace(&mut self.open[index], true) {
            return Err("a term that needs itself".into());
        }
        let term = self.term(index)?;
        for consumed in self.consumed(term) {
            for reader in self.readers(self.index_of(consumed)?, index)? {
                self.node(out, reader)?;
            }
        }
        let source = self.sources.get(&self.graph.find(id)).copied();
        let node = self.term_node(out, term, source)?;
        self.open[index] = false;
        self.written.insert(index, node);
        Ok(node)
    }

    /// Writes what a term needs, and the term.
    fn term_node(&mut self, out: &mut Function, term: &Term, source: Option<SourceLine>) -> Result<NodeId, String> {
        let mut operands = Vec::with_capacity(term.children.len());
        for c in term.operands() {
            operands.push(self.node(out, *c)?);
        }
        let op = term.op(|c| attr(self.graph, c).cloned()).ok_or_else(|| format!("`{term}` is no op"))?;
        let node = match &op {
            Op::Arg(i) => return Ok(NodeId(*i)),
            Op::Call(callee) => out.add_call(*callee, self.module.function(*callee), &operands),
            op => out.add_at(op.clone(), &operands, source),
        };
        node.map_err(|e| e.to_string())
    }

    /// The chosen terms that read a version besides its consumer and are not being written.
    fn readers(&self, version: usize, consumer: usize) -> Result<Vec<Id>, String> {
        let mut readers = vec![];
        for id in self.readers.get(&version).into_iter().flatten() {
            let index = self.index_of(*id)?;
            if index != consumer && !self.open[index] {
                readers.push(*id);
            }
        }
        Ok(readers)
    }
}

/// The terms of a function's nodes, canonical.
pub fn terms(graph: &Graph, f: &Function, classes: &[Id]) -> BTreeSet<Term> {
    let mut all = BTreeSet::new();
    for (_, node) in f.nodes() {
        let (head, attrs) = super::term::split(&node.op);
        let attrs: Option<Vec<Id>> = attrs.into_iter().map(|a| graph.lookup(Term::attr(a))).collect();
        let Some(attrs) = attrs else { continue };
        let mut children: Vec<Id> = node.operands.iter().map(|o| classes[o.index()]).collect();
        children.extend(attrs);
        let mut term = Term::new(head, children);
        term.update_children(|c| graph.find(c));
        all.insert(term);
    }
    all
}
