//! Rewriting with an e-graph: every form of a function that the [laws](crate::rules) know, then the cheapest.
//!
//! [`optimize`] takes each function of a module by itself (a repeated block once, never the unrolled model), and gives functions of the
//! same signatures. For each: [`convert`] puts its nodes into an e-graph; the laws run until they find nothing new, each in one
//! direction; the [analysis](facts) keeps types, staticness, constants and what masks mean, and refuses a conclusion that is not
//! well-typed, naming the law; [`extract`] chooses a term per class by the [cost] of the whole graph; `convert` writes the function.
//!
//! The result depends on the input, the laws, the target and the options only: limits count iterations and nodes, never time.

mod alternatives;
mod application;
pub mod build;
pub mod convert;
pub mod cost;
pub mod explain;
pub mod extract;
pub mod facts;
pub mod index;
mod options;
mod read;
pub mod rule;
pub mod term;
mod witness;

pub use alternatives::alternatives;
pub use application::Application;
pub use build::{add as add_op, constant, splits_last};
pub use cost::Point;
pub use explain::{Check, Trace, TraceStep, check, explain};
pub use facts::{Fact, Facts, Graph, Origin, attr, hides, tensor};
pub use options::Options;
pub use rule::{Condition, Form, Numerics, Rule, Structural, conclude, is_value};
pub use term::{Attr, Head, Notation, Term};
pub use witness::{equal, expression, witnesses};

use crate::{PassError, rules};
use convert::{Loaded, Writer};
use cost::Model;
use egg::{Runner, SimpleScheduler, StopReason};
use extract::Problem;
use kiln_core::TargetSpec;
use kiln_ir::{Function, Module};
use std::{collections::BTreeMap, time::Duration};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// For each function, in the module's order.
    pub functions: Vec<FunctionReport>,
}

/// What was done to a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionReport {
    /// Its name.
    pub name: String,
    /// Iterations of all laws.
    pub iterations: usize,
    /// Whether the laws found nothing new at the end; else a limit stopped them.
    pub saturated: bool,
    /// Nodes of the e-graph.
    pub nodes: usize,
    /// Classes of the e-graph.
    pub classes: usize,
    /// How often each law made two classes one.
    pub rules: BTreeMap<String, usize>,
    /// Predicted seconds of the function as it was written, over all points.
    pub cost_before: f64,
    /// Predicted seconds of the function as it became.
    pub cost_after: f64,
}

/// Rewrites every function of a module into its cheapest equal.
///
/// # Errors
/// [`PassError::Rewrite`] when a law is not sound or not well-formed, naming it and the function.
pub fn optimize(module: &Module, target: &TargetSpec, options: &Options) -> Result<(Module, Report), PassError> {
    optimize_with(module, target, options, &rules::up_to(options.numerics, &options.without))
}

/// As [`optimize`], by these laws.
///
/// # Errors
/// As [`optimize`].
pub fn optimize_with(
    module: &Module,
    target: &TargetSpec,
    options: &Options,
    rules: &[Rule],
) -> Result<(Module, Report), PassError> {
    let mut out = Module { symbols: module.symbols.clone(), functions: vec![] };
    let mut report = Report::default();
    for f in &module.functions {
        let error = |reason| PassError::Rewrite { function: f.name.to_string(), reason };
        let saturated = Saturated::new(module, f, options, rules).map_err(error)?;
        let (function, function_report) = saturated.extract(module, f, target, options).map_err(error)?;
        out.functions.push(function);
        report.functions.push(function_report);
    }
    Ok((out, report))
}

/// Predicted seconds of a function of the module as it is written, over all points; `None` where something in it can't be computed.
pub fn cost_of(module: &Module, f: &Function, target: &TargetSpec, points: &[Point]) -> Option<f64> {
    let Loaded { graph, root, classes } = convert::load(module, f);
    let model = Model { rates: target.rates(), points };
    let problem = Problem::new(&graph, root, &model, &convert::terms(&graph, f, &classes));
    problem.solve().map(|(cost, _)| cost)
}

/// A function's e-graph after the laws ran.
pub struct Saturated {
    /// The e-graph, and where the function is in it.
    pub loaded: Loaded,
    iterations: usize,
    saturated: bool,
}

impl Saturated {
    /// Runs the laws on a function of the module.
    ///
    /// # Errors
    /// The laws that concluded something ill-typed.
    pub fn new(module: &Module, f: &Function, options: &Options, rules: &[Rule]) -> Result<Self, String> {
        Self::of(convert::load(module, f), options, rules)
    }

    /// Runs the laws on an e-graph.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(loaded: Loaded, options: &Options, rules: &[Rule]) -> Result<Self, String> {
        let rewrites: Vec<_> = rules.iter().map(Rule::compile).collect::<Result<_, _>>()?;
        let runner: Runner<Term, Facts> = Runner::new(Facts::default())
            .with_egraph(loaded.graph)
            .with_scheduler(SimpleScheduler)
            .with_iter_limit(options.iterations)
            .with_node_limit(options.nodes)
            // A limit on time would make the result depend on the machine.
            .with_time_limit(Duration::from_secs(u64::from(u32::MAX)))
            .with_hook(|r| if r.egraph.analysis.errors.is_empty() { Ok(()) } else { Err("unsound".into()) })
            .run(&rewrites);
        if !runner.egraph.analysis.errors.is_empty() {
            return Err(runner.egraph.analysis.errors.join("; "));
        }
        Ok(Saturated {
            iterations: runner.iterations.len(),
            saturated: matches!(runner.stop_reason, Some(StopReason::Saturated)),
            loaded: Loaded { graph: runner.egraph, ..loaded },
        })
    }

    /// The choice between the terms that were found.
    pub fn problem(&self, module: &Module, f: &Function, target: &TargetSpec, options: &Options) -> Problem {
        let Loaded { graph, root, classes } = &self.loaded;
        let model = Model { rates: target.rates(), points: &options.points(module) };
        Problem::new(graph, *root, &model, &convert::terms(graph, f, classes))
    }

    fn extract(
        &self,
        module: &Module,
        f: &Function,
        target: &TargetSpec,
        options: &Options,
    ) -> Result<(Function, FunctionReport), String> {
        let Loaded { graph, classes, .. } = &self.loaded;
        let problem = self.problem(module, f, target, options);
        let solved = if options.moves { problem.solve() } else { problem.greedy() };
        let (cost_after, choice) = solved.ok_or("its results can't be computed from the chosen terms")?;
        let function = Writer::write(module, f, graph, classes, &problem, &choice)?;
        let report = FunctionReport {
            name: f.name.to_string(),
            iterations: self.iterations,
            saturated: self.saturated,
            nodes: graph.total_number_of_nodes(),
            classes: graph.number_of_classes(),
            rules: graph.analysis.applied.clone(),
            cost_before: cost_of(module, f, target, &options.points(module)).unwrap_or(f64::NAN),
            cost_after,
        };
        Ok((function, report))
    }
}
