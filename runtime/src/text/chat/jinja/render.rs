//! Runs a template: statements. Expressions and calls are in `evaluate`.

use super::Error;
use super::arguments::Arguments;
use super::ast::*;
use super::renderer::Renderer;
use super::repr::text;
use super::value::{Loop, Macro as MacroValue, Scope, Value, locked};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What an iteration of a loop costs, whatever its body does.
const ITERATION: usize = 50;

/// What a template writes.
pub fn render(body: &[Statement], variables: HashMap<Arc<str>, Value>) -> Result<String, Error> {
    let renderer = Renderer::new();
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

impl Renderer {
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

    /// What a body writes, through filters.
    fn filtered(&self, filters: &[Filter], body: &[Statement], scope: &Arc<Scope>) -> Result<Value, Error> {
        let mut written = String::new();
        self.body(body, &Scope::within(scope), &mut written)?;
        let mut value = self.written(written);
        for filter in filters {
            let arguments = self.arguments(&filter.arguments, scope)?;
            value = self.apply(&filter.name, value, arguments)?;
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
