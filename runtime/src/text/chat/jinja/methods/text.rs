//! Methods of texts.

use super::super::Error;
use super::super::arguments::{Arguments, flag, int, text};
use super::super::format;
use super::super::html::escape;
use super::super::lexer::is_space;
use super::super::predicates::is_cased;
use super::super::renderer::Renderer;
use super::super::repr;
use super::super::value::Value;
use super::split;

/// Calls the method of a text, or of HTML, whose methods give HTML and escape what comes in.
pub fn call(renderer: &Renderer, own: &str, is_markup: bool, name: &str, arguments: Arguments) -> Result<Value, Error> {
    let made = |text: String| -> Result<Value, Error> {
        renderer.charge(text.len())?;
        Ok(if is_markup { Value::Markup(text.into()) } else { text.into() })
    };
    let is_all = |is: fn(char) -> bool| Ok(Value::Bool(!own.is_empty() && own.chars().all(is)));
    renderer.charge(own.len())?;
    match name {
        "format" => return made(format::braces(renderer, own, &arguments, is_markup)?),
        "capitalize" | "casefold" | "lower" | "swapcase" | "title" | "upper" => {
            arguments.none(name)?;
            return made(match name {
                "capitalize" => capitalize(own),
                "casefold" => own.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
                "lower" => own.to_lowercase(),
                "swapcase" => own.chars().map(swap_case).collect(),
                "title" => title(own, is_caseless),
                _ => own.to_uppercase(),
            });
        }
        _ if name.starts_with("is") => arguments.none(name)?,
        "center" | "ljust" | "rjust" => {
            let [width, fill] = arguments.bind(name, ["width", "fillchar"], 1)?;
            return made(aligned(renderer, own, name, int(width, 0)?, text(fill)?.as_deref().unwrap_or(" "))?);
        }
        "count" | "find" | "rfind" | "index" | "rindex" => {
            let [part, start, end] = arguments.bind(name, ["sub", "start", "end"], 1)?;
            let part =
                text(part)?.ok_or_else(|| Error::new(format!("{name}() must have a str to look for, not None")))?;
            return search(own, name, &part, start, end);
        }
        "startswith" | "endswith" => {
            let [parts, start, end] = arguments.bind(name, ["prefix", "start", "end"], 1)?;
            return is_at_end(own, name, &parts.unwrap_or(Value::None), start, end);
        }
        "expandtabs" => {
            let [size] = arguments.bind(name, ["tabsize"], 0)?;
            return made(expand_tabs(renderer, own, int(size, 8)?)?);
        }
        "format_map" => {
            let [mapping] = arguments.bind(name, ["mapping"], 1)?;
            let Some(Value::Dict(dict)) = mapping else { return Err(Error::new("format_map() needs a mapping")) };
            let named = dict.iter().filter_map(|(key, value)| Some((key.as_str()?.into(), value.clone())));
            let arguments = Arguments { positional: vec![], named: named.collect() };
            return made(format::braces(renderer, own, &arguments, is_markup)?);
        }
        "join" => {
            let [items] = arguments.bind(name, ["iterable"], 1)?;
            return made(join(renderer, own, is_markup, &items.unwrap_or(Value::None))?);
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = arguments.bind(name, ["chars"], 0)?;
            return made(strip(own, name, text(chars)?.as_deref()).to_string());
        }
        "partition" | "rpartition" => {
            let [separator] = arguments.bind(name, ["sep"], 1)?;
            let separator = text(separator)?.filter(|s| !s.is_empty()).ok_or_else(|| Error::new("empty separator"))?;
            let parts = match (name, own.split_once(&*separator), own.rsplit_once(&*separator)) {
                ("partition", Some((before, after)), _) | ("rpartition", _, Some((before, after))) => {
                    [before, &separator, after]
                }
                ("partition", ..) => [own, "", ""],
                _ => ["", "", own],
            };
            return Value::tuple(parts.into_iter().map(|part| made(part.to_string())).collect::<Result<_, _>>()?);
        }
        "removeprefix" | "removesuffix" => {
            let [part] = arguments.bind(name, ["affix"], 1)?;
            let part = text(part)?.ok_or_else(|| Error::new(format!("{name}() argument must be str, not None")))?;
            let without = match name {
                "removeprefix" => own.strip_prefix(&*part),
                _ => own.strip_suffix(&*part),
            };
            return made(without.unwrap_or(own).to_string());
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"], 2)?;
            let wrong = || Error::new("replace() arguments must be str, not None");
            let old = text(old)?.ok_or_else(wrong)?;
            let new = match (is_markup, new) {
                (true, Some(new)) => escape(&new).into(),
                (_, new) => text(new)?.ok_or_else(wrong)?,
            };
            return made(replace(renderer, own, &old, &new, int(count, -1)?)?);
        }
        "split" | "rsplit" => {
            let [separator, most] = arguments.bind(name, ["sep", "maxsplit"], 0)?;
            let separator = text(separator)?;
            let most = usize::try_from(int(most, -1)?).unwrap_or(usize::MAX);
            let parts = split::split(own, separator.as_deref(), most, name == "rsplit")?;
            return Value::list(parts.into_iter().map(|part| made(part.to_string())).collect::<Result<_, _>>()?);
        }
        "splitlines" => {
            let [keep] = arguments.bind(name, ["keepends"], 0)?;
            let lines = split::lines(own, flag(keep, false));
            return Value::list(lines.into_iter().map(|line| made(line.to_string())).collect::<Result<_, _>>()?);
        }
        _ => {
            let [width] = arguments.bind(name, ["width"], 1)?;
            let signed = own.starts_with(['+', '-']);
            let (sign, digits) = own.split_at(usize::from(signed));
            let filled = aligned(renderer, digits, "rjust", int(width, 0)? - i128::from(signed), "0")?;
            return made(format!("{sign}{filled}"));
        }
    }
    match name {
        "isalnum" => is_all(char::is_alphanumeric),
        "isalpha" => is_all(char::is_alphabetic),
        "isascii" => Ok(Value::Bool(own.is_ascii())),
        "isdecimal" => is_all(|c| c.is_numeric() && !is_other_digit(c) && !is_other_number(c)),
        "isdigit" => is_all(|c| c.is_numeric() && !is_other_number(c)),
        "isnumeric" => is_all(char::is_numeric),
        "isidentifier" => {
            let starts = own.starts_with(|c: char| c.is_alphabetic() || c == '_');
            Ok(Value::Bool(starts && own.chars().all(|c| c.is_alphanumeric() || c == '_')))
        }
        "islower" => Ok(Value::Bool(is_cased(own, char::is_lowercase, char::is_uppercase))),
        "isupper" => Ok(Value::Bool(is_cased(own, char::is_uppercase, char::is_lowercase))),
        "isprintable" => Ok(Value::Bool(own.chars().all(repr::is_printable))),
        "isspace" => is_all(is_space),
        _ => {
            let cased = own.chars().any(|c| c.is_uppercase() || c.is_lowercase());
            Ok(Value::Bool(cased && title(own, is_caseless) == own))
        }
    }
}

