//! A template's text as tokens, with Jinja's rules for blanks around tags (`trim_blocks` and `lstrip_blocks` on).

use super::Error;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Text(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// Python's `str.isspace` of one character.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The tokens, each with its line.
pub fn tokens(source: &str) -> Result<Vec<(usize, Token)>, Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer =
        Lexer { source, at: 0, line: 1, counted: 0, line_starting: true, open: vec![], before: None, out: vec![] };
    lexer.template().map_err(|e| e.at(lexer.line))?;
    Ok(lexer.out)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    /// The line of the place as far as which lines are counted.
    line: usize,
    counted: usize,
    /// Whether what was read last ends with a new line.
    line_starting: bool,
    /// Brackets that are to be closed.
    open: Vec<char>,
    /// The character before the last token's end.
    before: Option<char>,
    out: Vec<(usize, Token)>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn count_lines(&mut self) {
        self.line += self.source[self.counted..self.at].matches('\n').count();
        self.counted = self.at;
    }

    fn push(&mut self, token: Token) {
        self.count_lines();
        self.out.push((self.line, token));
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(is_space).len();
    }

    /// What follows the end of a block, a comment or a raw part.
    fn after_end(&mut self, end: &str) -> bool {
        let start = self.at;
        if self.skip("-") {
            if self.skip(end) {
                self.skip_space();
            } else {
                self.at = start;
            }
        } else if self.skip("+") {
            if !self.skip(end) {
                self.at = start;
            }
        } else if self.skip(end) {
            self.skip("\n");
        }
        self.line_starting = self.source[start..self.at].ends_with('\n');
        self.at > start
    }

    fn template(&mut self) -> Result<(), Error> {
        loop {
            let tag = self.rest().match_indices('{').find(|(at, _)| {
                let next = self.rest().as_bytes().get(at + 1);
                matches!(next, Some(b'{' | b'%' | b'#'))
            });
            let Some((length, _)) = tag else {
                let text = self.rest();
                if !text.is_empty() {
                    self.push(Token::Text(text.to_string()));
                }
                return Ok(());
            };
            let text = &self.rest()[..length];
            let kind = self.rest().as_bytes()[length + 1];
            let sign = self.rest()[length + 2..].chars().next();
            self.text(text, sign, kind == b'{');
            self.at += length + 2;
            if matches!(sign, Some('-' | '+')) {
                self.at += 1;
            }
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.push(Token::VariableBegin);
                    self.tag(false)?;
                }
                _ if self.raw()? => {}
                _ => {
                    self.push(Token::BlockBegin);
                    self.tag(true)?;
                }
            }
        }
    }

    /// Text before a tag, without the blanks that the tag takes away.
    fn text(&mut self, text: &str, sign: Option<char>, before_variable: bool) {
        let line_start = text.rfind('\n').map_or(0, |at| at + 1);
        let kept = match sign {
            Some('-') => text.trim_end_matches(is_space),
            Some('+') => text,
            _ if before_variable => text,
            _ if (line_start > 0 || self.line_starting) && text[line_start..].chars().all(is_space) => {
                &text[..line_start]
            }
            _ => text,
        };
        if !kept.is_empty() {
            self.push(Token::Text(kept.to_string()));
        }
    }

    fn comment(&mut self) -> Result<(), Error> {
        let Some(end) = self.rest().find("#}") else {
            self.count_lines();
            return Err(Error::new("Missing end of comment tag"));
        };
        self.at += end;
        // A sign before the end is part of it.
        if end > 0 && matches!(self.source.as_bytes()[self.at - 1], b'-' | b'+') {
            self.at -= 1;
        }
        self.after_end("#}");
        Ok(())
    }

    /// A raw part, whose begin has been read as far as its sign; false where it is none.
    fn raw(&mut self) -> Result<bool, Error> {
        let start = self.at;
        self.skip_space();
        let is_raw = self.skip("raw") && {
            self.skip_space();
            let end = self.at;
            match self.skip("-%}") {
                true => self.skip_space(),
                false => {
                    self.skip("%}");
                }
            }
            self.line_starting = self.source[end..self.at].ends_with('\n');
            self.at > end
        };
        if !is_raw {
            self.at = start;
            return Ok(false);
        }
        let content = self.at;
        let mut from = content;
        while let Some(found) = self.source[from..].find("{%") {
            let tag = from + found;
            self.at = tag + 2;
            let sign = self.rest().chars().next();
            if matches!(sign, Some('-' | '+')) {
                self.at += 1;
            }
            self.skip_space();
            if self.skip("endraw") {
                self.skip_space();
                let end = self.at;
                self.at = content;
                let line_starting = self.line_starting;
                self.at = end;
                if self.after_end("%}") {
                    let (after, starting) = (self.at, std::mem::replace(&mut self.line_starting, line_starting));
                    self.at = content;
                    self.text(&self.source[content..tag], sign, false);
                    (self.at, self.line_starting) = (after, starting);
                    return Ok(true);
                }
                self.line_starting = line_starting;
            }
            from = tag + 2;
        }
        self.count_lines();
        Err(Error::new("Missing end of raw directive"))
    }

    /// The tokens of a block or a variable, with its end.
    fn tag(&mut self, is_block: bool) -> Result<(), Error> {
        self.open.clear();
        self.before = None;
        loop {
            let blank = self.at;
            self.skip_space();
            if self.at > blank {
                self.before = None;
            }
            if self.open.is_empty() {
                let start = self.at;
                self.count_lines();
                if is_block {
                    if self.after_end("%}") {
                        self.out.push((self.line, Token::BlockEnd));
                        return Ok(());
                    }
                } else if self.skip("}}")
                    || (self.skip("-}}") && {
                        self.skip_space();
                        true
                    })
                {
                    self.line_starting = self.source[start..self.at].ends_with('\n');
                    self.out.push((self.line, Token::VariableEnd));
                    return Ok(());
                }
            }
            let start = self.at;
            self.token(is_block)?;
            self.before = self.source[start..self.at].chars().next_back();
        }
    }

    fn token(&mut self, is_block: bool) -> Result<(), Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            let end = if is_block { "%}" } else { "}}" };
            return Err(Error::new(format!("unexpected end of template, expected `{end}`")));
        };
        if first.is_ascii_digit() {
            return self.number();
        }
        if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.push(Token::Name(rest[..end].to_string()));
            self.at += end;
            return Ok(());
        }
        if first == '\'' || first == '"' {
            return self.string(first);
        }
        let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
            self.count_lines();
            return Err(Error::new(format!("unexpected char '{first}'")));
        };
        match first {
            '{' => self.open.push('}'),
            '(' => self.open.push(')'),
            '[' => self.open.push(']'),
            '}' | ')' | ']' => match self.open.pop() {
                Some(expected) if expected == first => {}
                Some(expected) => {
                    return Err(Error::new(format!("unexpected '{first}', expected '{expected}'")));
                }
                None => return Err(Error::new(format!("unexpected '{first}'"))),
            },
            _ => {}
        }
        self.push(Token::Operator(operator));
        self.at += operator.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let too_large = |text: &str| Error::new(format!("the number {text} is too large"));
        for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
            if let Some(digits) = rest.strip_prefix(prefix) {
                let end = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
                let digits = digits[..end].replace('_', "");
                let number = i128::from_str_radix(&digits, radix).map_err(|_| too_large(&digits))?;
                self.push(Token::Int(number));
                self.at += 2 + end;
                return Ok(());
            }
        }
        let digits = |from: usize| {
            let more = &rest[from..];
            let end = more.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(more.len());
            from + more[..end].trim_end_matches('_').len()
        };
        let starts_digit = |from: usize| rest[from..].starts_with(|c: char| c.is_ascii_digit());
        let whole = digits(0);
        let mut end = whole;
        // After a dot, `x.0.1`, these are two indices.
        if self.before != Some('.') {
            if rest[end..].starts_with('.') && starts_digit(end + 1) {
                end = digits(end + 1);
            }
            if rest[end..].starts_with(['e', 'E']) {
                let signed = end + 1 + usize::from(rest[end + 1..].starts_with(['+', '-']));
                if starts_digit(signed) {
                    end = digits(signed);
                }
            }
        }
        let text = rest[..end].replace('_', "");
        let token = if end > whole {
            Token::Float(text.parse().map_err(|_| Error::new(format!("{text} is no number")))?)
        } else {
            Token::Int(text.parse().map_err(|_| too_large(&text))?)
        };
        self.push(token);
        self.at += end;
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = !escaped && *c == quote;
            escaped = !escaped && *c == '\\';
            ends
        });
        let Some((end, _)) = end else {
            self.count_lines();
            return Err(Error::new(format!("unexpected char '{quote}'; a string begins here that does not end")));
        };
        let text = unescaped(&rest[1..end])?;
        self.push(Token::Str(text));
        self.at += end + 1;
        Ok(())
    }
}

