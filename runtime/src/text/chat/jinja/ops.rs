//! What operators do to values: Python's rules.

use super::Error;
use super::ast::{Binary, Comparison};
use super::format;
use super::html::escape;
use super::renderer::Renderer;
use super::repr::{shown_type, text};
use super::value::{Items, Key, Range, Value, View};
use std::cmp::Ordering;

#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Float(f) => Some(Number::Float(*f)),
            other => other.as_int().map(Number::Int),
        }
    }

    fn float(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }
}

/// Two values as one HTML, of which one at least is HTML.
fn markup_joined(renderer: &Renderer, left: &Value, right: &Value) -> Result<Value, Error> {
    let joined = escape(left) + &escape(right);
    renderer.charge(joined.len())?;
    Ok(Value::Markup(joined.into()))
}

/// `left op right`.
pub fn binary(renderer: &Renderer, op: Binary, left: &Value, right: &Value) -> Result<Value, Error> {
    if op == Binary::Concatenate {
        if renderer.escapes() && [left, right].iter().any(|side| matches!(side, Value::Markup(_))) {
            return markup_joined(renderer, left, right);
        }
        let (mut joined, right) = (text(left), text(right));
        renderer.charge(joined.len() + right.len())?;
        joined.push_str(&right);
        return Ok(joined.into());
    }
    left.defined()?;
    if let (Binary::Remainder, Some(template)) = (op, left.as_str()) {
        let is_markup = matches!(left, Value::Markup(_));
        let formatted = format::percent(renderer, template, right, is_markup)?;
        return Ok(if is_markup { Value::Markup(formatted.into()) } else { formatted.into() });
    }
    right.defined()?;
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return arithmetic(op, a, b);
    }
    match (op, left, right) {
        (Binary::Add, Value::Str(a), Value::Str(b)) => {
            renderer.charge(a.len() + b.len())?;
            Ok(format!("{a}{b}").into())
        }
        (Binary::Add, Value::Markup(_), b) | (Binary::Add, b, Value::Markup(_)) if b.as_str().is_some() => {
            markup_joined(renderer, left, right)
        }
        (Binary::Add, Value::List(a), Value::List(b)) => Value::list(joined(renderer, a, b)?),
        (Binary::Add, Value::Tuple(a), Value::Tuple(b)) => Value::tuple(joined(renderer, a, b)?),
        (Binary::Add, Value::Str(_), other) => {
            Err(Error::new(format!("can only concatenate str (not \"{}\") to str", other.type_name())))
        }
        (Binary::Multiply, items, times) | (Binary::Multiply, times, items)
            if times.as_int().is_some() && !matches!(items, Value::Dict(_) | Value::None) =>
        {
            repeated(renderer, items, times.as_int().unwrap_or(0)).unwrap_or_else(|| Err(unsupported(op, left, right)))
        }
        _ => Err(unsupported(op, left, right)),
    }
}

/// `left op right` of two numbers.
pub fn number_op(op: Binary, left: &Value, right: &Value) -> Result<Value, Error> {
    left.defined()?;
    right.defined()?;
    match (Number::of(left), Number::of(right)) {
        (Some(a), Some(b)) => arithmetic(op, a, b),
        _ => Err(unsupported(op, left, right)),
    }
}

fn joined(renderer: &Renderer, a: &Items, b: &Items) -> Result<Vec<Value>, Error> {
    renderer.charge(8 * (a.len() + b.len()))?;
    Ok(a.iter().chain(b.iter()).cloned().collect())
}

/// A text or a list many times; none for what cannot be repeated.
fn repeated(renderer: &Renderer, items: &Value, times: i128) -> Option<Result<Value, Error>> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let many = |items: &Items| (0..times).flat_map(|_| items.iter().cloned()).collect();
    let charged = |length: usize| renderer.charge(length.saturating_mul(times));
    Some(match items {
        Value::Str(s) => charged(s.len()).map(|()| s.repeat(times).into()),
        Value::Markup(s) => charged(s.len()).map(|()| Value::Markup(s.repeat(times).into())),
        Value::List(items) => charged(8 * items.len()).and_then(|()| Value::list(many(items))),
        Value::Tuple(items) => charged(8 * items.len()).and_then(|()| Value::tuple(many(items))),
        _ => return None,
    })
}

fn sign(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Concatenate => "~",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::FloorDivide => "//",
        Binary::Remainder => "%",
        Binary::Power => "** or pow()",
    }
}

fn unsupported(op: Binary, left: &Value, right: &Value) -> Error {
    let types = (left.type_name(), right.type_name());
    Error::new(format!("unsupported operand type(s) for {}: '{}' and '{}'", sign(op), types.0, types.1))
}

