//! Laws: how one is stated, and how it becomes a rewrite.

use super::application::Application;
use super::build;
use super::facts::{Fact, Facts, Graph, tensor};
use super::term::{Attr, Head, Term};
use egg::{Applier, ENodeOrVar, Id, Pattern, PatternAst, SearchMatches, Searcher, Subst, Symbol, Var};
use std::{fmt, sync::Arc};

/// What a law does to the bits of a result. A compilation admits laws up to a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numerics {
    /// The same bits.
    Exact,
    /// Equal in exact arithmetic; sums and products may be taken in another order, or rounded at another place.
    #[default]
    Reassociates,
    /// Equal up to an error that the law states.
    Approximate,
}

type Holds = Arc<dyn Fn(&Graph, &Subst) -> bool + Send + Sync>;

/// A side condition: what must be known of the bound classes.
#[derive(Clone)]
pub struct Condition {
    /// As one would say it: `fixed(?w)`.
    pub name: String,
    holds: Holds,
}

impl Condition {
    /// A condition on one variable.
    pub fn on(name: &str, var: &'static str, holds: impl Fn(&Graph, Id) -> bool + Send + Sync + 'static) -> Self {
        let v: Option<Var> = var.parse().ok();
        Condition {
            name: format!("{name}({var})"),
            holds: Arc::new(move |g, s| v.and_then(|v| s.get(v)).is_some_and(|id| holds(g, g.find(*id)))),
        }
    }

    /// A condition on several variables.
    pub fn on_all(
        name: &str,
        vars: &'static [&'static str],
        holds: impl Fn(&Graph, &[Id]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let parsed: Vec<Option<Var>> = vars.iter().map(|v| v.parse().ok()).collect();
        Condition {
            name: format!("{name}({})", vars.join(", ")),
            holds: Arc::new(move |g, s| {
                let ids: Option<Vec<Id>> =
                    parsed.iter().map(|v| v.and_then(|v| s.get(v)).map(|i| g.find(*i))).collect();
                ids.is_some_and(|ids| holds(g, &ids))
            }),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A law that looks at any number of terms, which a pattern can't.
pub trait Structural: Send + Sync {
    /// Whether there may be something to conclude for this class.
    fn finds(&self, graph: &Graph, class: Id) -> bool;

    /// Concludes it, by [`conclude`], and gives the classes that changed.
    fn apply(&self, graph: &mut Graph, class: Id, rule: &str) -> Vec<Id>;
}

/// How a law is stated.
#[derive(Clone)]
pub enum Form {
    /// Two patterns and side conditions.
    Pattern {
        /// What is found. A number stands for any tensor of that value.
        lhs: String,
        /// What it equals. Names of [builders](super::build) stand for the terms that they build.
        rhs: String,
        /// When.
        when: Vec<Condition>,
    },
    /// Code.
    Structural(Arc<dyn Structural>),
}

/// A law with its name and numeric class.
#[derive(Clone)]
pub struct Rule {
    /// Its name, unique among all rules.
    pub name: String,
    /// What it does to bits.
    pub numerics: Numerics,
    /// How it is stated.
    pub form: Form,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Pattern { lhs, rhs, when } => {
                write!(f, "{}: {lhs} => {rhs}", self.name)?;
                when.iter().try_for_each(|c| write!(f, " if {}", c.name))
            }
            Form::Structural(_) => f.write_str(&self.name),
        }
    }
}

impl Rule {
    /// A law between patterns.
    pub fn pattern(
        name: impl Into<String>,
        numerics: Numerics,
        lhs: impl Into<String>,
        rhs: impl Into<String>,
        when: Vec<Condition>,
    ) -> Self {
        Rule { name: name.into(), numerics, form: Form::Pattern { lhs: lhs.into(), rhs: rhs.into(), when } }
    }

    /// A law in code.
    pub fn structural(name: impl Into<String>, numerics: Numerics, law: impl Structural + 'static) -> Self {
        Rule { name: name.into(), numerics, form: Form::Structural(Arc::new(law)) }
    }