/// Digits that are no decimals: superscripts, subscripts, digits in circles.
fn is_other_digit(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '⁰'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐' | '⓪' | '❶'..='❾')
}

/// Numbers that are no digits: fractions, Roman numerals.
fn is_other_number(c: char) -> bool {
    matches!(c, '¼'..='¾' | '⅐'..='↉' | '⑩'..='⑳' | '㉑'..='㊿' | '〇')
}

fn swap_case(c: char) -> String {
    match c.is_uppercase() {
        true => c.to_lowercase().collect(),
        false => c.to_uppercase().collect(),
    }
}

/// The first letter large, the others small.
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |first| first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect())
}

/// The first letter of each word large, the others small; `is_between` says what stands between words.
pub fn title(text: &str, is_between: fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut within = false;
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        within = !is_between(c);
    }
    out
}

/// Where the method `title` sees words end: at whatever has no case.
fn is_caseless(c: char) -> bool {
    !c.is_uppercase() && !c.is_lowercase()
}

pub fn aligned(renderer: &Renderer, text: &str, how: &str, width: i128, fill: &str) -> Result<String, Error> {
    if fill.chars().count() != 1 {
        return Err(Error::new("The fill character must be exactly one character long"));
    }
    let length = text.chars().count();
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    let missing = width.saturating_sub(length);
    renderer.charge(missing)?;
    let left = match how {
        "ljust" => 0,
        "rjust" => missing,
        // Python's way of halving.
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(fill.repeat(left) + text + &fill.repeat(missing - left))
}

pub fn strip<'a>(text: &'a str, how: &str, chars: Option<&str>) -> &'a str {
    let is_stripped = |c: char| chars.map_or(is_space(c), |chars| chars.contains(c));
    match how {
        "lstrip" => text.trim_start_matches(is_stripped),
        "rstrip" => text.trim_end_matches(is_stripped),
        _ => text.trim_matches(is_stripped),
    }
}

