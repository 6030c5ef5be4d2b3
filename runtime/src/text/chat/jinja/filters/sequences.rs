//! Filters of lists, dictionaries, and whatever else is looped over.

use super::super::Error;
use super::super::arguments::{Arguments, flag, int, text as text_argument};
use super::super::ast::{Binary, Comparison};
use super::super::attributes;
use super::super::ops::{binary, compare, equal, sorted};
use super::super::predicates;
use super::super::renderer::Renderer;
use super::super::value::{Key, Value};
use std::collections::HashSet;

pub fn apply(renderer: &Renderer, name: &str, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    match name {
        "batch" => {
            let [count, fill] = arguments.bind(name, ["linecount", "fill_with"], 1)?;
            batch(renderer, value, count, fill)
        }
        "slice" => {
            let [count, fill] = arguments.bind(name, ["slices", "fill_with"], 1)?;
            slices(renderer, value, count, fill)
        }
        "dictsort" => {
            let [sensitive, by, reverse] = arguments.bind(name, ["case_sensitive", "by", "reverse"], 0)?;
            let place = match text_argument(by)?.as_deref() {
                None | Some("key") => 0,
                Some("value") => 1,
                _ => return Err(Error::new("You can only sort by either \"key\" or \"value\"")),
            };
            let Value::Dict(dict) = value else { return Err(Error::new("dictsort wants a mapping")) };
            let getter = Getter { parts: Some(vec![Value::Int(place)]), default: None, folds: !flag(sensitive, false) };
            let pairs = Value::View(super::super::value::View::Items, dict.clone()).values()?;
            Value::list(sort(&pairs, &[getter], flag(reverse, false))?)
        }
        "sort" => {
            let [reverse, sensitive, attribute] =
                arguments.bind(name, ["reverse", "case_sensitive", "attribute"], 0)?;
            let folds = !flag(sensitive, false);
            let attributes = match &attribute {
                Some(Value::Str(names)) => names.split(',').map(Value::from).map(Some).collect(),
                _ => vec![attribute],
            };
            let getters = attributes.into_iter().map(|attribute| Ok(Getter::new(attribute, None)?.folding(folds)));
            Value::list(sort(&value.values()?, &getters.collect::<Result<Vec<_>, Error>>()?, flag(reverse, false))?)
        }
        "groupby" => {
            let [attribute, default, sensitive] =
                arguments.bind(name, ["attribute", "default", "case_sensitive"], 1)?;
            groups(value, Getter::new(attribute, default)?, !flag(sensitive, false))
        }
        "map" => map(renderer, value, arguments),
        "select" | "reject" | "selectattr" | "rejectattr" => select(name, value, arguments),
        "min" | "max" => {
            let [sensitive, attribute] = arguments.bind(name, ["case_sensitive", "attribute"], 0)?;
            let getter = Getter::new(attribute, None)?.folding(!flag(sensitive, false));
            let op = if name == "min" { Comparison::Less } else { Comparison::Greater };
            let mut best: Option<(Value, Value)> = None;
            for item in value.values()? {
                let key = getter.get(&item)?;
                if match &best {
                    Some((best, _)) => compare(op, &key, best)?,
                    None => true,
                } {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
        }
        "sum" => {
            let [attribute, start] = arguments.bind(name, ["attribute", "start"], 0)?;
            let getter = Getter::new(attribute, None)?;
            let mut sum = start.unwrap_or(Value::Int(0));
            if sum.as_str().is_some() {
                return Err(Error::new("sum() can't sum strings [use ''.join(seq) instead]"));
            }
            for item in value.values()? {
                sum = binary(renderer, Binary::Add, &sum, &getter.get(&item)?)?;
            }
            Ok(sum)
        }
        "unique" => {
            let [sensitive, attribute] = arguments.bind(name, ["case_sensitive", "attribute"], 0)?;
            let getter = Getter::new(attribute, None)?.folding(!flag(sensitive, false));
            let mut seen = HashSet::new();
            lazily(value, |item| Ok(seen.insert(Key::of(&getter.get(&item)?)?).then_some(item)))
        }
        "random" => Err(Error::new("the filter 'random' is not available: a chat's text depends on the chat only")),
        _ => {
            arguments.none(name)?;
            end(name, value)
        }
    }
}

/// `first`, `last` and `reverse`.
fn end(name: &str, value: &Value) -> Result<Value, Error> {
    let reversible = match value {
        Value::Generator(generator) if name == "first" => {
            let none = || Value::undefined("No first item, sequence was empty.");
            return Ok(generator.next()?.unwrap_or_else(none));
        }
        Value::Generator(_) if name == "last" => {
            return Err(Error::new("'generator' object is not reversible"));
        }
        Value::Str(text) | Value::Markup(text) if name == "reverse" => {
            return Ok(text.chars().rev().collect::<String>().into());
        }
        value => value.values()?,
    };
    match name {
        "first" => {
            Ok(reversible.into_iter().next().unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
        }
        "last" => Ok(reversible
            .into_iter()
            .next_back()
            .unwrap_or_else(|| Value::undefined("No last item, sequence was empty."))),
        _ => Value::generator(reversible.into_iter().rev().collect(), None),
    }
}

/// Where in an item a filter looks: `attribute="a.b.0"`.
pub struct Getter {
    parts: Option<Vec<Value>>,
    /// What stands for something that is not there.
    default: Option<Value>,
    /// Whether large letters are as small ones.
    folds: bool,
}

impl Getter {
    pub fn new(attribute: Option<Value>, default: Option<Value>) -> Result<Self, Error> {
        let parts = match attribute {
            None | Some(Value::None) => None,
            Some(Value::Str(path) | Value::Markup(path)) => {
                let part = |part: &str| match part.parse::<u32>() {
                    Ok(at) => Value::Int(at.into()),
                    Err(_) => part.into(),
                };
                Some(path.split('.').map(part).collect())
            }
            Some(other) => Some(vec![other]),
        };
        let default = default.filter(|default| !default.is_none());
        Ok(Getter { parts, default, folds: false })
    }

    fn folding(mut self, folds: bool) -> Self {
        self.folds = folds;
        self
    }

    pub fn get(&self, item: &Value) -> Result<Value, Error> {
        let mut value = item.clone();
        for part in self.parts.iter().flatten() {
            value = attributes::item(&value, part)?;
            if let (true, Some(default)) = (value.is_undefined(), &self.default) {
                value = default.clone();
            }
        }
        Ok(match (&value, value.as_str()) {
            (_, Some(text)) if self.folds => text.to_lowercase().into(),
            _ => value,
        })
    }
}

fn sort(items: &[Value], getters: &[Getter], reverse: bool) -> Result<Vec<Value>, Error> {
    let mut keyed = vec![];
    for item in items {
        let keys = getters.iter().map(|getter| getter.get(item)).collect::<Result<Vec<_>, _>>()?;
        let key = match <[Value; 1]>::try_from(keys) {
            Ok([key]) => key,
            Err(keys) => Value::list(keys)?,
        };
        keyed.push((key, item.clone()));
    }
    // Equal ones keep their order, also the other way round.
    if reverse {
        keyed.reverse();
    }
    let mut sorted = sorted(&keyed, &mut |a, b| compare(Comparison::Less, &a.0, &b.0))?;
    if reverse {
        sorted.reverse();
    }
    Ok(sorted.into_iter().map(|(_, item)| item).collect())
}

fn groups(value: &Value, getter: Getter, folds: bool) -> Result<Value, Error> {
    let shown = Getter { parts: getter.parts.clone(), default: getter.default.clone(), folds: false };
    let getter = getter.folding(folds);
    let mut groups: Vec<(Value, Vec<Value>)> = vec![];
    let getters = [getter];
    for item in sort(&value.values()?, &getters, false)? {
        let key = getters[0].get(&item)?;
        match groups.last_mut() {
            Some((last, items)) if equal(last, &key) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let group = |(_, items): (Value, Vec<Value>)| Value::group(shown.get(&items[0])?, Value::list(items)?);
    Value::list(groups.into_iter().map(group).collect::<Result<_, _>>()?)
}

/// Hands out what `keep` gives for the items, as a generator: an error shows when it is reached.
fn lazily(value: &Value, mut keep: impl FnMut(Value) -> Result<Option<Value>, Error>) -> Result<Value, Error> {
    let mut kept = vec![];
    let items = match value.values() {
        Ok(items) => items,
        Err(error) => return Value::generator(vec![], Some(error)),
    };
    for item in items {
        match keep(item) {
            Ok(item) => kept.extend(item),
            Err(error) => return Value::generator(kept, Some(error)),
        }
    }
    Value::generator(kept, None)
}

fn map(renderer: &Renderer, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    if !value.is_true() {
        return Value::generator(vec![], None);
    }
    let Arguments { mut positional, named } = arguments;
    if positional.is_empty() {
        let [attribute, default] = Arguments { positional, named }.bind("map", ["attribute", "default"], 0)?;
        let attribute = attribute.ok_or_else(|| Error::new("map requires a filter argument"))?;
        let getter = Getter::new(Some(attribute), default)?;
        return lazily(value, |item| getter.get(&item).map(Some));
    }
    let filter = positional.remove(0);
    let filter = filter.as_str().ok_or_else(|| Error::new("map wants the name of a filter"))?;
    lazily(value, |item| {
        let arguments = Arguments { positional: positional.clone(), named: named.clone() };
        renderer.deeper(|| renderer.apply(filter, item, arguments)).map(Some)
    })
}

fn select(name: &str, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    if !value.is_true() {
        return Value::generator(vec![], None);
    }
    let Arguments { positional, named } = arguments;
    let mut positional = positional.into_iter();
    let getter = match name.ends_with("attr") {
        true => {
            let attribute = positional.next().ok_or_else(|| Error::new("Missing parameter for attribute name"))?;
            Getter::new(Some(attribute), None)?
        }
        false => Getter::new(None, None)?,
    };
    let test = positional.next();
    let positional: Vec<Value> = positional.collect();
    let wanted = name.starts_with("select");
    lazily(value, |item| {
        let looked_at = getter.get(&item)?;
        let holds = match &test {
            None => looked_at.is_true(),
            Some(test) => {
                let test = test.as_str().ok_or_else(|| Error::new(format!("{name} wants the name of a test")))?;
                let arguments = Arguments { positional: positional.clone(), named: named.clone() };
                predicates::holds(test, &looked_at, arguments)?
            }
        };
        Ok((holds == wanted).then_some(item))
    })
}

/// A count of things that the renderer has fuel for.
fn count(renderer: &Renderer, value: Option<Value>, what: &str) -> Result<usize, Error> {
    let count = int(value, 0)?;
    let wrong = || Error::new(format!("{what} wants a positive number, found {count}"));
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    renderer.charge(count.saturating_mul(8))?;
    Ok(count)
}

fn batch(renderer: &Renderer, value: &Value, size: Option<Value>, fill: Option<Value>) -> Result<Value, Error> {
    let size = count(renderer, size, "batch")?;
    let fill = fill.filter(|fill| !fill.is_none());
    let items = value.values()?;
    let lines = items.chunks(size).map(|line| {
        let mut line = line.to_vec();
        if let Some(fill) = &fill {
            line.resize(size, fill.clone());
        }
        Value::list(line)
    });
    Value::generator(lines.collect::<Result<_, _>>()?, None)
}

fn slices(renderer: &Renderer, value: &Value, number: Option<Value>, fill: Option<Value>) -> Result<Value, Error> {
    let number = count(renderer, number, "slice")?;
    let fill = fill.filter(|fill| !fill.is_none());
    let items = value.values()?;
    let (size, longer) = (items.len() / number, items.len() % number);
    let mut rest = items.into_iter();
    let slices = (0..number).map(|i| {
        let mut slice: Vec<Value> = rest.by_ref().take(size + usize::from(i < longer)).collect();
        if i >= longer {
            slice.extend(fill.clone());
        }
        Value::list(slice)
    });
    Value::generator(slices.collect::<Result<_, _>>()?, None)
}
