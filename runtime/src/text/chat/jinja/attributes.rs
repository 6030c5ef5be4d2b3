//! Attributes and items of values, as Jinja's sandbox finds them.

use super::Error;
use super::ast::Name;
use super::methods::names;
use super::repr::{repr, shown_type};
use super::value::{Key, Value, locked};

/// `value.name`: an attribute, or else an item.
pub fn attribute(value: &Value, name: &Name) -> Result<Value, Error> {
    value.defined()?;
    if let Some(found) = own_attribute(value, name)? {
        return Ok(found);
    }
    match value {
        Value::Dict(dict) => Ok(dict.get_text(name).cloned().unwrap_or_else(|| missing(value, name))),
        _ => Ok(missing(value, name)),
    }
}

/// `value[key]`: an item, or else an attribute.
pub fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    value.defined()?;
    let found = match value {
        // A key that cannot be one finds nothing.
        Value::Dict(dict) => match Key::of(key) {
            Ok(_) => dict.get(key)?.cloned(),
            Err(_) => None,
        },
        _ => key.as_int().and_then(|index| item_at(value, index)),
    };
    if let Some(found) = found {
        return Ok(found);
    }
    match key {
        Value::Str(name) | Value::Markup(name) => {
            Ok(own_attribute(value, name)?.unwrap_or_else(|| missing(value, name)))
        }
        other => Ok(Value::undefined(format!("{} has no element {}", shown_type(value), repr(other)))),
    }
}

/// `value[index]` of what has positions; none where there is nothing at the index.
fn item_at(value: &Value, index: i128) -> Option<Value> {
    let place = |length: usize| {
        let at = if index < 0 { index + length as i128 } else { index };
        usize::try_from(at).ok().filter(|at| *at < length)
    };
    match value {
        Value::Str(s) => s.chars().nth(place(s.chars().count())?).map(|c| c.to_string().into()),
        Value::Markup(s) => s.chars().nth(place(s.chars().count())?).map(|c| Value::Markup(c.to_string().into())),
        Value::List(items) | Value::Tuple(items) => items.get(place(items.len())?).cloned(),
        Value::Range(range) => Some(Value::Int(range.start + range.step * place(range.len())? as i128)),
        _ => None,
    }
}

/// What Python finds as an attribute: a method, or what the environment's own things have.
pub fn own_attribute(value: &Value, name: &str) -> Result<Option<Value>, Error> {
    if let Value::Namespace(namespace) = value {
        return Ok(namespace.get(name));
    }
    if let Some(method) = names::named(value, name) {
        return Value::method(value.clone(), method).map(Some);
    }
    if names::is_unsafe(value, name) {
        let why = format!("access to attribute '{name}' of '{}' object is unsafe", value.type_name());
        return Ok(Some(Value::undefined(why)));
    }
    Ok(match value {
        Value::Tuple(items) if items.is_group => match name {
            "grouper" => items.first().cloned(),
            "list" => items.get(1).cloned(),
            _ => None,
        },
        Value::Loop(the_loop) => {
            let (at, length) = (*locked(&the_loop.at), the_loop.items.len());
            let neighbour = |at: Option<usize>, which: &str| {
                let found = at.and_then(|at| the_loop.items.get(at).cloned());
                found.unwrap_or_else(|| Value::undefined(format!("there is no {which} item")))
            };
            match name {
                "index" => Some((at + 1).into()),
                "index0" => Some(at.into()),
                "revindex" => Some((length - at).into()),
                "revindex0" => Some((length - at - 1).into()),
                "first" => Some((at == 0).into()),
                "last" => Some((at + 1 == length).into()),
                "length" => Some(length.into()),
                "depth" => Some((the_loop.depth + 1).into()),
                "depth0" => Some(the_loop.depth.into()),
                "previtem" => Some(neighbour(at.checked_sub(1), "previous")),
                "nextitem" => Some(neighbour(Some(at + 1), "next")),
                _ => None,
            }
        }
        Value::Cycler(cycler) if name == "current" => Some(cycler.current()),
        Value::Macro(definition) if name == "name" => Some(Value::Str(definition.definition.name.clone())),
        _ => None,
    })
}

fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("{} has no attribute '{name}'", shown_type(value)))
}