    /// The rewrite.
    ///
    /// # Errors
    /// What is wrong with the law's text.
    pub fn compile(&self) -> Result<egg::Rewrite<Term, Facts>, String> {
        let wrong = |what: &dyn fmt::Display| format!("rule `{}`: {what}", self.name);
        let rewrite = match (self.conclusion()?, &self.form) {
            (Some(law), _) => egg::Rewrite::new(self.name.as_str(), Pattern::new(law.lhs.clone()), law),
            (None, Form::Structural(law)) => {
                let law = StructuralRewrite(law.clone());
                egg::Rewrite::new(self.name.as_str(), law.clone(), law)
            }
            (None, Form::Pattern { .. }) => return Err(wrong(&"it concludes nothing")),
        };
        rewrite.map_err(|e| wrong(&e))
    }

    /// The law between patterns, parsed; `None` for one in code.
    ///
    /// # Errors
    /// What is wrong with the law's text.
    pub(super) fn conclusion(&self) -> Result<Option<Conclusion>, String> {
        let Form::Pattern { lhs, rhs, when } = &self.form else { return Ok(None) };
        let wrong = |what: &dyn fmt::Display| format!("rule `{}`: {what}", self.name);
        let parse = |text: &str| text.parse::<PatternAst<Term>>().map_err(|e| wrong(&e));
        let mut when = when.clone();
        let lhs = numbers_as_variables(&parse(lhs)?, &mut when);
        let rhs = parse(rhs)?;
        if let Some(ENodeOrVar::ENode(t)) =
            lhs.iter().find(|n| matches!(n, ENodeOrVar::ENode(t) if matches!(t.head, Head::Build(_))))
        {
            return Err(wrong(&format!("`{t}` builds, so it stands on the right only")));
        }
        Ok(Some(Conclusion { lhs, rhs, when }))
    }
}

/// A number among operands on the left stands for a tensor of that value: a variable and a condition.
fn numbers_as_variables(ast: &PatternAst<Term>, when: &mut Vec<Condition>) -> PatternAst<Term> {
    let mut out = PatternAst::default();
    for (i, node) in ast.iter().enumerate() {
        let number = match node {
            ENodeOrVar::ENode(Term { head: Head::Attr(Attr::Real(r)), .. }) => Some(*r),
            _ => None,
        };
        let Some(value) = number else {
            out.add(node.clone());
            continue;
        };
        let var = Var::from(Symbol::from(format!("?number{i}")));
        when.push(Condition {
            name: format!("all elements are {value}"),
            holds: Arc::new(move |g, s| s.get(var).is_some_and(|id| is_value(g, *id, value.get()))),
        });
        out.add(ENodeOrVar::Var(var));
    }
    out
}

/// Whether all elements have that value, up to the rounding of the element type.
pub fn is_value(graph: &Graph, id: Id, value: f64) -> bool {
    tensor(graph, id).and_then(|t| t.splat).is_some_and(|v| {
        let tolerance = 1e-6 * value.abs();
        (v.get() - value).abs() <= tolerance
    })
}

/// Makes two classes one on the word of a rule, if their types agree; else notes the error. Gives the class if something changed.
pub fn conclude(graph: &mut Graph, from: Id, to: Id, rule: &str) -> Option<Id> {
    let (from, to) = (graph.find(from), graph.find(to));
    if from == to {
        return None;
    }
    let sound = match (&graph[from].data, &graph[to].data) {
        (Fact::Tensor(a), Fact::Tensor(b)) if a.ty == b.ty => Ok(()),
        (Fact::Tensor(a), Fact::Tensor(b)) => Err(format!("{} from {}", b.ty, a.ty)),
        (a, Fact::Bad(reason)) => Err(match a {
            Fact::Tensor(t) => format!("an ill-typed term from {}: {reason}", t.ty),
            _ => format!("an ill-typed term: {reason}"),
        }),
        (a, b) => Err(format!("{b:?} from {a:?}")),
    };
    match sound {
        Ok(()) => {
            graph.union_trusted(from, to, rule);
            *graph.analysis.applied.entry(rule.into()).or_insert(0) += 1;
            Some(graph.find(from))
        }
        Err(what) => {
            graph.analysis.errors.push(format!("rule `{rule}` concludes {what}"));
            None
        }
    }
}

/// A law between patterns, ready to be applied.
pub(super) struct Conclusion {
    pub(super) lhs: PatternAst<Term>,
    pub(super) rhs: PatternAst<Term>,
    when: Vec<Condition>,
}

impl Conclusion {
    /// Whether the side conditions hold of what the variables are bound to.
    pub(super) fn holds(&self, graph: &Graph, subst: &Subst) -> bool {
        self.when.iter().all(|c| (c.holds)(graph, subst))
    }