fn arithmetic(op: Binary, left: Number, right: Number) -> Result<Value, Error> {
    let zero = || Error::new("division by zero");
    if matches!(op, Binary::Divide | Binary::FloorDivide | Binary::Remainder) && right.float() == 0.0 {
        return Err(zero());
    }
    if let (Number::Int(a), Number::Int(b)) = (left, right) {
        let result = match op {
            Binary::Add => a.checked_add(b),
            Binary::Subtract => a.checked_sub(b),
            Binary::Multiply => a.checked_mul(b),
            // Towards minus infinity, with a remainder of the divisor's sign.
            Binary::FloorDivide => a.checked_div(b).map(|q| q - i128::from(a % b != 0 && (a < 0) != (b < 0))),
            Binary::Remainder => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
            Binary::Power if b >= 0 => match a {
                -1..=1 => a.checked_pow(if b == 0 { 0 } else { 2 - (b % 2) as u32 }),
                _ => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            },
            _ => return floats(op, left.float(), right.float()),
        };
        let too_large = || Error::new(format!("the result of {a} {} {b} is too large", sign(op)));
        return result.map(Value::Int).ok_or_else(too_large);
    }
    floats(op, left.float(), right.float())
}

fn floats(op: Binary, a: f64, b: f64) -> Result<Value, Error> {
    // The remainder has the divisor's sign.
    let remainder = || {
        let rest = a % b;
        if rest == 0.0 {
            0f64.copysign(b)
        } else if (rest < 0.0) != (b < 0.0) {
            rest + b
        } else {
            rest
        }
    };
    Ok(Value::Float(match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::Remainder => remainder(),
        Binary::FloorDivide => {
            let quotient = (a - remainder()) / b;
            let floor = quotient.floor();
            if quotient - floor > 0.5 { floor + 1.0 } else { floor }
        }
        Binary::Power if a == 0.0 && b < 0.0 => {
            return Err(Error::new("0.0 cannot be raised to a negative power"));
        }
        Binary::Power => {
            let power = a.powf(b);
            if power.is_nan() && !a.is_nan() && !b.is_nan() {
                return Err(Error::new(format!("{a} to the power of {b} is no real number")));
            }
            power
        }
        Binary::Concatenate => return Err(Error::new("numbers are not concatenated")),
    }))
}

/// `-value`, or `+value`.
pub fn signed(value: &Value, negative: bool) -> Result<Value, Error> {
    value.defined()?;
    match Number::of(value) {
        Some(Number::Int(i)) if negative => {
            i.checked_neg().map(Value::Int).ok_or_else(|| Error::new(format!("-({i}) is too large")))
        }
        Some(Number::Float(f)) if negative => Ok(Value::Float(-f)),
        Some(Number::Int(i)) => Ok(Value::Int(i)),
        Some(Number::Float(f)) => Ok(Value::Float(f)),
        None => {
            let sign = if negative { '-' } else { '+' };
            Err(Error::new(format!("bad operand type for unary {sign}: '{}'", value.type_name())))
        }
    }
}

/// `left op right`, as a truth.
pub fn compare(op: Comparison, left: &Value, right: &Value) -> Result<bool, Error> {
    let ordered = |sign: &str, holds: fn(Ordering) -> bool| Ok(order(left, right, sign)?.is_some_and(holds));
    match op {
        Comparison::Equal => Ok(equal(left, right)),
        Comparison::NotEqual => Ok(!equal(left, right)),
        Comparison::Less => ordered("<", Ordering::is_lt),
        Comparison::LessEqual => ordered("<=", Ordering::is_le),
        Comparison::Greater => ordered(">", Ordering::is_gt),
        Comparison::GreaterEqual => ordered(">=", Ordering::is_ge),
        Comparison::In => contains(right, left),
        Comparison::NotIn => contains(right, left).map(|found| !found),
    }
}

/// Python's `==`.
pub fn equal(left: &Value, right: &Value) -> bool {
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return match (a, b) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (a, b) => a.float() == b.float(),
        };
    }
    match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b))
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let same =
                |(key, value): &(Value, Value)| b.get(key).ok().flatten().is_some_and(|other| equal(value, other));
            a.len() == b.len() && a.iter().all(same)
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            a.len() == b.len() && a.iter().all(|(key, _)| b.get(key).is_ok_and(|value| value.is_some()))
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len() == b.len() && (a.len() == 0 || (a.start == b.start && (a.len() == 1 || a.step == b.step)))
        }
        _ => same(left, right),
    }
}

/// Python's `is`: the very same thing, as far as values have an identity here.
pub fn same(left: &Value, right: &Value) -> bool {
    use std::sync::Arc;
    match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Str(a), Value::Str(b)) | (Value::Markup(a), Value::Markup(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Arc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Arc::ptr_eq(a, b),
        (Value::Generator(a), Value::Generator(b)) => Arc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Arc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Arc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Arc::ptr_eq(a, b),
        (Value::Cycler(a), Value::Cycler(b)) => Arc::ptr_eq(a, b),
        (Value::Joiner(a), Value::Joiner(b)) => Arc::ptr_eq(a, b),
        (Value::Global(a), Value::Global(b)) => a == b,
        _ => false,
    }
}

