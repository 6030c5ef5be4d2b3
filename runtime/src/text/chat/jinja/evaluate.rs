//! Runs a template: expressions and calls.

use super::Error;
use super::arguments::Arguments;
use super::ast::{self, Constant, Expression};
use super::attributes;
use super::global::Global;
use super::globals;
use super::methods;
use super::ops;
use super::predicates;
use super::renderer::Renderer;
use super::value::{Dict, Loop, Scope, Value};
use std::sync::Arc;

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Value {
        match constant {
            Constant::None => Value::None,
            Constant::Bool(b) => Value::Bool(*b),
            Constant::Int(i) => Value::Int(*i),
            Constant::Float(f) => Value::Float(*f),
            Constant::Str(text) => Value::Str(text.clone()),
        }
    }
}

impl Renderer {
    /// An expression's value.
    pub fn value(&self, expression: &Expression, scope: &Arc<Scope>) -> Result<Value, Error> {
        self.deeper(|| match expression {
            Expression::Constant(constant) => Ok(constant.into()),
            Expression::Name(name) => Ok(self.variable(name, scope)),
            Expression::Attribute(value, name) => attributes::attribute(&self.value(value, scope)?, name),
            Expression::Item(value, key) => attributes::item(&self.value(value, scope)?, &self.value(key, scope)?),
            Expression::Not(value) => Ok(Value::Bool(!self.value(value, scope)?.is_true())),
            Expression::Negative(value) => ops::signed(&self.value(value, scope)?, true),
            Expression::Positive(value) => ops::signed(&self.value(value, scope)?, false),
            Expression::Binary(op, sides) => {
                ops::binary(self, *op, &self.value(&sides[0], scope)?, &self.value(&sides[1], scope)?)
            }
            Expression::Filter(value, filter) => self.filter(value, filter, scope),
            Expression::Test(value, test) => self.test(value, test, scope),
            Expression::Call(call) => {
                let callee = self.value(&call.callee, scope)?;
                self.call(&callee, self.arguments(&call.arguments, scope)?)
            }
            Expression::And(values) => self.first(values, false, scope),
            Expression::Or(values) => self.first(values, true, scope),
            Expression::Conditional(parts) => self.conditional(parts, scope),
            Expression::Compare(first, rest) => self.comparison(first, rest, scope),
            Expression::List(values) => Value::list(self.values(values, scope)?),
            Expression::Tuple(values) => Value::tuple(self.values(values, scope)?),
            Expression::Dict(entries) => self.dict(entries, scope),
            Expression::Slice(value, bounds) => self.slice(value, bounds, scope),
        })
    }

    fn variable(&self, name: &str, scope: &Scope) -> Value {
        let global = || Global::named(name).map(Value::Global);
        scope.get(name).or_else(global).unwrap_or_else(|| Value::undefined(format!("'{name}' is undefined")))
    }

    fn values(&self, values: &[Expression], scope: &Arc<Scope>) -> Result<Vec<Value>, Error> {
        values.iter().map(|value| self.value(value, scope)).collect()
    }

    /// The first value that is true (or false), or the last one.
    fn first(&self, values: &[Expression], truth: bool, scope: &Arc<Scope>) -> Result<Value, Error> {
        let mut found = Value::None;
        for value in values {
            found = self.value(value, scope)?;
            if found.is_true() == truth {
                break;
            }
        }
        Ok(found)
    }

    fn conditional(
        &self,
        (condition, value, otherwise): &(Expression, Expression, Option<Expression>),
        scope: &Arc<Scope>,
    ) -> Result<Value, Error> {
        match (self.value(condition, scope)?.is_true(), otherwise) {
            (true, _) => self.value(value, scope),
            (false, Some(otherwise)) => self.value(otherwise, scope),
            (false, None) => {
                Ok(Value::undefined("the inline if-expression evaluated to false and no else section was defined."))
            }
        }
    }

