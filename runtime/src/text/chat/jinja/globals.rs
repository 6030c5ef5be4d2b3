//! The functions of the environment.

use super::Error;
use super::arguments::{Arguments, int, text};
use super::global::Global;
use super::renderer::Renderer;
use super::repr;
use super::value::{Cycler, Dict, Joiner, Range, Value};
use std::sync::Arc;

/// How long a range may be, in Jinja's sandbox.
const MAX_RANGE: usize = 100_000;

/// Calls one.
pub fn call(renderer: &Renderer, function: Global, arguments: Arguments) -> Result<Value, Error> {
    match function {
        Global::Range => {
            let [first, second, step] = arguments.bind("range", ["start", "stop", "step"], 1)?;
            let (start, stop) = match second {
                Some(_) => (int(first, 0)?, int(second, 0)?),
                None => (0, int(first, 0)?),
            };
            let step = int(step, 1)?;
            if step == 0 {
                return Err(Error::new("range() arg 3 must not be zero"));
            }
            let range = Range { start, stop, step };
            match range.len() <= MAX_RANGE {
                true => Ok(Value::Range(range)),
                false => Err(Error::new(format!("range too big: the sandbox allows {MAX_RANGE} items"))),
            }
        }
        Global::Dict => {
            let Arguments { positional, named } = arguments;
            let mut dict = Dict::default();
            for value in positional {
                match &value {
                    Value::Dict(from) => {
                        for (key, value) in from.iter() {
                            dict.insert(key.clone(), value.clone())?;
                        }
                    }
                    pairs => {
                        for pair in pairs.values()? {
                            let mut pair = pair.values()?.into_iter();
                            let (Some(key), Some(value), None) = (pair.next(), pair.next(), pair.next()) else {
                                return Err(Error::new("dict() expected pairs of a key and a value"));
                            };
                            dict.insert(key, value)?;
                        }
                    }
                }
            }
            for (name, value) in named {
                dict.insert(Value::Str(name), value)?;
            }
            Value::dict(dict)
        }
        Global::Namespace => {
            let namespace = renderer.namespace();
            let Value::Dict(variables) = call(renderer, Global::Dict, arguments)? else { return Ok(Value::None) };
            for (key, value) in variables.iter() {
                let name: Arc<str> = repr::text(key).into();
                check_name(&name)?;
                namespace.set(name, value.clone());
            }
            Ok(Value::Namespace(namespace))
        }
        Global::Cycler => {
            let Arguments { positional, named } = arguments;
            Arguments { positional: vec![], named }.none("cycler")?;
            match positional.is_empty() {
                true => Err(Error::new("at least one item has to be provided")),
                false => Ok(Value::Cycler(Arc::new(Cycler::new(positional)))),
            }
        }
        Global::Joiner => {
            let [separator] = arguments.bind("joiner", ["sep"], 0)?;
            Ok(Value::Joiner(Arc::new(Joiner::new(text(separator)?.unwrap_or_else(|| ", ".into())))))
        }
        Global::RaiseException => {
            let [message] = arguments.bind("raise_exception", ["message"], 1)?;
            Err(Error::new(repr::text(&message.unwrap_or(Value::None))))
        }
        Global::StrftimeNow => {
            let [format] = arguments.bind("strftime_now", ["format"], 1)?;
            let format = text(format)?.unwrap_or_default();
            jiff::fmt::strtime::format(portable(&format), &jiff::Zoned::now())
                .map(Value::from)
                .map_err(|e| Error::new(format!("strftime_now(\"{format}\"): {e}")))
        }
    }
}

/// A format with those directives written out that mean something else to Python: its times have no zone and no locale.
fn portable(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let end = rest[at + 1..].find(|c| !"-_0^#".contains(c)).map_or(rest.len(), |end| at + 1 + end);
        let Some(directive) = rest[end..].chars().next() else { break };
        out.push_str(&rest[..at]);
        match directive {
            'c' => out.push_str("%a %b %e %H:%M:%S %Y"),
            'x' => out.push_str("%m/%d/%y"),
            'r' => out.push_str("%I:%M:%S %p"),
            'f' => out.push_str("%6f"),
            'z' | 'Z' => {}
            _ => out.push_str(&rest[at..end + directive.len_utf8()]),
        }
        rest = &rest[end + directive.len_utf8()..];
    }
    out + rest
}

/// A dictionary of named values.
pub fn dict_of(named: Vec<(Arc<str>, Value)>) -> Result<Value, Error> {
    let mut dict = Dict::default();
    for (name, value) in named {
        dict.insert(Value::Str(name), value)?;
    }
    Value::dict(dict)
}

/// transformers' namespaces take no names that begin so.
pub fn check_name(name: &str) -> Result<(), Error> {
    match name.starts_with('_') {
        true => Err(Error::new(format!("a namespace takes no name that begins with an underscore, such as '{name}'"))),
        false => Ok(()),
    }
}