/// How two values are ordered; none where one is no number at all.
pub fn order(left: &Value, right: &Value, sign: &str) -> Result<Option<Ordering>, Error> {
    left.defined()?;
    right.defined()?;
    if let (Some(a), Some(b)) = (Number::of(left), Number::of(right)) {
        return Ok(match (a, b) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        });
    }
    match (left, right) {
        (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => Ok(Some(a.cmp(b))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b) {
                    return order(a, b, sign);
                }
            }
            Ok(Some(a.len().cmp(&b.len())))
        }
        _ => {
            let types = (left.type_name(), right.type_name());
            Err(Error::new(format!("'{sign}' not supported between instances of '{}' and '{}'", types.0, types.1)))
        }
    }
}

/// `item in container`.
pub fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    match container {
        Value::Str(s) | Value::Markup(s) => match item.as_str() {
            Some(part) => Ok(s.contains(part)),
            None => {
                let found = item.type_name();
                Err(Error::new(format!("'in <string>' requires string as left operand, not {found}")))
            }
        },
        Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
        Value::List(items) | Value::Tuple(items) => Ok(items.iter().any(|i| equal(i, item))),
        Value::Range(range) => Ok(in_range(*range, item)),
        Value::Generator(generator) => {
            while let Some(value) = generator.next()? {
                if equal(&value, item) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other if other.is_iterable() => Ok(other.values()?.iter().any(|i| equal(i, item))),
        other => Err(Error::new(format!("argument of type '{}' is not iterable", other.type_name()))),
    }
}

fn in_range(range: Range, item: &Value) -> bool {
    let value = match Key::of(item) {
        Ok(Key::Int(value)) => value,
        _ => return false,
    };
    let inside = match range.step > 0 {
        true => range.start <= value && value < range.stop,
        false => range.stop < value && value <= range.start,
    };
    inside && (value - range.start) % range.step == 0
}

/// `value[start:stop:step]`.
pub fn slice(value: &Value, bounds: [Option<i128>; 3]) -> Result<Value, Error> {
    if bounds[2] == Some(0) {
        return Err(Error::new("slice step cannot be zero"));
    }
    let picked = |length: usize| picked(length, bounds);
    Ok(match value {
        Value::Str(s) | Value::Markup(s) => {
            let chars: Vec<char> = s.chars().collect();
            let text: String = picked(chars.len()).map(|at| chars[at]).collect();
            match value {
                Value::Str(_) => text.into(),
                _ => Value::Markup(text.into()),
            }
        }
        Value::List(items) => Value::list(picked(items.len()).map(|at| items[at].clone()).collect())?,
        Value::Tuple(items) => Value::tuple(picked(items.len()).map(|at| items[at].clone()).collect())?,
        Value::Range(range) => {
            let step = bounds[2].unwrap_or(1).saturating_mul(range.step);
            let at = |i: usize| range.start + range.step * i as i128;
            let mut places = picked(range.len());
            let start = places.next().map_or(range.start, at);
            let stop = places.last().map_or(start + step.signum(), |last| at(last) + step.signum());
            let is_empty = picked(range.len()).next().is_none();
            Value::Range(Range { start, stop: if is_empty { start } else { stop }, step })
        }
        other => {
            other.defined()?;
            let name = shown_type(other);
            return Ok(Value::undefined(format!("{name} cannot be sliced")));
        }
    })
}

/// The positions of a slice.
fn picked(length: usize, [start, stop, step]: [Option<i128>; 3]) -> impl Iterator<Item = usize> {
    let (length, step) = (length as i128, step.unwrap_or(1));
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i128| (if bound < 0 { bound.saturating_add(length) } else { bound }).clamp(lowest, highest);
    let start = start.map_or(if step > 0 { lowest } else { highest }, clamp);
    let stop = stop.map_or(if step > 0 { highest } else { lowest }, clamp);
    let range = Range { start, stop, step };
    (0..range.len()).map(move |i| (start + step * i as i128) as usize)
}

/// Sorts by a fallible order, stably: a merge sort.
pub fn sorted<T: Clone>(items: &[T], before: &mut impl FnMut(&T, &T) -> Result<bool, Error>) -> Result<Vec<T>, Error> {
    if items.len() < 2 {
        return Ok(items.to_vec());
    }
    let (left, right) = items.split_at(items.len() / 2);
    let (left, right) = (sorted(left, before)?, sorted(right, before)?);
    let mut merged = Vec::with_capacity(items.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(if before(b, a)? { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    Ok(merged)
}
