//! Texts in parts.

use super::super::Error;
use super::super::lexer::is_space;

/// Python's `split` and, from the right, `rsplit`: at most so many times.
pub fn split<'a>(text: &'a str, separator: Option<&str>, most: usize, from_right: bool) -> Result<Vec<&'a str>, Error> {
    let most_parts = most.saturating_add(1);
    Ok(match (separator, from_right) {
        (Some(""), _) => return Err(Error::new("empty separator")),
        (Some(separator), false) => text.splitn(most_parts, separator).collect(),
        (Some(separator), true) => {
            let mut parts: Vec<_> = text.rsplitn(most_parts, separator).collect();
            parts.reverse();
            parts
        }
        (None, false) => {
            let (mut parts, mut rest) = (vec![], text.trim_start_matches(is_space));
            while !rest.is_empty() {
                let end = if parts.len() == most { None } else { rest.find(is_space) };
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(part);
                rest = after.trim_start_matches(is_space);
            }
            parts
        }
        (None, true) => {
            let (mut parts, mut rest) = (vec![], text.trim_end_matches(is_space));
            while !rest.is_empty() {
                let space = if parts.len() == most { None } else { rest.char_indices().rfind(|(_, c)| is_space(*c)) };
                let (before, part) = rest.split_at(space.map_or(0, |(at, c)| at + c.len_utf8()));
                parts.push(part);
                rest = before.trim_end_matches(is_space);
            }
            parts.reverse();
            parts
        }
    })
}

/// Python's `splitlines`.
pub fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut lines, mut rest) = (vec![], text);
    while !rest.is_empty() {
        let Some((at, c)) = rest.char_indices().find(|(_, c)| is_end(*c)) else {
            lines.push(rest);
            break;
        };
        let end = at + if rest[at..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        lines.push(&rest[..if keep_ends { end } else { at }]);
        rest = &rest[end..];
    }
    lines
}
