//! Which filters there are, by groups.

#[rustfmt::skip]
pub const OWN: [&str; 14] = [
    "attr", "count", "d", "default", "e", "escape", "forceescape", "items", "length", "list", "safe", "string", "tojson",
    "xmlattr",
];

pub const NUMBERS: [&str; 5] = ["abs", "filesizeformat", "float", "int", "round"];

#[rustfmt::skip]
pub const SEQUENCES: [&str; 18] = [
    "batch", "dictsort", "first", "groupby", "last", "map", "max", "min", "reject", "rejectattr", "reverse", "select",
    "selectattr", "slice", "sort", "sum", "unique", "random",
];

#[rustfmt::skip]
pub const TEXTS: [&str; 14] = [
    "capitalize", "center", "format", "indent", "join", "lower", "replace", "striptags", "title", "trim", "truncate", "upper",
    "urlencode", "wordcount",
];

/// Whether there is a filter of this name.
pub fn is_known(name: &str) -> bool {
    [&OWN[..], &NUMBERS, &SEQUENCES, &TEXTS].iter().any(|names| names.contains(&name))
}
