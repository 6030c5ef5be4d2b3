//! Merges of a vocabulary that has none: SentencePiece's models order tokens and leave out how they are put together.

use std::collections::HashMap;

/// A way to put a token together from two others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way<'a> {
    /// The token's place in the vocabulary.
    pub token: usize,
    /// Characters of the left part.
    pub left_chars: usize,
    /// The parts.
    pub parts: (&'a str, &'a str),
}

/// Every way to put tokens together from parts that `ids` has: token by token, each one's ways in the order of their parts' ids.
pub(crate) fn ways<'a>(
    tokens: impl Iterator<Item = (usize, &'a str)>,
    part: impl Fn(&str) -> Option<usize>,
) -> Vec<Way<'a>> {
    let mut all = vec![];
    let mut of_token = vec![];
    for (token, text) in tokens {
        of_token.clear();
        for (left_chars, (at, _)) in text.char_indices().enumerate().skip(1) {
            let parts = text.split_at(at);
            if let (Some(left), Some(right)) = (part(parts.0), part(parts.1)) {
                of_token.push(((left, right), Way { token, left_chars, parts }));
            }
        }
        of_token.sort_by_key(|(ids, _)| *ids);
        all.extend(of_token.iter().map(|(_, way)| *way));
    }
    all
}

/// The merges of a vocabulary whose order says which token comes first; of one token's ways, as transformers orders them, that with the
/// shorter left part.
pub(super) fn by_rank<'a>(ids: &HashMap<&'a str, usize>) -> Vec<(&'a str, &'a str)> {
    let mut tokens: Vec<(usize, &'a str)> = ids.iter().map(|(token, id)| (*id, *token)).collect();
    tokens.sort_unstable();
    let mut ways = ways(tokens.into_iter(), |text| ids.get(text).copied());
    ways.sort_by_key(|way| (way.token, way.left_chars));
    ways.into_iter().map(|way| way.parts).collect()
}