/// A string literal's text, with Python's escapes.
fn unescaped(literal: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { return Err(Error::new("a string ends with a single \\")) };
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let length = 1 + rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let digits = format!("{c}{}", &rest[..length - 1]);
                out.push(character(u32::from_str_radix(&digits, 8).ok(), &digits)?);
                rest = &rest[length - 1..];
            }
            'x' | 'u' | 'U' => {
                let length = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits = rest.get(..length).filter(|d| d.chars().all(|c| c.is_ascii_hexdigit()));
                let digits = digits.ok_or_else(|| Error::new(format!("truncated \\{c} escape in a string")))?;
                rest = &rest[length..];
                let mut code = u32::from_str_radix(digits, 16).ok();
                // Two halves of one character.
                if let (Some(high @ 0xd800..=0xdbff), Some(low)) = (code, low_half(rest)) {
                    code = Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                    rest = &rest[6..];
                }
                out.push(character(code, digits)?);
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn low_half(rest: &str) -> Option<u32> {
    let code = u32::from_str_radix(rest.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xdc00..=0xdfff).contains(&code).then_some(code)
}

fn character(code: Option<u32>, digits: &str) -> Result<char, Error> {
    code.and_then(char::from_u32).ok_or_else(|| Error::new(format!("\\{digits} in a string is no character")))
}
