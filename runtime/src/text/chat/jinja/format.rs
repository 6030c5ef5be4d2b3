//! Python's two ways of formatting: `"%s" % value` and `"{}".format(value)`.

use super::Error;
use super::arguments::Arguments;
use super::attributes;
use super::html::escape;
use super::number::{MAX_WIDTH, Spec};
use super::renderer::Renderer;
use super::repr::{repr, text};
use super::value::Value;
use std::sync::Arc;

/// `template % values`.
pub fn percent(renderer: &Renderer, template: &str, values: &Value, is_markup: bool) -> Result<String, Error> {
    let positional = match values {
        Value::Tuple(items) => items.to_vec(),
        single => vec![single.clone()],
    };
    let mut template = Percent { rest: template, values, positional: positional.into_iter() };
    let mut out = String::new();
    while let Some(at) = template.rest.find('%') {
        out.push_str(&template.rest[..at]);
        template.rest = &template.rest[at + 1..];
        let written = template.field(is_markup)?;
        renderer.charge(written.len())?;
        out.push_str(&written);
    }
    out.push_str(template.rest);
    // What has items need not be used, unless it is a tuple.
    let has_items = matches!(values, Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_));
    match template.positional.next().is_some() && !has_items {
        true => Err(Error::new("not all arguments converted during string formatting")),
        false => Ok(out),
    }
}

/// What is left of a template with `%`, and of its values.
struct Percent<'a> {
    rest: &'a str,
    values: &'a Value,
    positional: std::vec::IntoIter<Value>,
}

impl Percent<'_> {
    /// The next character, if it is one of those.
    fn take(&mut self, is: impl Fn(char) -> bool) -> Option<char> {
        let c = self.rest.chars().next().filter(|c| is(*c))?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn next_value(&mut self) -> Result<Value, Error> {
        self.positional.next().ok_or_else(|| Error::new("not enough arguments for format string"))
    }

    /// The value of a name in brackets.
    fn named(&mut self) -> Result<Option<Value>, Error> {
        if self.take(|c| c == '(').is_none() {
            return Ok(None);
        }
        let mut open = 1;
        let end = self.rest.find(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        let end = end.ok_or_else(|| Error::new("incomplete format key"))?;
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let Value::Dict(dict) = self.values else { return Err(Error::new("format requires a mapping")) };
        let value = dict.get_text(name).ok_or_else(|| Error::new(format!("there is no key '{name}'")))?;
        Ok(Some(value.clone()))
    }

    /// A width or a precision.
    fn size(&mut self) -> Result<Option<i128>, Error> {
        if self.take(|c| c == '*').is_some() {
            return self.next_value()?.as_int().map(Some).ok_or_else(|| Error::new("* wants int"));
        }
        let mut digits = String::new();
        while let Some(digit) = self.take(|c| c.is_ascii_digit()) {
            digits.push(digit);
        }
        Ok(if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(i128::MAX)) })
    }

    /// A field from behind its `%`, written out.
    fn field(&mut self, is_markup: bool) -> Result<String, Error> {
        if self.take(|c| c == '%').is_some() {
            return Ok("%".to_string());
        }
        let mut spec = Spec { align: Some('>'), ..Spec::default() };
        let named = self.named()?;
        while let Some(flag) = self.take(|c| "-+ #0".contains(c)) {
            match flag {
                '-' => (spec.align, spec.fill) = (Some('<'), ' '),
                '+' => spec.sign = Some('+'),
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                '#' => spec.alternate = true,
                '0' if spec.align != Some('<') => (spec.fill, spec.align) = ('0', Some('=')),
                _ => {}
            }
        }
        let bounded = |size: i128| {
            let wide = || Error::new(format!("a field of {size} is too wide, expected {MAX_WIDTH} at most"));
            usize::try_from(size.unsigned_abs()).ok().filter(|s| *s <= MAX_WIDTH).ok_or_else(wide)
        };
        if let Some(width) = self.size()? {
            if width < 0 {
                (spec.align, spec.fill) = (Some('<'), ' ');
            }
            spec.width = bounded(width)?;
        }
        if self.take(|c| c == '.').is_some() {
            spec.precision = Some(bounded(self.size()?.unwrap_or(0).max(0))?);
        }
        while self.take(|c| "lLh".contains(c)).is_some() {}
        match self.take(|_| true) {
            None => Err(Error::new("incomplete format")),
            Some(kind) => {
                let value = match named {
                    Some(value) => value,
                    None => self.next_value()?,
                };
                field(&value, kind, spec, is_markup)
            }
        }
    }
}

