//! What tests ask of an e-graph: whether laws prove an equality, and functions that show by numbers whether all terms of a class
//! agree.

use super::convert::{self, Writer};
use super::facts::{Fact, Graph};
use super::rule::Rule;
use super::term::{Head, Term};
use super::{Options, Saturated, build};
use egg::{Id, RecExpr};
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module};

/// Whether the laws prove that two functions of the module, which have the same arguments, give the same results.
///
/// # Errors
/// A law that is not sound or not well-formed.
pub fn equal(module: &Module, a: &Function, b: &Function, options: &Options, rules: &[Rule]) -> Result<bool, String> {
    let mut loaded = convert::load(module, a);
    let (other, _) = convert::add(&mut loaded.graph, b);
    loaded.graph.rebuild();
    let root = loaded.root;
    let graph = Saturated::of(loaded, options, rules)?.loaded.graph;
    Ok(graph.find(root) == graph.find(other))
}

/// The function with the arguments of `f` and one result, written as a term: `(mul $0 (neg $1))`. Numbers are scalars of the type
/// that `like` needs, and builders may be named.
///
/// # Errors
/// Text that is no term, or a term that is not well-typed.
pub fn expression(module: &Module, f: &Function, text: &str) -> Result<Function, String> {
    let expr: RecExpr<Term> = text.parse().map_err(|e| format!("{e}"))?;
    let mut graph = convert::empty(module, f);
    let mut ids: Vec<Id> = vec![];
    for term in expr.as_ref() {
        let children: Vec<Id> = term.children.iter().map(|c| ids[usize::from(*c)]).collect();
        ids.push(match term.head {
            Head::Build(name) => {
                build::call(name, &mut graph, &children).ok_or_else(|| format!("`{name}` builds nothing here"))?
            }
            _ => graph.add(Term::new(term.head.clone(), children)),
        });
        if let Some(Fact::Bad(reason)) = ids.last().map(|id| &graph[*id].data) {
            return Err(reason.clone());
        }
    }
    let value = *ids.last().ok_or("an empty term")?;
    let root = graph.add(Term::new(Head::Results, [value]));
    graph.rebuild();
    let target = TargetSpec::x86_64_v3();
    let options = Options::default();
    let mut shell = Function::new(f.name.clone(), true);
    for arg in &f.args {
        shell.add_arg(arg.clone());
    }
    shell.add_output("y", kiln_ir::NodeId(0), None);
    let loaded = convert::Loaded { graph, root, classes: vec![] };
    let saturated = Saturated { loaded, iterations: 0, saturated: true };
    let problem = saturated.problem(module, &shell, &target, &options);
    let (_, choice) = problem.solve().ok_or("it can't be computed")?;
    Writer::write(module, &shell, &saturated.loaded.graph, &[], &problem, &choice)
}

/// For each class of values with several terms, a function whose results are the class's value by each of them (operands by the
/// cheapest choice): equal results, or some law is wrong. Terms without a computation of their own (notations) are left out.
///
/// # Errors
/// As [`Saturated::new`].
pub fn witnesses(module: &Module, f: &Function, options: &Options, rules: &[Rule]) -> Result<Vec<Function>, String> {
    let saturated = Saturated::new(module, f, options, rules)?;
    let target = TargetSpec::x86_64_v3();
    let problem = saturated.problem(module, f, &target, options);
    let graph = &saturated.loaded.graph;
    let mut out = vec![];
    for (index, candidates) in problem.candidates.iter().enumerate() {
        if problem.ids[index].is_none() || index == problem.root || !is_tensor(graph, problem.ids[index]) {
            continue;
        }
        let mut all = Function::new(f.name.clone(), true);
        for arg in &f.args {
            all.add_arg(arg.clone());
        }
        for i in 0..candidates.len() {
            let Some(one) = by_term(&saturated, &problem, module, f, index, i) else { continue };
            append(&mut all, &one);
        }
        if all.outputs.len() > 1 {
            out.push(all);
        }
    }
    Ok(out)
}

fn is_tensor(graph: &Graph, id: Option<Id>) -> bool {
    id.is_some_and(|id| matches!(graph[id].data, Fact::Tensor(_)))
}

/// The value of a class by one of its terms, as a function.
fn by_term(
    saturated: &Saturated,
    problem: &super::extract::Problem,
    module: &Module,
    f: &Function,
    index: usize,
    term: usize,
) -> Option<Function> {
    // The term is the root; what it needs is chosen freely, its own class included.
    let candidate = problem.candidates[index].get(term)?;
    let mut alone = problem.clone();
    alone.candidates[problem.root] = vec![candidate.clone()];
    let (_, choice) = alone.solve()?;
    let mut shell = Function::new(f.name.clone(), true);
    for arg in &f.args {
        shell.add_arg(arg.clone());
    }
    Writer::write(module, &shell, &saturated.loaded.graph, &[], &alone, &choice).ok()
}

/// Appends the nodes of `one` to `all`, which has the same arguments, and its result.
fn append(all: &mut Function, one: &Function) {
    let mut renamed = vec![];
    for (id, node) in one.nodes() {
        renamed.push(match node.op {
            kiln_ir::Op::Arg(_) => id,
            _ => {
                let operands = node.operands.iter().map(|o: &kiln_ir::NodeId| renamed[o.index()]).collect();
                all.push(kiln_ir::Node { operands, ..node.clone() })
            }
        });
    }
    let name = format!("by {}", all.outputs.len());
    for o in &one.outputs {
        all.add_output(name.clone(), renamed[o.value.index()], None);
    }
}
