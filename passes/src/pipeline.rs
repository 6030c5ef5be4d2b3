//! Passes by name, one after the other.
//!
//! A [`Pipeline`] is a list such as `egraph(tables=norm+merge, numerics=exact), inline, simplify`. Each pass takes a module to a module,
//! and `lower`, the last if it is there, to a plan. [`compile`](crate::compile) runs [`Pipeline::rewriting`], [`Pipeline::flattening`] and
//! `lower`; filetests and `kiln opt` run what they are told. The verifier sees the module that comes in, and what each pass makes of it.

use crate::autodiff::{Autodiff, autodiff};
use crate::egraph::{self, FunctionReport, Numerics, Rule};
use crate::{Compiled, PassError, lower, rules, simplify, widen};
use kiln_core::{DType, TargetSpec};
use kiln_ir::{FuncId, Function, FunctionInfo, Module, ModuleInfo, Node, Op, TensorType, compose, text};
use std::{collections::BTreeMap, fmt, time::Instant};

/// One pass.
#[derive(Clone)]
enum Pass {
    Verify,
    Autodiff(Autodiff),
    Egraph(Box<Rewriting>),
    Inline,
    Decompose,
    Legalize,
    Widen,
    Simplify,
    Lower,
}

/// What `egraph` is asked for.
#[derive(Clone)]
struct Rewriting {
    options: egraph::Options,
    rules: Vec<Rule>,
    /// Those of the laws that were named one by one.
    named: Vec<String>,
}

/// The passes by name, with what each does.
#[rustfmt::skip]
pub const PASSES: &[(&str, &str)] = &[
    ("verify",    "nothing: the verifier runs anyway, before and after every pass"),
    ("autodiff",  "gradients of the loss as further results; autodiff(loss=NAME, wrt=A+B), by default `loss`, by all parameters that \
                   may change"),
    ("egraph",    "rewrites every function by laws; egraph(LAW, ..) by those alone, with tables=A+B, without=A+B (tables or laws), \
                   numerics=exact|reassociates|approximate, iterations=N, nodes=N"),
    ("inline",    "entries alone, with every call replaced by the callee's nodes"),
    ("decompose", "composites as primitives"),
    ("legalize",  "those composites as primitives that no kernel template computes: conv, and attention in f64"),
    ("widen",     "f32 in place of f16 and bf16, but for what is stored; after inline"),
    ("simplify",  "equal nodes as one, dead ones removed"),
    ("lower",     "the plan of kernels, last; after inline"),
];

/// Passes in order.
#[derive(Clone)]
pub struct Pipeline(Vec<(String, Pass)>);

/// What a pipeline made of a module.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The module after the last pass that gives one.
    pub module: Module,
    /// The plan, where the last pass is `lower`; its module is the one that was lowered.
    pub compiled: Option<Compiled>,
    /// What each pass did, in order.
    pub passes: Vec<PassReport>,
}

/// What a pass did.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// The pass, as it was written.
    pub pass: String,
    /// Nodes of all functions before it.
    pub nodes_before: usize,
    /// Nodes of all functions after it.
    pub nodes_after: usize,
    /// How long it took, the verifier included.
    pub seconds: f64,
    /// What the laws did to each function, if the pass rewrites.
    pub functions: Vec<FunctionReport>,
}

impl PassReport {
    /// How often each law made two classes one, over all functions.
    pub fn rules(&self) -> BTreeMap<&str, usize> {
        let mut sums = BTreeMap::new();
        for (name, count) in self.functions.iter().flat_map(|f| &f.rules) {
            *sums.entry(name.as_str()).or_insert(0) += count;
        }
        sums
    }
}

impl Pipeline {
    /// From a list of passes, separated by commas.
    ///
    /// # Errors
    /// [`PassError::Pipeline`]: an unknown pass, option, table or law, or a pass after `lower`.
    pub fn parse(text: &str) -> Result<Self, PassError> {
        let passes: Result<Vec<_>, _> = text::split(text).map(|p| Ok((p.to_string(), pass(p)?))).collect();
        let passes = passes.map_err(|reason| PassError::Pipeline { reason })?;
        if passes.iter().rev().skip(1).any(|(_, p)| matches!(p, Pass::Lower)) {
            return Err(PassError::Pipeline { reason: "`lower` gives a plan, so it is the last pass".into() });
        }
        Ok(Pipeline(passes))
    }

