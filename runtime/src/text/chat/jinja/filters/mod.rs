//! Jinja's filters: `value | name(arguments)`.

pub mod names;
mod numbers;
mod sequences;
mod texts;

use super::Error;
use super::arguments::{Arguments, flag};
use super::attributes;
use super::html::{escape, escaped};
use super::renderer::Renderer;
use super::repr::{shown_type, text};
use super::value::{Value, View};

/// A group of filters: the value of one, or none where it is of another group.
type Group = fn(&Renderer, &str, &Value, Arguments) -> Result<Value, Error>;

/// The filters of each group.
const GROUPS: [(&[&str], Group); 4] = [
    (&names::OWN, own),
    (&names::NUMBERS, numbers::apply),
    (&names::SEQUENCES, sequences::apply),
    (&names::TEXTS, texts::apply),
];

impl Renderer {
    /// What a filter makes of a value.
    pub fn apply(&self, name: &str, value: Value, arguments: Arguments) -> Result<Value, Error> {
        match GROUPS.iter().find(|(names, _)| names.contains(&name)) {
            Some((_, apply)) => apply(self, name, &value, arguments),
            None => Err(Error::new(format!("No filter named '{name}'."))),
        }
    }
}

fn own(renderer: &Renderer, name: &str, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    match name {
        "attr" => {
            let [name] = arguments.bind(name, ["name"], 1)?;
            let name = text(&name.unwrap_or(Value::None));
            value.defined()?;
            let missing = || Value::undefined(format!("{} has no attribute '{name}'", shown_type(value)));
            Ok(attributes::own_attribute(value, &name)?.unwrap_or_else(missing))
        }
        "d" | "default" => {
            let [default, boolean] = arguments.bind(name, ["default_value", "boolean"], 0)?;
            let is_missing = value.is_undefined() || (flag(boolean, false) && !value.is_true());
            Ok(if is_missing { default.unwrap_or_else(|| "".into()) } else { value.clone() })
        }
        "tojson" => super::super::json::tojson(value, arguments).map(Value::from),
        "xmlattr" => {
            let [space] = arguments.bind(name, ["autospace"], 0)?;
            let Value::Dict(dict) = value else { return Err(Error::new("xmlattr wants a mapping")) };
            let mut out = String::new();
            for (key, value) in dict.iter().filter(|(_, value)| !value.is_none() && !value.is_undefined()) {
                let key = text(key);
                if key.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=')) {
                    return Err(Error::new(format!("Invalid character in attribute name: '{key}'")));
                }
                out.push_str(&format!(" {}=\"{}\"", escaped(&key), escape(value)));
            }
            let out = if flag(space, true) { out } else { out.trim_start().to_string() };
            Ok(renderer.written(out))
        }
        _ => {
            arguments.none(name)?;
            match name {
                "count" | "length" => {
                    let wrong = || Error::new(format!("object of type '{}' has no len()", value.type_name()));
                    value.len().map(Value::from).ok_or_else(wrong)
                }
                "e" | "escape" => Ok(Value::Markup(escape(value).into())),
                "forceescape" => Ok(Value::Markup(escaped(&text(value)).into())),
                "items" => match value {
                    Value::Undefined(_) => Value::generator(vec![], None),
                    Value::Dict(dict) => Value::generator(Value::View(View::Items, dict.clone()).values()?, None),
                    _ => Err(Error::new("Can only get item pairs from a mapping.")),
                },
                "list" => {
                    let values = value.values()?;
                    renderer.charge(8 * values.len())?;
                    Value::list(values)
                }
                "safe" => Ok(Value::Markup(text(value).into())),
                _ => Ok(match value {
                    Value::Markup(_) => value.clone(),
                    other => text(other).into(),
                }),
            }
        }
    }
}
