//! Why a function became what it became: the laws that lead from it to its cheapest form, one after the other.
//!
//! While the laws run, a log notes each place where one made two classes one. Most of them lead nowhere. So the log is replayed in an
//! e-graph of its own that holds the function and its result, and what can be left out without losing that both are equal is left
//! out ([`minimal`]). What remains is a proof: each step is needed, and each rests on those before it only, side conditions included.
//! Replayed once more, each step tells what it found and concluded, and what the function would cost if the laws had ended there.

use super::application::Application;
use super::convert::{self, Loaded, Writer};
use super::cost::Point;
use super::facts::{Graph, attr};
use super::rule::{Conclusion, Form, Rule, conclude, oldest};
use super::term::{Head, Term};
use super::{Options, Saturated};
use crate::minimal::minimal;
use egg::{ENodeOrVar, Id, Language, PatternAst, Subst};
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module, Op, interp, sample};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The steps from a function to its cheapest equal.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The function's name.
    pub function: String,
    /// Predicted seconds of the function as it was written.
    pub cost_before: f64,
    /// Predicted seconds of the function as it became.
    pub cost_after: f64,
    /// The steps, each of which is needed.
    pub steps: Vec<TraceStep>,
    /// The function as it became.
    pub result: Function,
    /// Whether the cheapest form of what the steps alone found is as cheap as the result; else laws that lead nowhere here
    /// hid the difference.
    pub complete: bool,
}

/// A law at a place.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// The law's name.
    pub rule: String,
    /// As its table states it; empty for a law in code.
    pub law: String,
    /// Its side conditions, which hold here.
    pub conditions: Vec<String>,
    /// What it found: `(mul %3 (broadcast %1 shape[b,s,8]))`, where `%n` are values of the function as it was written.
    pub found: String,
    /// What it concluded.
    pub concluded: String,
    /// Predicted seconds of the cheapest form that is known after this step.
    pub cost: f64,
    /// That form.
    pub form: Function,
    /// What was found and what was concluded, each as a function of the same arguments, where both can be computed.
    pub sides: Option<(Function, Function)>,
}

/// The numbers of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// ‖concluded − found‖ / ‖found‖; `None` where one of them is a notation, which has no computation of its own.
    pub law_error: Option<f64>,
    /// The largest relative error among the results of the form that is known after the step, against the function as it was written.
    pub form_error: f64,
}

/// Explains what [`optimize_with`](super::optimize_with) makes of a function of the module.
///
/// # Errors
/// As [`Saturated::new`].
pub fn explain(
    module: &Module,
    f: &Function,
    target: &TargetSpec,
    options: &Options,
    rules: &[Rule],
) -> Result<Trace, String> {
    let mut loaded = convert::load(module, f);
    loaded.graph.analysis.log = Some(vec![]);
    let mut saturated = Saturated::of(loaded, options, rules)?;
    let log = saturated.loaded.graph.analysis.log.take().unwrap_or_default();
    let (result, report) = saturated.extract(module, f, target, options)?;
    let laws =
        rules.iter().map(|r| Ok((r.name.as_str(), (r, r.conclusion()?)))).collect::<Result<Laws<'_>, String>>()?;
    let seen = &saturated.loaded.graph;
    let reaches = |log: &[Application]| -> Result<bool, String> {
        let mut replay = Replay::new(module, f, seen, &laws);
        let (goal, _) = convert::add(&mut replay.loaded.graph, &result);
        for application in log {
            replay.apply(application)?;
        }
        Ok(replay.equal(goal))
    };
    if !reaches(&log)? {
        return Err("the log of laws does not lead to the result".into());
    }
    let needed = minimal(&log, reaches)?;
    let mut replay = Replay::new(module, f, seen, &laws);
    let mut steps = vec![];
    for application in &needed {
        let step = replay.step(application)?;
        let known = replay.saturated();
        let (form, report) = known.extract(module, f, target, options)?;
        replay.loaded = known.loaded;
        steps.push(TraceStep { cost: report.cost_after, form, ..step });
    }
    let cost_after = report.cost_after;
    let last = steps.last().map_or(report.cost_before, |s| s.cost);
    Ok(Trace {
        function: f.name.to_string(),
        cost_before: report.cost_before,
        cost_after,
        complete: (last - cost_after).abs() <= 1e-9 * cost_after,
        steps,
        result,
    })
}

type Laws<'r> = BTreeMap<&'r str, (&'r Rule, Option<Conclusion>)>;

/// Laws at logged places, in an e-graph that knows nothing else.
struct Replay<'a> {
    module: &'a Module,
    f: &'a Function,
    loaded: Loaded,
    /// The e-graph that was logged.
    seen: &'a Graph,
    laws: &'a Laws<'a>,
    /// Terms of the logged e-graph in this one.
    known: HashMap<Id, Id>,
}

