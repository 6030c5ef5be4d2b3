//! Methods of values: Python's, but those that would change a value, which the sandbox does not have.

pub mod split;
pub mod text;

use super::Error;
use super::arguments::{Arguments, int};
use super::attributes::shown_type;
use super::ops;
use super::render::Renderer;
use super::value::{Dict, Value, View, locked};

const OF_DICT: [&str; 6] = ["get", "items", "keys", "values", "copy", "fromkeys"];
const OF_LIST: [&str; 3] = ["index", "count", "copy"];
const OF_TUPLE: [&str; 2] = ["index", "count"];
const OF_LOOP: [&str; 2] = ["cycle", "changed"];
const OF_CYCLER: [&str; 2] = ["next", "reset"];
const OF_INT: [&str; 3] = ["bit_length", "bit_count", "is_integer"];
const OF_FLOAT: [&str; 1] = ["is_integer"];

const CHANGE_LIST: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
const CHANGE_DICT: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];

/// The method of a value with this name.
pub fn named(value: &Value, name: &str) -> Option<&'static str> {
    let names: &[&'static str] = match value {
        Value::Str(_) | Value::Markup(_) => &text::NAMES,
        Value::Dict(_) => &OF_DICT,
        Value::List(_) => &OF_LIST,
        Value::Tuple(_) | Value::Range(_) => &OF_TUPLE,
        Value::Loop(_) => &OF_LOOP,
        Value::Cycler(_) => &OF_CYCLER,
        Value::Bool(_) | Value::Int(_) => &OF_INT,
        Value::Float(_) => &OF_FLOAT,
        // The function `dict` has this one method.
        Value::Global(super::callable::Global::Dict) => &OF_DICT[5..],
        _ => &[],
    };
    names.iter().find(|n| **n == name).copied()
}

/// Whether Python has a method of this name that the sandbox keeps from templates.
pub fn is_unsafe(value: &Value, name: &str) -> bool {
    match value {
        Value::List(_) => CHANGE_LIST.contains(&name),
        Value::Dict(_) => CHANGE_DICT.contains(&name),
        _ => false,
    }
}

/// Calls one of the methods that [`named`] gives.
pub fn call(renderer: &Renderer, value: &Value, name: &str, arguments: Arguments) -> Result<Value, Error> {
    match value {
        Value::Str(own) => text::call(renderer, own, false, name, arguments),
        Value::Markup(own) => text::call(renderer, own, true, name, arguments),
        _ if name == "fromkeys" => from_keys(arguments),
        Value::Dict(dict) => {
            if name == "get" {
                let [key, default] = arguments.bind("get", ["key", "default"], 1)?;
                let found = dict.get(&key.unwrap_or(Value::None))?.cloned();
                return Ok(found.or(default).unwrap_or(Value::None));
            }
            arguments.none(name)?;
            Ok(match name {
                "items" => Value::View(View::Items, dict.clone()),
                "keys" => Value::View(View::Keys, dict.clone()),
                "values" => Value::View(View::Values, dict.clone()),
                _ => value.clone(),
            })
        }
        Value::Loop(the_loop) if name == "cycle" => {
            let at = *locked(&the_loop.at);
            match arguments.positional.len() {
                0 => Err(Error::new("no items for cycling given")),
                count => Ok(arguments.positional[at % count].clone()),
            }
        }
        Value::Loop(the_loop) => {
            let mut last = locked(&the_loop.changed);
            let new = arguments.positional;
            let same = last
                .as_ref()
                .is_some_and(|last| last.len() == new.len() && last.iter().zip(&new).all(|(a, b)| ops::equal(a, b)));
            *last = Some(new);
            Ok(Value::Bool(!same))
        }
        Value::Cycler(cycler) => {
            arguments.none(name)?;
            if name == "next" {
                return Ok(cycler.advance());
            }
            cycler.reset();
            Ok(Value::None)
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            arguments.none(name)?;
            Ok(match (name, value.as_int()) {
                ("bit_length", Some(i)) => Value::Int((128 - i.unsigned_abs().leading_zeros()).into()),
                ("bit_count", Some(i)) => Value::Int(i.unsigned_abs().count_ones().into()),
                (_, Some(_)) => Value::Bool(true),
                _ => Value::Bool(matches!(value, Value::Float(f) if f.fract() == 0.0)),
            })
        }
        Value::List(_) if name == "copy" => Ok(value.clone()),
        _ => {
            let items = value.values()?;
            if name == "count" {
                let [item] = arguments.bind("count", ["value"], 1)?;
                let item = item.unwrap_or(Value::None);
                return Ok(items.iter().filter(|i| ops::equal(i, &item)).count().into());
            }
            let [item, start, stop] = arguments.bind("index", ["value", "start", "stop"], 1)?;
            let item = item.unwrap_or(Value::None);
            let places = [int(start, 0)?, int(stop, items.len() as i128)?];
            let place = |at: i128| {
                let at = if at < 0 { at.saturating_add(items.len() as i128) } else { at };
                at.clamp(0, items.len() as i128) as usize
            };
            let (from, to) = (place(places[0]), place(places[1]));
            let found = (from..to).find(|at| ops::equal(&items[*at], &item));
            let missing = || Error::new(format!("{} is not in {}", super::repr::repr(&item), shown_type(value)));
            found.map(Value::from).ok_or_else(missing)
        }
    }
}

fn from_keys(arguments: Arguments) -> Result<Value, Error> {
    let [keys, value] = arguments.bind("fromkeys", ["iterable", "value"], 1)?;
    let value = value.unwrap_or(Value::None);
    let mut dict = Dict::default();
    for key in keys.unwrap_or(Value::None).values()? {
        dict.insert(key, value.clone())?;
    }
    Value::dict(dict)
}
