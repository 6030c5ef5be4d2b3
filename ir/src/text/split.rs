//! Lists in the text format.

/// Splits at commas outside brackets and quotes; items are trimmed, an empty text has none.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|t| !t.trim().is_empty());
    std::iter::from_fn(move || {
        let t = rest?;
        let (mut depth, mut end) = (0i32, t.len());
        for (i, c) in t.char_indices() {
            match c {
                '[' | '(' | '{' => depth += 1,
                ']' | ')' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    end = i;
                    break;
                }
                _ => {}
            }
        }
        rest = t.get(end + 1..);
        Some(t[..end].trim())
    })
}
