//! When a row ends: end tokens, stop strings, criteria of the caller's own, time, length.
//!
//! Stop strings are looked for in the decoded text with special tokens visible, so that `<|im_end|>` can be one. As in transformers a
//! match has to reach into the newest token; it may begin in earlier tokens, those of the prompt included, and the newest token may run
//! on beyond it. What was matched stays in the output.

use super::config::GenerationConfig;
use super::output::FinishReason;
use super::processors::History;
use std::time::{Duration, Instant};

/// Ends rows by what they hold.
pub trait StoppingCriterion: Send {
    /// Whether the row ends with its newest token, the last of `history`.
    fn is_met(&mut self, history: History<'_>) -> bool;
}

/// All that ends a row, but for its text.
pub(super) struct Endings {
    eos: Vec<u32>,
    criteria: Vec<Box<dyn StoppingCriterion>>,
    /// When time is up.
    deadline: Option<Instant>,
}

impl Endings {
    pub fn new(config: &GenerationConfig, criteria: Vec<Box<dyn StoppingCriterion>>) -> Self {
        let limit = config.max_time.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Endings { eos: config.eos_token_ids().to_vec(), criteria, deadline }
    }

    /// Number of end tokens.
    pub fn end_tokens(&self) -> usize {
        self.eos.len()
    }

    /// Why the row ends with its newest token, if it does; `stop_string` says whether one appeared.
    pub fn reason(&mut self, history: History<'_>, stop_string: bool) -> Option<FinishReason> {
        // Every criterion sees every token.
        let met = self.criteria.iter_mut().fold(false, |met, criterion| criterion.is_met(history) | met);
        if history.ids.last().is_some_and(|id| self.eos.contains(id)) {
            Some(FinishReason::EosToken)
        } else if stop_string {
            Some(FinishReason::StopString)
        } else if met {
            Some(FinishReason::StoppingCriterion)
        } else if history.ids.len() >= history.max_len {
            Some(FinishReason::Length)
        } else if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            Some(FinishReason::MaxTime)
        } else {
            None
        }
    }
}

/// Finds stop strings in text that arrives in pieces, in time that does not depend on the text's length.
#[derive(Debug, Clone)]
pub struct StopStrings {
    strings: Vec<String>,
    /// The end of the text so far, as long as a match might still begin in it.
    tail: String,
    longest: usize,
}

impl StopStrings {
    /// Looks for `strings`, none of which is empty.
    pub fn new(strings: &[String]) -> Self {
        let strings: Vec<String> = strings.iter().filter(|s| !s.is_empty()).cloned().collect();
        let longest = strings.iter().map(String::len).max().unwrap_or(0);
        StopStrings { strings, tail: String::new(), longest }
    }

    /// How many bytes of text before the newest piece can belong to a match.
    pub fn context(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// Adds text; true where a stop string ends in it.
    pub fn push(&mut self, piece: &str) -> bool {
        if piece.is_empty() {
            return false;
        }
        let old = self.tail.len();
        self.tail.push_str(piece);
        let found = self.strings.iter().any(|stop| {
            let from = self.tail.ceil_char_boundary((old + 1).saturating_sub(stop.len()));
            self.tail[from..].contains(stop.as_str())
        });
        let excess = self.tail.len().saturating_sub(self.context());
        self.tail.drain(..self.tail.ceil_char_boundary(excess));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(strings: &[&str]) -> StopStrings {
        StopStrings::new(&strings.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    /// The index of the piece that stops.
    fn at(strings: &[&str], pieces: &[&str]) -> Option<usize> {
        let mut stops = stops(strings);
        pieces.iter().position(|piece| stops.push(piece))
    }

    #[test]
    fn matches_span_pieces_and_overhang_on_both_sides() {
        for pieces in [&["st", "op"][..], &["stop"], &["st", "opera"], &["sto", "pper"], &["las", "topper"]] {
            assert_eq!(at(&["stop"], pieces), Some(pieces.len() - 1), "{pieces:?}");
        }
        assert_eq!(at(&["stop"], &["s", "t", "o", "p", "x"]), Some(3));
        assert_eq!(at(&["stop"], &["st", "", "", "op"]), Some(3));
        assert_eq!(at(&["stop"], &["sto", "stto", "xp"]), None);
        assert_eq!(at(&["aab"], &["a", "a", "a", "a", "b"]), Some(4));
    }

    #[test]
    fn a_match_that_lies_in_old_text_does_not_count() {
        // As in transformers: the stop string has to overlap the newest token.
        let mut stops = stops(&["a", "long stop string"]);
        assert!(stops.push("xa"));
        assert!(!stops.push("y"));
    }

    #[test]
    fn characters_of_several_bytes() {
        assert_eq!(at(&["。\n", "日本"], &["é日", "日", "x日", "本語"]), Some(3));
        assert_eq!(at(&["🙂!"], &["日本語テスト", "🙂", "!"]), Some(2));
        let mut long = stops(&["🙂🙂"]);
        for _ in 0..1000 {
            assert!(!long.push("日🙂é"));
            assert!(long.tail.len() <= long.context());
        }
        assert!(long.push("x🙂🙂"));
    }

    #[test]
    fn none_means_never() {
        assert_eq!(at(&[], &["anything"]), None);
        assert_eq!(stops(&[]).tail.len(), 0);
    }
}
