//! Methods of values: Python's, but those that would change a value, which the sandbox does not have.

pub mod names;
pub mod split;
pub mod text;

use super::Error;
use super::arguments::{Arguments, int};
use super::ops;
use super::renderer::Renderer;
use super::repr::shown_type;
use super::value::{Dict, Value, View, locked};

/// Calls one of the methods that [`names::named`] gives.
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