impl<'a> Replay<'a> {
    fn new(module: &'a Module, f: &'a Function, seen: &'a Graph, laws: &'a Laws<'a>) -> Self {
        Replay { module, f, loaded: convert::load(module, f), seen, laws, known: HashMap::new() }
    }

    /// A logged term. That it is there claims nothing: only what laws conclude does.
    fn term(&mut self, id: Id) -> Id {
        if let Some(id) = self.known.get(&id) {
            return *id;
        }
        let term = self.seen.id_to_node(id).clone().map_children(|c| self.term(c));
        let here = self.loaded.graph.add(term);
        self.known.insert(id, here);
        here
    }

    fn bindings(&mut self, application: &Application) -> Subst {
        let mut subst = Subst::with_capacity(application.bound.len());
        for (var, id) in &application.bound {
            subst.insert(*var, self.term(*id));
        }
        subst
    }

    /// Applies the law where it was applied, if what it needs is known here.
    fn apply(&mut self, application: &Application) -> Result<(), String> {
        let Some((rule, law)) = self.laws.get(application.rule.as_str()) else { return Ok(()) };
        let class = self.term(application.class);
        let subst = self.bindings(application);
        let graph = &mut self.loaded.graph;
        match (law, &rule.form) {
            (Some(law), _) => {
                // Conditions may need what follows from earlier steps.
                if !law.holds(graph, &subst) {
                    graph.rebuild();
                }
                if law.holds(graph, &subst)
                    && let (Some(left), Some(right)) = (law.left(graph, &subst), law.right(graph, &subst))
                    && let (Some(from), Some(to)) = (left.last(), right.last())
                {
                    conclude(graph, *from, *to, &rule.name);
                }
            }
            (None, Form::Structural(law)) => {
                graph.rebuild();
                let class = graph.find(class);
                if law.finds(graph, class) {
                    law.apply(graph, class, &rule.name);
                }
            }
            (None, Form::Pattern { .. }) => {}
        }
        match graph.analysis.errors.first() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn equal(&mut self, goal: Id) -> bool {
        let graph = &mut self.loaded.graph;
        graph.rebuild();
        graph.find(self.loaded.root) == graph.find(goal)
    }

    /// The e-graph, to extract from; it leaves an empty one.
    fn saturated(&mut self) -> Saturated {
        self.loaded.graph.rebuild();
        let empty = Loaded { graph: Graph::default(), root: self.loaded.root, classes: vec![] };
        let loaded = std::mem::replace(&mut self.loaded, empty);
        Saturated { loaded, iterations: 0, saturated: true }
    }

    /// As [`apply`](Self::apply), and tells of it.
    fn step(&mut self, application: &Application) -> Result<TraceStep, String> {
        let Some((rule, law)) = self.laws.get(application.rule.as_str()) else {
            return Err(format!("there is no rule `{}`", application.rule));
        };
        self.loaded.graph.rebuild();
        let class = self.term(application.class);
        let subst = self.bindings(application);
        let (law_text, conditions) = match &rule.form {
            Form::Pattern { lhs, rhs, when } => {
                (format!("{} => {}", one_line(lhs), one_line(rhs)), when.iter().map(|c| c.name.clone()).collect())
            }
            Form::Structural(_) => (String::new(), vec![]),
        };
        let mut step = TraceStep {
            rule: rule.name.clone(),
            law: law_text,
            conditions,
            found: String::new(),
            concluded: String::new(),
            cost: 0.0,
            form: Function::new(self.f.name.clone(), true),
            sides: None,
        };
        let graph = &mut self.loaded.graph;
        let sides = law.as_ref().and_then(|l| Some((l.left(graph, &subst)?, l.right(graph, &subst)?)));
        graph.rebuild();
        let names = Names::new(graph, self.f, &self.loaded.classes);
        match (law, &sides) {
            (Some(law), Some((left, right))) => {
                step.found = names.pattern(&law.lhs, left);
                step.concluded = names.pattern(&law.rhs, right);
                // Neither side knows of the other yet.
                let value = |side: &[Id]| side.last().and_then(|id| self.value(*id));
                step.sides = value(left).zip(value(right));
            }
            _ => step.found = names.value(class, 2),
        }
        let before = self.loaded.graph.nodes().len();
        self.apply(application)?;
        if sides.is_none() {
            let graph = &mut self.loaded.graph;
            graph.rebuild();
            step.concluded = Names::new(graph, self.f, &self.loaded.classes).added(before);
        }
        Ok(step)
    }

    /// The cheapest computation of a class, as a function of the arguments.
    fn value(&self, id: Id) -> Option<Function> {
        let graph = &self.loaded.graph;
        let target = TargetSpec::x86_64_v3();
        let points = Point::typical(&self.module.symbols);
        let model = super::cost::Model { rates: target.rates(), points: &points };
        let problem = super::extract::Problem::new(graph, id, &model, &Default::default());
        let (_, choice) = problem.solve()?;
        let mut shell = Function::new(self.f.name.clone(), true);
        for arg in &self.f.args {
            shell.add_arg(arg.clone());
        }
        Writer::write(self.module, &shell, graph, &[], &problem, &choice).ok()
    }
}

/// A law as it stands in its table, without the line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How terms are printed: what the function had, by its node; anything else by its oldest term.
struct Names<'g> {
    graph: &'g Graph,
    nodes: HashMap<Id, String>,
}