    /// `a < b < c`: each with the next, as far as they hold.
    fn comparison(
        &self,
        first: &Expression,
        rest: &[(ast::Comparison, Expression)],
        scope: &Arc<Scope>,
    ) -> Result<Value, Error> {
        let mut left = self.value(first, scope)?;
        for (op, right) in rest {
            let right = self.value(right, scope)?;
            if !ops::compare(*op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn dict(&self, entries: &[(Expression, Expression)], scope: &Arc<Scope>) -> Result<Value, Error> {
        let mut dict = Dict::default();
        for (key, value) in entries {
            dict.insert(self.value(key, scope)?, self.value(value, scope)?)?;
        }
        Value::dict(dict)
    }

    fn slice(&self, value: &Expression, bounds: &[Option<Expression>; 3], scope: &Arc<Scope>) -> Result<Value, Error> {
        let value = self.value(value, scope)?;
        let mut at = [None; 3];
        for (at, bound) in at.iter_mut().zip(bounds) {
            let Some(bound) = bound else { continue };
            let bound = self.value(bound, scope)?;
            if !bound.is_none() {
                bound.defined()?;
                let wrong = || Error::new("slice indices must be integers or None");
                *at = Some(bound.as_int().ok_or_else(wrong)?);
            }
        }
        self.charge(value.as_str().map_or(8 * value.len().unwrap_or(0), str::len))?;
        ops::slice(&value, at)
    }

    fn filter(&self, value: &Expression, filter: &ast::Filter, scope: &Arc<Scope>) -> Result<Value, Error> {
        let value = self.value(value, scope)?;
        self.apply(&filter.name, value, self.arguments(&filter.arguments, scope)?)
    }

    fn test(&self, value: &Expression, test: &ast::Filter, scope: &Arc<Scope>) -> Result<Value, Error> {
        let value = self.value(value, scope)?;
        predicates::holds(&test.name, &value, self.arguments(&test.arguments, scope)?).map(Value::Bool)
    }

    /// The values of a call's arguments.
    pub fn arguments(&self, arguments: &ast::Arguments, scope: &Arc<Scope>) -> Result<Arguments, Error> {
        let mut positional = self.values(&arguments.positional, scope)?;
        let mut named = vec![];
        for (name, value) in &arguments.named {
            named.push((name.clone(), self.value(value, scope)?));
        }
        if let Some(sequence) = &arguments.sequence {
            positional.extend(self.value(sequence, scope)?.values()?);
        }
        if let Some(mapping) = &arguments.mapping {
            let Value::Dict(dict) = self.value(mapping, scope)? else {
                return Err(Error::new("argument after ** must be a mapping"));
            };
            for (key, value) in dict.iter() {
                let name = key.as_str().ok_or_else(|| Error::new("keywords must be strings"))?;
                named.push((name.into(), value.clone()));
            }
        }
        Ok(Arguments { positional, named })
    }

    /// Calls a value.
    pub fn call(&self, callee: &Value, arguments: Arguments) -> Result<Value, Error> {
        match callee {
            Value::Method(method) => methods::call(self, &method.0, method.1, arguments),
            Value::Global(function) => globals::call(self, *function, arguments),
            Value::Macro(called) => self.call_macro(called, arguments),
            Value::Joiner(joiner) => {
                arguments.none("joiner")?;
                Ok(joiner.next())
            }
            Value::Loop(the_loop) => self.recurse(the_loop, arguments),
            other => {
                other.defined()?;
                Err(Error::new(format!("'{}' object is not callable", other.type_name())))
            }
        }
    }

    /// A recursive loop over other values.
    fn recurse(&self, the_loop: &Loop, arguments: Arguments) -> Result<Value, Error> {
        let [values] = arguments.bind("loop", ["iterable"], 1)?;
        let Some((node, scope)) = &the_loop.recursion else {
            return Err(Error::new("The loop must have the 'recursive' marker to be called recursively."));
        };
        let mut out = String::new();
        self.for_loop(node, &values.unwrap_or(Value::None), scope, the_loop.depth + 1, &mut out)?;
        Ok(self.written(out))
    }
}
