//! Numbers: how texts are read as them, and how Python's format specifications write them.

use super::Error;
use super::repr;

/// Python's `int(text, base)`.
pub fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(super::lexer::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = prefixes.iter().find(|(prefix, radix)| (base == *radix || base == 0) && lower.starts_with(prefix));
    let (digits, base) = match prefixed {
        // One underscore may stand behind the prefix.
        Some((_, radix)) => (lower[2..].strip_prefix('_').unwrap_or(&lower[2..]), *radix),
        None => (lower.as_str(), if base == 0 { 10 } else { base }),
    };
    if !(2..=36).contains(&base) {
        return None;
    }
    let digits = without_underscores(digits)?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&digits, base).ok()?;
    Some(if negative { -number } else { number })
}

/// Python's `float(text)`.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(super::lexer::is_space);
    let unsigned = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    match unsigned.as_str() {
        "inf" | "infinity" | "nan" if text.len() <= unsigned.len() + 1 => {
            let value = if unsigned == "nan" { f64::NAN } else { f64::INFINITY };
            Some(if text.starts_with('-') { -value } else { value })
        }
        _ if unsigned.starts_with(['i', 'n']) => None,
        _ => without_underscores(text)?.parse().ok(),
    }
}

/// Digits without the single underscores between them.
fn without_underscores(digits: &str) -> Option<String> {
    let bytes = digits.as_bytes();
    let between = |at: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    let misplaced = bytes.iter().enumerate().any(|(at, b)| *b == b'_' && !between(at));
    (!misplaced && !digits.is_empty()).then(|| digits.replace('_', ""))
}

/// A format specification: `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
#[derive(Clone, Debug)]
pub struct Spec {
    pub fill: char,
    /// `<`, `>`, `^` or `=`.
    pub align: Option<char>,
    /// `+`, `-` or a space.
    pub sign: Option<char>,
    pub alternate: bool,
    pub width: usize,
    pub grouping: Option<char>,
    pub precision: Option<usize>,
    pub kind: Option<char>,
}

impl Default for Spec {
    fn default() -> Self {
        let (fill, align, sign, alternate) = (' ', None, None, false);
        Spec { fill, align, sign, alternate, width: 0, grouping: None, precision: None, kind: None }
    }
}

/// The widest field and the finest precision that a template may ask for.
pub const MAX_WIDTH: usize = 100_000;

impl Spec {
    pub fn parse(text: &str) -> Result<Spec, Error> {
        let wrong = || Error::new(format!("Invalid format specifier '{text}'"));
        let chars: Vec<char> = text.chars().collect();
        let mut spec = Spec::default();
        let mut at = 0;
        let is_align = |at: usize| chars.get(at).is_some_and(|c| matches!(c, '<' | '>' | '^' | '='));
        let has_fill = is_align(1);
        if has_fill {
            (spec.fill, spec.align, at) = (chars[0], Some(chars[1]), 2);
        } else if is_align(0) {
            (spec.align, at) = (Some(chars[0]), 1);
        }
        if let Some(sign @ ('+' | '-' | ' ')) = chars.get(at) {
            spec.sign = Some(*sign);
            at += 1;
        }
        if chars.get(at) == Some(&'#') {
            spec.alternate = true;
            at += 1;
        }
        if chars.get(at) == Some(&'0') {
            if !has_fill {
                spec.fill = '0';
            }
            at += 1;
        }
        let number = |at: &mut usize| -> Result<Option<usize>, Error> {
            let start = *at;
            while chars.get(*at).is_some_and(char::is_ascii_digit) {
                *at += 1;
            }
            if start == *at {
                return Ok(None);
            }
            let digits: String = chars[start..*at].iter().collect();
            digits.parse().ok().filter(|n| *n <= MAX_WIDTH).map(Some).ok_or_else(wrong)
        };
        spec.width = number(&mut at)?.unwrap_or(0);
        if let Some(grouping @ (',' | '_')) = chars.get(at) {
            spec.grouping = Some(*grouping);
            at += 1;
        }
        if chars.get(at) == Some(&'.') {
            at += 1;
            spec.precision = Some(number(&mut at)?.ok_or_else(wrong)?);
        }
        spec.kind = chars.get(at).copied();
        match chars.len() > at + 1 {
            true => Err(wrong()),
            false => Ok(spec),
        }
    }

    /// A text in its field.
    pub fn text(&self, text: &str) -> Result<String, Error> {
        let is_for_numbers =
            self.align == Some('=') || self.grouping.is_some() || self.sign.is_some() || self.alternate;
        if !matches!(self.kind, None | Some('s')) || is_for_numbers {
            return Err(self.unknown("str"));
        }
        let text: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        Ok(self.padded("", &text, '<'))
    }