/// One value of `%`.
fn field(value: &Value, kind: char, mut spec: Spec, is_markup: bool) -> Result<String, Error> {
    let wrong = |what: &str| Error::new(format!("%{kind} format: {what} is required, not {}", value.type_name()));
    match kind {
        's' | 'r' | 'a' => {
            if spec.fill == '0' {
                (spec.fill, spec.align) = (' ', Some('>'));
            }
            (spec.sign, spec.alternate) = (None, false);
            let text = match kind {
                's' if is_markup => escape(value),
                's' => text(value),
                'r' => repr(value),
                _ => ascii(&repr(value)),
            };
            spec.text(&text)
        }
        'c' => match (value.as_str(), value.as_int()) {
            (Some(text), _) if text.chars().count() == 1 => {
                Spec { width: spec.width, align: spec.align, ..Spec::default() }.text(text)
            }
            (None, Some(code)) => Spec { kind: Some('c'), ..spec }.int(code),
            _ => Err(wrong("an int or a single character")),
        },
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = match value {
                Value::Float(f) if f.is_finite() && matches!(kind, 'd' | 'i' | 'u') => f.trunc() as i128,
                value => value.as_int().ok_or_else(|| wrong("a number"))?,
            };
            let digits = spec.precision.take();
            spec.kind = Some(if matches!(kind, 'i' | 'u') { 'd' } else { kind });
            match digits {
                None => spec.int(number),
                // The least number of digits.
                Some(least) => {
                    let plain = Spec { width: 0, sign: None, alternate: false, ..spec.clone() }.int(number.abs())?;
                    let digits = format!("{}{plain}", "0".repeat(least.saturating_sub(plain.len())));
                    let sign = match (number < 0, spec.sign) {
                        (true, _) => "-",
                        (false, None) => "",
                        (false, Some('+')) => "+",
                        _ => " ",
                    };
                    let align = if spec.align == Some('=') { Some('>') } else { spec.align };
                    Spec { width: spec.width, align, ..Spec::default() }.text(&format!("{sign}{digits}"))
                }
            }
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = match value {
                Value::Float(f) => *f,
                value => value.as_int().ok_or_else(|| wrong("a real number"))? as f64,
            };
            Spec { kind: Some(kind), ..spec }.float(number)
        }
        other => Err(Error::new(format!("unsupported format character '{other}'"))),
    }
}

/// Python's `ascii`, of what `repr` gives.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c as u32 {
            ..=0x7f => out.push(c),
            code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

/// `template.format(...)`.
pub fn braces(renderer: &Renderer, template: &str, arguments: &Arguments, is_markup: bool) -> Result<String, Error> {
    let mut automatic = Some(0);
    filled(renderer, template, arguments, is_markup, &mut automatic, 3)
}

/// Fills a template in; specifications may have fields of their own, to a depth. `automatic` counts the fields
/// without a name, and is none once there was one with a number.
fn filled(
    renderer: &Renderer,
    template: &str,
    arguments: &Arguments,
    is_markup: bool,
    automatic: &mut Option<usize>,
    depth: usize,
) -> Result<String, Error> {
    if depth == 0 {
        return Err(Error::new("Max string recursion exceeded"));
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(Error::new("Single '}' encountered in format string"));
        }
        let mut open = 1;
        let end = rest.find(|c| {
            open += i32::from(c == '{') - i32::from(c == '}');
            open == 0
        });
        let end = end.ok_or_else(|| Error::new("expected '}' before end of string"))?;
        let (field, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let (name, spec) = match field.find([':', '!']) {
            Some(at) => field.split_at(at),
            None => (field, ""),
        };
        let (conversion, spec) = match spec.strip_prefix('!') {
            Some(converted) => {
                let mut chars = converted.chars();
                (chars.next(), chars.as_str().strip_prefix(':').unwrap_or(chars.as_str()))
            }
            None => (None, spec.strip_prefix(':').unwrap_or(spec)),
        };
        let value = named_field(name, arguments, automatic)?;
        let value = match conversion {
            None => value,
            Some('s') => text(&value).into(),
            Some('r') => repr(&value).into(),
            Some('a') => ascii(&repr(&value)).into(),
            Some(other) => return Err(Error::new(format!("Unknown conversion specifier '{other}'"))),
        };
        let spec = filled(renderer, spec, arguments, false, automatic, depth - 1)?;
        let written = formatted(&value, &spec)?;
        let written = if is_markup { super::html::escaped(&written) } else { written };
        renderer.charge(written.len())?;
        out.push_str(&written);
    }
    out.push_str(rest);
    Ok(out)
}

/// A field's value: `0`, `name`, `name.attribute`, `name[key]`.
fn named_field(field: &str, arguments: &Arguments, automatic: &mut Option<usize>) -> Result<Value, Error> {
    let end = field.find(['.', '[']).unwrap_or(field.len());
    let (name, mut rest) = field.split_at(end);
    let place = match (name.is_empty(), &mut *automatic) {
        (true, Some(count)) => {
            *count += 1;
            Some(*count - 1)
        }
        (true, None) => {
            return Err(Error::new("cannot switch from manual field specification to automatic field numbering"));
        }
        (false, _) => name.parse::<usize>().ok(),
    };
    if !name.is_empty() && place.is_some() {
        *automatic = None;
    }
    let found = match place {
        Some(at) => arguments.positional.get(at),
        None => arguments.named.iter().find(|(n, _)| **n == *name).map(|(_, value)| value),
    };
    let missing = || match place {
        Some(at) => Error::new(format!("Replacement index {at} out of range for positional args tuple")),
        None => Error::new(format!("there is no argument '{name}' to format")),
    };
    let mut value = found.cloned().ok_or_else(missing)?;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (key, after) = after.split_once(']').ok_or_else(|| Error::new("Missing ']' in format string"))?;
            let key = key.parse().map_or_else(|_| key.into(), Value::Int);
            value = attributes::item(&value, &key)?;
            rest = after;
        } else {
            let after = &rest[1..];
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name: Arc<str> = after[..end].into();
            value = attributes::attribute(&value, &name)?;
            rest = &after[end..];
        }
    }
    Ok(value)
}

/// Python's `format(value, spec)`.
fn formatted(value: &Value, spec: &str) -> Result<String, Error> {
    if spec.is_empty() {
        return Ok(text(value));
    }
    let parsed = Spec::parse(spec)?;
    match value {
        Value::Int(number) => parsed.int(*number),
        Value::Float(number) => parsed.float(*number),
        Value::Bool(truth) => parsed.int((*truth).into()),
        Value::Str(text) | Value::Markup(text) => parsed.text(text),
        other => Err(Error::new(format!("unsupported format string passed to {}.__format__", other.type_name()))),
    }
}