    /// The graph as laws improve it.
    pub fn rewriting(options: egraph::Options) -> Self {
        let rules = rules::up_to(options.numerics, &options.without);
        Pipeline(vec![("egraph".into(), Pass::Egraph(Box::new(Rewriting { options, rules, named: vec![] })))])
    }

    /// From a graph to entries that `lower` takes.
    pub fn flattening() -> Self {
        let named = |(name, pass): (&str, Pass)| (name.to_string(), pass);
        let passes = [
            ("inline", Pass::Inline),
            ("legalize", Pass::Legalize),
            ("widen", Pass::Widen),
            ("simplify", Pass::Simplify),
        ];
        Pipeline(passes.map(named).into())
    }

    /// The laws that its passes name one by one.
    pub fn named_rules(&self) -> impl Iterator<Item = &str> {
        let named = self.0.iter().map(|(_, p)| if let Pass::Egraph(r) = p { &r.named[..] } else { &[] });
        named.flatten().map(String::as_str)
    }

    /// Runs the passes.
    ///
    /// # Errors
    /// A module that the verifier rejects, as it came ([`PassError::Ir`]) or as a pass left it ([`PassError::Broken`]); what a pass
    /// cannot do.
    pub fn run(&self, module: Module, target: &TargetSpec) -> Result<Outcome, PassError> {
        let mut info = kiln_ir::verify(&module)?;
        let mut out = Outcome { module, compiled: None, passes: vec![] };
        for (name, pass) in &self.0 {
            let start = Instant::now();
            let nodes_before = nodes(&out.module);
            let mut functions = vec![];
            let module = match pass {
                Pass::Verify => None,
                Pass::Autodiff(options) => Some(autodiff(&out.module, options)?),
                Pass::Egraph(r) => {
                    let (module, report) = egraph::optimize_with(&out.module, target, &r.options, &r.rules)?;
                    functions = report.functions;
                    Some(module)
                }
                Pass::Inline => {
                    let entries = out.module.entries().map(|(id, _)| out.module.inline(id));
                    Some(Module { functions: entries.collect(), symbols: out.module.symbols.clone() })
                }
                Pass::Decompose => Some(compose::decompose(&out.module)?),
                Pass::Legalize => {
                    Some(each(&out.module, &info, |f, _| Ok(compose::decompose_where(f, has_no_template)?))?)
                }
                Pass::Widen => Some(each(flat(&out.module, name)?, &info, |f, info| Ok(widen::widen(f, info)?))?),
                Pass::Simplify => Some(each(&out.module, &info, |f, _| Ok(simplify::simplify(f)))?),
                Pass::Lower => {
                    out.compiled = Some(lower::lower(flat(&out.module, name)?, target)?);
                    None
                }
            };
            if let Some(module) = module {
                info = kiln_ir::verify(&module).map_err(|source| PassError::Broken { pass: name.clone(), source })?;
                out.module = module;
            }
            let seconds = start.elapsed().as_secs_f64();
            let nodes_after = nodes(&out.module);
            out.passes.push(PassReport { pass: name.clone(), nodes_before, nodes_after, seconds, functions });
        }
        Ok(out)
    }
}

/// The passes, as [`Pipeline::parse`] reads them.
impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "))
    }
}

fn nodes(module: &Module) -> usize {
    module.functions.iter().map(Function::len).sum()
}

/// Each function as the pass makes it from what the verifier knows of it.
fn each(
    module: &Module,
    info: &ModuleInfo,
    pass: impl Fn(&Function, &FunctionInfo) -> Result<Function, PassError>,
) -> Result<Module, PassError> {
    let known = (0..).map(|i| info.function(FuncId(i)));
    let functions: Result<Vec<_>, _> = module.functions.iter().zip(known).map(|(f, info)| pass(f, info)).collect();
    Ok(Module { functions: functions?, symbols: module.symbols.clone() })
}

/// The module, if it has no calls.
fn flat<'a>(module: &'a Module, pass: &str) -> Result<&'a Module, PassError> {
    let calls = |f: &'a Function| f.nodes().find(|(_, n)| matches!(n.op, Op::Call(_))).map(|(id, n)| (f, id, n));
    match module.functions.iter().find_map(calls) {
        None => Ok(module),
        Some((f, id, node)) => Err(PassError::Unsupported {
            function: f.name.to_string(),
            node: format!("{id}: {}", node.op),
            reason: format!("`{pass}` takes functions without calls: run `inline` before it"),
        }),
    }
}

