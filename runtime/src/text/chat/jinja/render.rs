//! Runs a template: statements. Expressions and calls are in `evaluate`.

use super::Error;
use super::arguments::Arguments;
use super::ast::*;
use super::callable::{Loop, Macro as MacroValue};
use super::filters;
use super::html::escape;
use super::repr::text;
use super::scope::Scope;
use super::value::{Namespace, Value, locked};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// How much a template may do: so many steps, or bytes that it makes, are a second or so.
const FUEL: usize = 100_000_000;
/// What a step costs; a byte costs one.
const STEP: usize = 10;
/// What an iteration of a loop costs, whatever its body does.
const ITERATION: usize = 50;
/// How deep statements, expressions and calls may be nested.
const MAX_DEPTH: usize = 400;

/// What a template writes.
pub fn render(body: &[Statement], variables: HashMap<Arc<str>, Value>) -> Result<String, Error> {
    let renderer = Renderer {
        fuel: Cell::new(FUEL),
        depth: Cell::new(0),
        escapes: Cell::new(false),
        scopes: RefCell::default(),
        namespaces: RefCell::default(),
    };
    let mut out = String::new();
    let root = Scope::root(variables);
    let done = renderer.body(body, &Scope::within(&root), &mut out);
    renderer.free();
    done.map(|_| out)
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Done,
    Break,
    Continue,
}

/// One run of a template.
pub struct Renderer {
    fuel: Cell<usize>,
    depth: Cell<usize>,
    /// Whether what is printed is escaped.
    escapes: Cell<bool>,
    /// Scopes that macros or recursive loops hold, and that may hold those.
    scopes: RefCell<Vec<Arc<Scope>>>,
    namespaces: RefCell<Vec<Arc<Namespace>>>,
}

impl Renderer {
    /// Takes fuel for so many bytes.
    pub fn charge(&self, bytes: usize) -> Result<(), Error> {
        match self.fuel.get().checked_sub(bytes) {
            Some(left) => {
                self.fuel.set(left);
                Ok(())
            }
            None => Err(Error::new("the template does too much, or writes too much")),
        }
    }