    /// Adds the left side; the class of each part of its pattern, the whole last.
    pub(super) fn left(&self, graph: &mut Graph, subst: &Subst) -> Option<Vec<Id>> {
        instantiate(&self.lhs, graph, subst)
    }

    /// As [`left`](Self::left), of the right side; `None` where a builder builds nothing, and then the law says nothing.
    pub(super) fn right(&self, graph: &mut Graph, subst: &Subst) -> Option<Vec<Id>> {
        instantiate(&self.rhs, graph, subst)
    }
}

/// Adds a pattern's term.
fn instantiate(pattern: &PatternAst<Term>, graph: &mut Graph, subst: &Subst) -> Option<Vec<Id>> {
    let mut ids: Vec<Id> = Vec::with_capacity(pattern.len());
    for node in pattern.iter() {
        ids.push(match node {
            ENodeOrVar::Var(v) => graph.find(*subst.get(*v)?),
            ENodeOrVar::ENode(t) => {
                let children: Vec<Id> = t.children.iter().map(|c| ids[usize::from(*c)]).collect();
                match t.head {
                    Head::Build(name) => build::call(name, graph, &children)?,
                    _ => graph.add(Term::new(t.head.clone(), children)),
                }
            }
        });
    }
    Some(ids)
}

fn variables(pattern: &PatternAst<Term>) -> Vec<Var> {
    pattern.iter().filter_map(|n| if let ENodeOrVar::Var(v) = n { Some(*v) } else { None }).collect()
}

impl Applier<Term, Facts> for Conclusion {
    fn apply_one(
        &self,
        graph: &mut Graph,
        class: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        if !self.holds(graph, subst) {
            return vec![];
        }
        // As they were before the law changed anything.
        let application = Application::of(graph, rule, class, &variables(&self.lhs), subst);
        let Some(to) = self.right(graph, subst).and_then(|ids| ids.last().copied()) else { return vec![] };
        let changed = conclude(graph, class, to, rule.as_str());
        if let (Some(log), Some(application), Some(_)) = (&mut graph.analysis.log, application, changed) {
            log.push(application);
        }
        changed.into_iter().collect()
    }

    fn vars(&self) -> Vec<Var> {
        variables(&self.rhs)
    }
}

impl Application {
    /// `None` where nobody asks for a log.
    fn of(graph: &Graph, rule: Symbol, class: Id, vars: &[Var], subst: &Subst) -> Option<Application> {
        graph.analysis.log.as_ref()?;
        let bound = vars.iter().filter_map(|v| Some((*v, oldest(graph, *subst.get(*v)?)))).collect();
        Some(Application { rule: rule.to_string(), class: oldest(graph, class), bound })
    }
}

/// The first term that was found to be of a class: of those of the function that the laws began with, if it has one.
pub(super) fn oldest(graph: &Graph, id: Id) -> Id {
    let class = graph.find(id);
    (0..usize::from(class)).map(Id::from).find(|i| graph.find(*i) == class).unwrap_or(class)
}

#[derive(Clone)]
struct StructuralRewrite(Arc<dyn Structural>);

impl Searcher<Term, Facts> for StructuralRewrite {
    fn search_eclass_with_limit(&self, graph: &Graph, class: Id, limit: usize) -> Option<SearchMatches<'_, Term>> {
        (limit > 0 && self.0.finds(graph, class)).then(|| SearchMatches {
            eclass: class,
            substs: vec![Subst::with_capacity(0)],
            ast: None,
        })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

impl Applier<Term, Facts> for StructuralRewrite {
    fn apply_one(
        &self,
        graph: &mut Graph,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        let class = graph.find(class);
        let application = Application::of(graph, rule, class, &[], &Subst::with_capacity(0));
        let changed = self.0.apply(graph, class, rule.as_str());
        if let (Some(log), Some(application), false) = (&mut graph.analysis.log, application, changed.is_empty()) {
            log.push(application);
        }
        changed
    }
}
