//! Filters of numbers.

use super::super::Error;
use super::super::arguments::{Arguments, flag, int, text};
use super::super::number::{parse_float, parse_int};
use super::super::ops;
use super::super::renderer::Renderer;
use super::super::value::Value;

pub fn apply(_: &Renderer, name: &str, value: &Value, arguments: Arguments) -> Result<Value, Error> {
    value.defined()?;
    match name {
        "abs" => {
            arguments.none(name)?;
            match value {
                Value::Float(number) => Ok(Value::Float(number.abs())),
                value => match value.as_int() {
                    Some(number) => ops::signed(&Value::Int(number), number < 0),
                    None => Err(Error::new(format!("bad operand type for abs(): '{}'", value.type_name()))),
                },
            }
        }
        "filesizeformat" => {
            let [binary] = arguments.bind(name, ["binary"], 0)?;
            let bytes = as_float(value).ok_or_else(|| Error::new("filesizeformat wants a number"))?;
            Ok(file_size(bytes, flag(binary, false)).into())
        }
        "float" => {
            let [default] = arguments.bind(name, ["default"], 0)?;
            Ok(as_float(value).map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
        }
        "int" => {
            let [default, base] = arguments.bind(name, ["default", "base"], 0)?;
            let base = u32::try_from(int(base, 10)?).unwrap_or(1);
            let whole = match value {
                // Beyond this a number has no whole one here.
                Value::Float(number) => truncated(*number),
                Value::Str(text) | Value::Markup(text) => {
                    parse_int(text, base).or_else(|| parse_float(text).and_then(truncated))
                }
                other => other.as_int(),
            };
            Ok(whole.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
        }
        _ => {
            let [precision, method] = arguments.bind(name, ["precision", "method"], 0)?;
            let precision = int(precision, 0)?;
            let method = text(method)?.unwrap_or_else(|| "common".into());
            let number = match (value, value.as_int()) {
                (Value::Float(number), _) => *number,
                // A whole number stays one.
                (_, Some(whole)) if &*method == "common" => return round_int(whole, precision),
                (_, Some(whole)) => whole as f64,
                _ => return Err(Error::new(format!("type {} doesn't define __round__ method", value.type_name()))),
            };
            let power = 10f64.powi(i32::try_from(precision).unwrap_or(if precision < 0 { -400 } else { 400 }));
            Ok(Value::Float(match &*method {
                "common" => round(number, precision),
                "ceil" => (number * power).ceil() / power,
                "floor" => (number * power).floor() / power,
                _ => return Err(Error::new("method must be common, ceil or floor")),
            }))
        }
    }
}

fn truncated(number: f64) -> Option<i128> {
    (number.abs() < 1e38).then_some(number.trunc() as i128)
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Str(text) | Value::Markup(text) => parse_float(text),
        other => other.as_int().map(|whole| whole as f64),
    }
}

/// The nearest whole number with so many zeros; between two, the even one.
fn round_int(number: i128, precision: i128) -> Result<Value, Error> {
    let Some(power) = u32::try_from(-precision).ok().filter(|p| *p > 0) else { return Ok(Value::Int(number)) };
    let Some(power) = 10i128.checked_pow(power) else { return Ok(Value::Int(0)) };
    let (low, rest) = (number.div_euclid(power), number.rem_euclid(power));
    let up = rest * 2 > power || (rest * 2 == power && low % 2 != 0);
    Ok(Value::Int((low + i128::from(up)) * power))
}

/// The nearest number with so many decimals, of the number that it is exactly.
fn round(number: f64, precision: i128) -> f64 {
    if !number.is_finite() || precision > 400 {
        return number;
    }
    if precision < 0 {
        let power = 10f64.powi(i32::try_from(-precision).unwrap_or(400));
        return if power.is_finite() { (number / power).round_ties_even() * power } else { 0f64.copysign(number) };
    }
    format!("{number:.*}", precision as usize).parse().unwrap_or(number)
}

fn file_size(bytes: f64, binary: bool) -> String {
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return "1 Byte".to_string();
    }
    if bytes < base {
        return format!("{} Bytes", bytes.trunc());
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut unit = base * base;
    let mut prefixes = prefixes.into_iter().peekable();
    loop {
        let prefix = prefixes.next().unwrap_or_default();
        if bytes < unit || prefixes.peek().is_none() {
            let prefix = if binary { format!("{}i", prefix.to_uppercase()) } else { prefix.to_string() };
            return format!("{:.1} {prefix}B", base * bytes / unit);
        }
        unit *= base;
    }
}