    /// Runs something one level deeper.
    pub fn deeper<T>(&self, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        self.charge(STEP)?;
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return Err(Error::new("the template's calls are nested too deep"));
        }
        self.depth.set(depth + 1);
        let result = run();
        self.depth.set(depth);
        result
    }

    /// Whether what is printed is escaped (`autoescape`).
    pub fn escapes(&self) -> bool {
        self.escapes.get()
    }

    /// Runs something that escapes what it prints, or does not.
    fn escaping<T>(&self, escapes: bool, run: impl FnOnce() -> T) -> T {
        let before = self.escapes.replace(escapes);
        let result = run();
        self.escapes.set(before);
        result
    }

    /// What a body wrote, as a value: HTML where it was escaped.
    pub fn written(&self, text: String) -> Value {
        if self.escapes() { Value::Markup(text.into()) } else { text.into() }
    }

    /// Prints a value.
    fn print(&self, value: &Value, out: &mut String) -> Result<(), Error> {
        self.write(&if self.escapes() { escape(value) } else { text(value) }, out)
    }

    /// A namespace that is freed when the run is over.
    pub fn namespace(&self) -> Arc<Namespace> {
        let namespace = Arc::new(Namespace::default());
        self.namespaces.borrow_mut().push(namespace.clone());
        namespace
    }

    /// Frees what holds itself, without going from one namespace into the next.
    fn free(&self) {
        let scopes: Vec<_> = self.scopes.borrow().iter().map(|scope| scope.take()).collect();
        let namespaces: Vec<_> = self.namespaces.borrow().iter().map(|namespace| namespace.take()).collect();
        drop((scopes, namespaces));
    }

    fn hold(&self, scope: &Arc<Scope>) {
        let mut scopes = self.scopes.borrow_mut();
        if !scopes.last().is_some_and(|last| Arc::ptr_eq(last, scope)) {
            scopes.push(scope.clone());
        }
    }

    /// Runs a body, whose variables are set in `scope`.
    pub fn body(&self, body: &[Statement], scope: &Arc<Scope>, out: &mut String) -> Result<Flow, Error> {
        for statement in body {
            let flow = self.deeper(|| self.statement(&statement.node, scope, out)).map_err(|e| e.at(statement.line))?;
            if flow != Flow::Done {
                return Ok(flow);
            }
        }
        Ok(Flow::Done)
    }

    fn statement(&self, node: &Node, scope: &Arc<Scope>, out: &mut String) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.write(text, out)?,
            Node::Print(value) => self.print(&self.value(value, scope)?, out)?,
            Node::For(node) => {
                let values = self.value(&node.values, scope)?;
                self.for_loop(node, &values, scope, 0, out)?;
            }
            Node::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.value(condition, scope)?.is_true() {
                        return self.body(body, scope, out);
                    }
                }
                return self.body(otherwise, scope, out);
            }
            Node::Set(target, value) => {
                let value = self.value(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Node::SetBlock(target, filters, body) => {
                let value = self.filtered(filters, body, scope)?;
                self.assign(target, value, scope)?;
            }
            Node::Macro(definition) => {
                let value = Value::Macro(self.macro_value(definition, scope));
                scope.set(definition.name.clone(), value);
            }
            Node::CallBlock(call, caller) => {
                let callee = self.value(&call.callee, scope)?;
                let mut arguments = self.arguments(&call.arguments, scope)?;
                arguments.named.push(("caller".into(), Value::Macro(self.macro_value(caller, scope))));
                let value = self.call(&callee, arguments)?;
                self.write(&text(&value), out)?;
            }
            Node::FilterBlock(filters, body) => self.write(&text(&self.filtered(filters, body, scope)?), out)?,
            Node::With(values, body) => {
                let inner = Scope::within(scope);
                for (target, value) in values {
                    let value = self.value(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.body(body, &inner, out);
            }
            Node::Scope(body) => return self.body(body, &Scope::within(scope), out),
            Node::Autoescape(is_on, body) => {
                let is_on = self.value(is_on, scope)?.is_true();
                return self.escaping(is_on, || self.body(body, &Scope::within(scope), out));
            }
            Node::Elsewhere(tag, other) => {
                self.value(other, scope)?;
                return Err(Error::new(format!("'{tag}': a chat template stands alone")));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Done)
    }

    fn write(&self, text: &str, out: &mut String) -> Result<(), Error> {
        self.charge(text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// What a body writes, through filters.
    fn filtered(&self, filters: &[Filter], body: &[Statement], scope: &Arc<Scope>) -> Result<Value, Error> {
        let mut written = String::new();
        self.body(body, &Scope::within(scope), &mut written)?;
        let mut value = self.written(written);
        for filter in filters {
            let arguments = self.arguments(&filter.arguments, scope)?;
            value = filters::apply(self, &filter.name, value, arguments)?;
        }
        Ok(value)
    }

    fn assign(&self, target: &Target, value: Value, scope: &Arc<Scope>) -> Result<(), Error> {
        match target {
            Target::Name(name) => scope.set(name.clone(), value),
            Target::Attribute(owner, name) => match scope.get(owner) {
                Some(Value::Namespace(namespace)) => {
                    super::globals::check_name(name)?;
                    namespace.set(name.clone(), value);
                }
                _ => {
                    return Err(Error::new(format!(
                        "cannot assign attribute '{name}' on non-namespace object '{owner}'"
                    )));
                }
            },
            Target::Tuple(targets) => {
                value.defined()?;
                let values = value.values()?;
                if values.len() != targets.len() {
                    let (expected, found) = (targets.len(), values.len());
                    return Err(Error::new(format!("cannot unpack {found} values, expected {expected}")));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }

    /// A macro with the variables around it.
    fn macro_value(&self, definition: &Arc<Macro>, scope: &Arc<Scope>) -> Arc<MacroValue> {
        self.hold(scope);
        Arc::new(MacroValue { definition: definition.clone(), scope: scope.clone(), escapes: self.escapes() })
    }

    /// A loop over values; `depth` counts the calls of itself around it.
    pub fn for_loop(
        &self,
        node: &Arc<For>,
        values: &Value,
        scope: &Arc<Scope>,
        depth: usize,
        out: &mut String,
    ) -> Result<(), Error> {
        let mut items = values.values()?;
        self.charge(ITERATION * items.len())?;
        if let Some(condition) = &node.condition {
            let mut kept = vec![];
            for item in items {
                let inner = Scope::within(scope);
                self.assign(&node.target, item.clone(), &inner)?;
                if self.value(condition, &inner)?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.body(&node.otherwise, &Scope::within(scope), out)?;
            return Ok(());
        }
        let recursion = node.recursive.then(|| (node.clone(), scope.clone()));
        let the_loop = Arc::new(Loop { items, at: Mutex::new(0), depth, changed: Mutex::default(), recursion });
        for (at, item) in the_loop.items.iter().enumerate() {
            *locked(&the_loop.at) = at;
            let inner = Scope::within(scope);
            if node.recursive {
                self.hold(scope);
            }
            inner.set("loop".into(), Value::Loop(the_loop.clone()));
            self.assign(&node.target, item.clone(), &inner)?;
            if self.body(&node.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// What a macro writes.
    pub fn call_macro(&self, called: &MacroValue, arguments: Arguments) -> Result<Value, Error> {
        let definition = &*called.definition;
        let scope = Scope::within(&called.scope);
        let Arguments { positional, mut named } = arguments;
        let mut take = |name: &str| {
            let at = named.iter().position(|(n, _)| **n == *name)?;
            Some(named.remove(at).1)
        };
        let mut positional = positional.into_iter();
        for (name, default) in &definition.parameters {
            let value = match positional.next().or_else(|| take(name)) {
                Some(value) => value,
                None => match default {
                    Some(default) => self.value(default, &scope)?,
                    None => Value::undefined(format!("parameter '{name}' was not provided")),
                },
            };
            scope.set(name.clone(), value);
        }
        let is_parameter = definition.parameters.iter().any(|(name, _)| &**name == "caller");
        if definition.uses_caller && !is_parameter {
            scope.set("caller".into(), take("caller").unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if definition.uses_kwargs {
            scope.set("kwargs".into(), super::globals::dict_of(named)?);
        } else if let Some((name, _)) = named.first() {
            let called = &definition.name;
            return Err(Error::new(format!("macro '{called}' takes no keyword argument '{name}'")));
        }
        let rest: Vec<Value> = positional.collect();
        if definition.uses_varargs {
            scope.set("varargs".into(), Value::tuple(rest)?);
        } else if !rest.is_empty() {
            let (called, most) = (&definition.name, definition.parameters.len());
            return Err(Error::new(format!("macro '{called}' takes not more than {most} argument(s)")));
        }
        let mut out = String::new();
        self.escaping(called.escapes, || self.deeper(|| self.body(&definition.body, &scope, &mut out)))?;
        Ok(self.written(out))
    }
}
