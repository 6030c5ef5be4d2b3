//! Jinja's tests: `value is name`.

use super::Error;
use super::arguments::Arguments;
use super::ast::{Binary, Comparison};
use super::filters::names::is_known;
use super::ops;
use super::repr::text;
use super::value::Value;

/// The tests, with the number of their arguments.
#[rustfmt::skip]
const TESTS: [(&str, usize); 39] = [
    ("odd", 0), ("even", 0), ("divisibleby", 1), ("defined", 0), ("undefined", 0), ("filter", 0), ("test", 0), ("none", 0),
    ("boolean", 0), ("false", 0), ("true", 0), ("integer", 0), ("float", 0), ("lower", 0), ("upper", 0), ("string", 0),
    ("mapping", 0), ("number", 0), ("sequence", 0), ("iterable", 0), ("callable", 0), ("sameas", 1), ("escaped", 0),
    ("in", 1), ("==", 1), ("eq", 1), ("equalto", 1), ("!=", 1), ("ne", 1), (">", 1), ("gt", 1), ("greaterthan", 1),
    (">=", 1), ("ge", 1), ("<", 1), ("lt", 1), ("lessthan", 1), ("<=", 1), ("le", 1),
];

/// Whether a test holds of a value.
pub fn holds(name: &str, value: &Value, arguments: Arguments) -> Result<bool, Error> {
    let Some((_, count)) = TESTS.iter().find(|(test, _)| *test == name) else {
        return Err(Error::new(format!("No test named '{name}'.")));
    };
    let other = match count {
        0 => {
            arguments.none(name)?;
            Value::None
        }
        _ => arguments.bind(name, ["other"], 1)?[0].take().unwrap_or(Value::None),
    };
    let remainder = |divisor: &Value| ops::number_op(Binary::Remainder, value, divisor);
    let is_remainder = |divisor: &Value, rest: i128| Ok(ops::equal(&remainder(divisor)?, &Value::Int(rest)));
    Ok(match name {
        "odd" => is_remainder(&Value::Int(2), 1)?,
        "even" => is_remainder(&Value::Int(2), 0)?,
        "divisibleby" => is_remainder(&other, 0)?,
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "filter" => value.as_str().is_some_and(is_known),
        "test" => value.as_str().is_some_and(|name| TESTS.iter().any(|(test, _)| *test == name)),
        "none" => value.is_none(),
        "boolean" => matches!(value, Value::Bool(_)),
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "lower" => is_cased(&text(value), char::is_lowercase, char::is_uppercase),
        "upper" => is_cased(&text(value), char::is_uppercase, char::is_lowercase),
        "string" => value.as_str().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        // What has a length and items: a dictionary too, but no view of one.
        "sequence" => {
            matches!(
                value,
                Value::Undefined(_)
                    | Value::Str(_)
                    | Value::Markup(_)
                    | Value::List(_)
                    | Value::Tuple(_)
                    | Value::Dict(_)
                    | Value::Range(_)
            )
        }
        "iterable" => value.is_iterable() || matches!(value, Value::Loop(_)),
        "callable" => {
            matches!(
                value,
                Value::Undefined(_)
                    | Value::Method(_)
                    | Value::Global(_)
                    | Value::Macro(_)
                    | Value::Loop(_)
                    | Value::Joiner(_)
            )
        }
        "sameas" => ops::same(value, &other),
        "escaped" => matches!(value, Value::Markup(_)),
        "in" => ops::contains(&other, value)?,
        "==" | "eq" | "equalto" => ops::equal(value, &other),
        "!=" | "ne" => !ops::equal(value, &other),
        ">" | "gt" | "greaterthan" => ops::compare(Comparison::Greater, value, &other)?,
        ">=" | "ge" => ops::compare(Comparison::GreaterEqual, value, &other)?,
        "<" | "lt" | "lessthan" => ops::compare(Comparison::Less, value, &other)?,
        _ => ops::compare(Comparison::LessEqual, value, &other)?,
    })
}

/// Python's `islower` and `isupper`: some of the one case, none of the other.
pub fn is_cased(text: &str, is: fn(char) -> bool, is_other: fn(char) -> bool) -> bool {
    text.chars().any(is) && !text.chars().any(is_other)
}