impl<'g> Names<'g> {
    fn new(graph: &'g Graph, f: &Function, classes: &[Id]) -> Self {
        let mut nodes = HashMap::new();
        for ((id, _), class) in f.nodes().zip(classes) {
            nodes.entry(graph.find(*class)).or_insert_with(|| id.to_string());
        }
        Names { graph, nodes }
    }

    /// A pattern whose parts are of these classes; what a variable or a builder stands for, by its value.
    fn pattern(&self, pattern: &PatternAst<Term>, ids: &[Id]) -> String {
        let mut parts: Vec<String> = Vec::with_capacity(ids.len());
        for (node, id) in pattern.iter().zip(ids) {
            parts.push(match node {
                ENodeOrVar::ENode(t) if matches!(t.head, Head::Attr(_) | Head::Mark(_)) => t.to_string(),
                ENodeOrVar::ENode(t) if !matches!(t.head, Head::Build(_)) => {
                    let children = t.children.iter().map(|c| parts[usize::from(*c)].as_str());
                    format!("({t} {})", children.collect::<Vec<_>>().join(" "))
                }
                _ => self.value(oldest(self.graph, *id), 3),
            });
        }
        parts.pop().unwrap_or_default()
    }

    fn value(&self, id: Id, depth: usize) -> String {
        match self.nodes.get(&self.graph.find(id)) {
            Some(name) => name.clone(),
            None => self.term(id, depth),
        }
    }

    /// The term that was added as `id`.
    fn term(&self, id: Id, depth: usize) -> String {
        if let Some(a) = attr(self.graph, id) {
            return a.to_string();
        }
        let term = self.graph.id_to_node(id);
        self.print(term, id, depth)
    }

    /// The terms that were added since there were so many, but for parts of others.
    fn added(&self, before: usize) -> String {
        let all = self.graph.nodes();
        let parts: HashSet<Id> = all[before..].iter().flat_map(|t| t.children.iter().copied()).collect();
        let whole =
            (before..all.len()).map(Id::from).filter(|id| !parts.contains(id) && attr(self.graph, *id).is_none());
        whole.map(|id| self.term(id, 3)).collect::<Vec<_>>().join("; ")
    }

    fn print(&self, term: &Term, id: Id, depth: usize) -> String {
        match &term.head {
            Head::Op(Op::Arg(i)) => format!("%{i}"),
            Head::Op(Op::Constant(l)) => l.splat().map_or("constant".into(), |v| v.to_string()),
            _ if term.children.is_empty() => term.to_string(),
            _ if depth == 0 => self.nodes.get(&self.graph.find(id)).cloned().unwrap_or("…".into()),
            _ => {
                let children = term.children.iter().map(|c| match attr(self.graph, *c) {
                    Some(a) => a.to_string(),
                    None => self.value(oldest(self.graph, *c), depth - 1),
                });
                format!("({term} {})", children.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// Replays a trace by numbers: each law's two sides, and each form against the function as it was written, on the same random values.
///
/// # Errors
/// What the interpreter cannot evaluate.
pub fn check(module: &Module, f: &Function, trace: &Trace) -> Result<Vec<Check>, kiln_ir::IrError> {
    let sizes = Point::at(&module.symbols, 3, 16).sizes();
    let sizes: Vec<(&str, i64)> = sizes.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let args = sample::random_args(module, &f.name, &sizes, 1)?;
    // Each form is a function of its own, after those that it may call.
    let name = format!("{}, replayed", f.name);
    let mut module = module.clone();
    module.functions.push(f.clone());
    let mut run = |f: &Function| {
        if let Some(last) = module.functions.last_mut() {
            *last = f.clone();
            (last.name, last.entry) = (name.as_str().into(), true);
        }
        interp::run(&module, &name, &args, &sizes)
    };
    let worst = |got: &[interp::Tensor], want: &[interp::Tensor]| {
        got.iter().zip(want).map(|(g, w)| interp::relative_error(g, w)).fold(0.0, f64::max)
    };
    let want = run(f)?;
    let (mut form, mut form_error) = (f.clone(), 0.0);
    let mut out = vec![];
    for step in &trace.steps {
        let law_error = match &step.sides {
            Some((found, concluded)) => Some(worst(&run(concluded)?, &run(found)?)),
            None => None,
        };
        if step.form != form {
            form = step.form.clone();
            form_error = worst(&run(&form)?, &want);
        }
        out.push(Check { law_error, form_error });
    }
    Ok(out)
}
