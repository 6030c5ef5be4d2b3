//! Which methods values have.

use super::super::global::Global;
use super::super::value::Value;

#[rustfmt::skip]
const OF_TEXT: [&str; 44] = [
    "capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format", "format_map", "index", "isalnum",
    "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle",
    "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
    "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    "zfill",
];
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
        Value::Str(_) | Value::Markup(_) => &OF_TEXT,
        Value::Dict(_) => &OF_DICT,
        Value::List(_) => &OF_LIST,
        Value::Tuple(_) | Value::Range(_) => &OF_TUPLE,
        Value::Loop(_) => &OF_LOOP,
        Value::Cycler(_) => &OF_CYCLER,
        Value::Bool(_) | Value::Int(_) => &OF_INT,
        Value::Float(_) => &OF_FLOAT,
        // The function `dict` has this one method.
        Value::Global(Global::Dict) => &OF_DICT[5..],
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