pub fn replace(renderer: &Renderer, text: &str, old: &str, new: &str, count: i128) -> Result<String, Error> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // Between any two characters there is an empty text.
    let places = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    renderer.charge(text.len().saturating_add(places.min(count).saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

fn join(renderer: &Renderer, separator: &str, is_markup: bool, items: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in items.values()?.into_iter().enumerate() {
        let item = match (is_markup, item.as_str()) {
            (true, _) => escape(&item),
            (false, Some(text)) => text.to_string(),
            (false, None) => {
                item.defined()?;
                let found = item.type_name();
                return Err(Error::new(format!("sequence item {i}: expected str instance, {found} found")));
            }
        };
        renderer.charge(separator.len() + item.len())?;
        out.push_str(if i > 0 { separator } else { "" });
        out.push_str(&item);
    }
    Ok(out)
}

fn expand_tabs(renderer: &Renderer, text: &str, size: i128) -> Result<String, Error> {
    let size = usize::try_from(size).unwrap_or(0);
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                renderer.charge(blanks)?;
                out.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            c => {
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
                out.push(c);
            }
        }
    }
    Ok(out)
}

/// The part of a text between two places, in characters, and where it starts; none where they are no part of it.
fn part(text: &str, start: Option<Value>, end: Option<Value>) -> Result<Option<(usize, &str)>, Error> {
    let length = text.chars().count() as i128;
    let place = |at: i128| (if at < 0 { at.saturating_add(length) } else { at }).max(0);
    let (start, end) = (place(int(start, 0)?), place(int(end, length)?).min(length));
    if start > end {
        return Ok(None);
    }
    let byte = |at: i128| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((start as usize, &text[byte(start)..byte(end)])))
}

fn search(text: &str, name: &str, sought: &str, start: Option<Value>, end: Option<Value>) -> Result<Value, Error> {
    let part = part(text, start, end)?;
    if name == "count" {
        return Ok(part.map_or(0, |(_, part)| part.matches(sought).count()).into());
    }
    let found = part.and_then(|(start, part)| {
        let byte = if name.starts_with('r') { part.rfind(sought) } else { part.find(sought) };
        byte.map(|byte| start + part[..byte].chars().count())
    });
    match found {
        Some(at) => Ok(at.into()),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Error::new("substring not found")),
    }
}

fn is_at_end(text: &str, name: &str, sought: &Value, start: Option<Value>, end: Option<Value>) -> Result<Value, Error> {
    let part = part(text, start, end)?;
    let is_there = |sought: &str| {
        part.is_some_and(|(_, part)| match name {
            "startswith" => part.starts_with(sought),
            _ => part.ends_with(sought),
        })
    };
    let wrong = |found: &Value| {
        let found = found.type_name();
        Error::new(format!("{name} first arg must be str or a tuple of str, not {found}"))
    };
    match sought {
        Value::Tuple(items) => {
            for item in items.iter() {
                if is_there(item.as_str().ok_or_else(|| wrong(item))?) {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        other => {
            other.defined()?;
            Ok(Value::Bool(is_there(other.as_str().ok_or_else(|| wrong(other))?)))
        }
    }
}