    /// A whole number in its field.
    pub fn int(&self, number: i128) -> Result<String, Error> {
        let is_float = matches!(self.kind, Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%'));
        if is_float {
            return self.float(number as f64);
        }
        if self.precision.is_some() {
            return Err(Error::new("Precision not allowed in integer format specifier"));
        }
        let digits = number.unsigned_abs();
        let (prefix, digits, every) = match self.kind {
            None | Some('d' | 'n') => ("", digits.to_string(), 3),
            Some('x') => ("0x", format!("{digits:x}"), 4),
            Some('X') => ("0X", format!("{digits:X}"), 4),
            Some('o') => ("0o", format!("{digits:o}"), 4),
            Some('b') => ("0b", format!("{digits:b}"), 4),
            Some('c') => {
                let c = u32::try_from(number).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| Error::new(format!("{number} is no character")))?;
                return Ok(self.padded("", &c.to_string(), '<'));
            }
            Some(_) => return Err(self.unknown("int")),
        };
        let prefix = if self.alternate { prefix } else { "" };
        Ok(self.number(number < 0, prefix, &digits, "", every))
    }

    /// A number in its field.
    pub fn float(&self, number: f64) -> Result<String, Error> {
        let magnitude = number.abs();
        let precision = self.precision.unwrap_or(6);
        let kind = self.kind.unwrap_or('r');
        let text = match kind.to_ascii_lowercase() {
            'r' if self.precision.is_none() => repr::float(magnitude),
            _ if !magnitude.is_finite() => repr::float(magnitude),
            'f' => format!("{magnitude:.precision$}"),
            '%' => format!("{:.precision$}", magnitude * 100.0),
            'e' => scientific(&format!("{magnitude:.precision$e}")),
            'g' | 'n' => general(magnitude, precision, self.alternate, 0),
            'r' => general(magnitude, precision, self.alternate, 1),
            _ => return Err(self.unknown("float")),
        };
        let text = if kind == '%' { text + "%" } else { text };
        let text = if matches!(kind, 'E' | 'F' | 'G') { text.to_uppercase() } else { text };
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        Ok(self.number(number.is_sign_negative() && !number.is_nan(), "", &text[..end], &text[end..], 3))
    }

    /// A number's parts in its field: groups of digits, a sign, zeros between the sign and the digits.
    fn number(&self, negative: bool, prefix: &str, digits: &str, rest: &str, every: usize) -> String {
        let sign = match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            _ => "",
        };
        let head = format!("{sign}{prefix}");
        let mut digits = digits.to_string();
        if let Some(separator) = self.grouping {
            if self.fill == '0' && self.align.is_none_or(|align| align == '=') {
                // Zeros that fill the field are grouped too.
                let room = self.width.saturating_sub(head.len() + rest.len());
                while grouped(&digits, separator, every).len() < room {
                    digits.insert(0, '0');
                }
            }
            digits = grouped(&digits, separator, every);
        }
        self.padded(&head, &format!("{digits}{rest}"), '>')
    }

    fn padded(&self, head: &str, body: &str, usual: char) -> String {
        let missing = self.width.saturating_sub(head.chars().count() + body.chars().count());
        let fill = |count: usize| self.fill.to_string().repeat(count);
        // Zeros stand behind a number's sign.
        let usual = if usual == '>' && self.fill == '0' { '=' } else { usual };
        match self.align.unwrap_or(usual) {
            '<' => format!("{head}{body}{}", fill(missing)),
            '^' => format!("{}{head}{body}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' => format!("{head}{}{body}", fill(missing)),
            _ => format!("{}{head}{body}", fill(missing)),
        }
    }

    fn unknown(&self, what: &str) -> Error {
        match self.kind {
            Some(kind) => Error::new(format!("Unknown format code '{kind}' for object of type '{what}'")),
            None => Error::new(format!("the format specification is not for object of type '{what}'")),
        }
    }
}

fn grouped(digits: &str, separator: char, every: usize) -> String {
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(every) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

/// Rust's `1e5` as Python's `1e+05`.
fn scientific(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The format `g`: so many digits in all, without zeros at the end but for `least` of them behind the point.
fn general(number: f64, precision: usize, alternate: bool, least: usize) -> String {
    let precision = precision.max(1);
    let rounded = format!("{number:.*e}", precision - 1);
    let exponent: i64 = rounded.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let short = |digits: &str| match (alternate, digits.contains('.')) {
        (true, true) | (false, false) => digits.to_string(),
        (true, false) => format!("{digits}."),
        (false, true) => digits.trim_end_matches('0').trim_end_matches('.').to_string(),
    };
    // A number without a type keeps a digit behind the point, so one digit less fits before the exponent.
    if exponent < -4 || exponent >= precision as i64 - least as i64 {
        let text = scientific(&rounded);
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, ""));
        return format!("{}e{exponent}", short(digits));
    }
    let decimals = usize::try_from(precision as i64 - 1 - exponent).unwrap_or(0);
    let text = short(&format!("{number:.decimals$}"));
    if least > 0 && !text.contains('.') { text + ".0" } else { text }
}