/// The attention template computes in f32: wider attention is written out.
fn has_no_template(node: &Node) -> bool {
    match node.op {
        Op::Conv(_) => true,
        Op::Attention(_) => node.ty.tensor().and_then(TensorType::dtype) == Some(DType::F64),
        _ => false,
    }
}

fn pass(text: &str) -> Result<Pass, String> {
    let (name, options) = match text.split_once('(') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| format!("`{text}`: expected `)` at its end"))?;
            (name.trim_end(), inner)
        }
        None => (text, ""),
    };
    let pass = match name {
        "verify" => Pass::Verify,
        "autodiff" => return autodiff_pass(options),
        "egraph" => return egraph_pass(options),
        "inline" => Pass::Inline,
        "decompose" => Pass::Decompose,
        "legalize" => Pass::Legalize,
        "widen" => Pass::Widen,
        "simplify" => Pass::Simplify,
        "lower" => Pass::Lower,
        _ => {
            let names: Vec<&str> = PASSES.iter().map(|(n, _)| *n).collect();
            return Err(format!("there is no pass `{name}`: the passes are {}", names.join(", ")));
        }
    };
    if options.is_empty() { Ok(pass) } else { Err(format!("`{name}` takes no options, found `{options}`")) }
}

/// `loss=NAME, wrt=A+B`
fn autodiff_pass(text: &str) -> Result<Pass, String> {
    let mut options = Autodiff::default();
    for item in text::split(text) {
        match item.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("loss", name)) => options.loss = name.into(),
            Some(("wrt", names)) => options.wrt = names.split('+').map(|name| name.trim().into()).collect(),
            _ => return Err(format!("`{item}`: expected loss=NAME or wrt=A+B")),
        }
    }
    Ok(Pass::Autodiff(options))
}

/// `LAW, .., tables=A+B, without=A+B, numerics=CLASS, iterations=N, nodes=N`
fn egraph_pass(text: &str) -> Result<Pass, String> {
    let mut options = egraph::Options::default();
    let (mut tables, mut laws): (Vec<String>, Vec<Rule>) = (vec![], vec![]);
    for item in text::split(text) {
        let Some((key, value)) = item.split_once('=') else {
            laws.push(law(item)?);
            continue;
        };
        let value = value.trim();
        let names = || value.split('+').map(|n| n.trim().to_string());
        let number = || value.parse::<usize>().map_err(|e| format!("`{item}`: {e}"));
        match key.trim_end() {
            "tables" => tables.extend(names()),
            "without" => options.without.extend(names()),
            "numerics" => options.numerics = numerics(value).ok_or_else(|| format!("`{item}`: expected {CLASSES}"))?,
            "iterations" => options.iterations = number()?,
            "nodes" => options.nodes = number()?,
            _ => return Err(format!("`{item}`: expected a law, tables=, without=, numerics=, iterations= or nodes=")),
        }
    }
    tables.iter().try_for_each(|t| table(t).map(|_| ()))?;
    options.without.iter().try_for_each(|name| table(name).map(|_| ()).or_else(|_| law(name).map(|_| ())))?;
    if !tables.is_empty() || !laws.is_empty() {
        let others = rules::TABLES.iter().map(|(t, _)| t.to_string()).filter(|t| !tables.contains(t));
        options.without.extend(others);
    }
    let named: Vec<String> = laws.iter().map(|l| l.name.clone()).collect();
    let mut rules = rules::up_to(options.numerics, &options.without);
    rules.retain(|r| !named.contains(&r.name));
    rules.extend(laws);
    Ok(Pass::Egraph(Box::new(Rewriting { options, rules, named })))
}

const CLASSES: &str = "exact, reassociates or approximate";

fn numerics(text: &str) -> Option<Numerics> {
    match text {
        "exact" => Some(Numerics::Exact),
        "reassociates" => Some(Numerics::Reassociates),
        "approximate" => Some(Numerics::Approximate),
        _ => None,
    }
}

fn table(name: &str) -> Result<Vec<Rule>, String> {
    let found = rules::TABLES.iter().find(|(table, _)| *table == name);
    found.map(|(_, rules)| rules()).ok_or_else(|| {
        let names: Vec<&str> = rules::TABLES.iter().map(|(n, _)| *n).collect();
        format!("there is no table `{name}`: the tables are {}", names.join(", "))
    })
}

fn law(name: &str) -> Result<Rule, String> {
    let found = rules::TABLES.iter().flat_map(|(_, rules)| rules()).find(|r| r.name == name);
    found.ok_or_else(|| format!("there is no law `{name}`: passes/src/rules has the tables"))
}
