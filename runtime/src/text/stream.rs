//! Text from tokens that arrive one by one.
//!
//! Decoding is not a map over tokens: a character of several bytes may be spread over tokens, and some decoders drop the space in front
//! of the first one. So the newest tokens are decoded together with the few before them, and the difference is the new text. What ends
//! in U+FFFD may be the beginning of a character and is held back until it is complete.
//!
//! *Law:* the pieces joined are the decoding of all tokens. (One exception, in broken text: a sentencepiece decoder turns a whole run of
//! byte tokens into U+FFFD where any of its characters is broken; the stream has handed out the sound ones by then.)
//!
//! tokenizers' `DecodeStream` gives the same pieces of sound text, but nothing at its end: a character that is cut off is lost, where
//! transformers' streamers give U+FFFD as here. It holds broken bytes back without bound, and fails on such byte tokens of sentencepiece.

use super::{TextError, Tokenizer};
use crate::generate::{Detokenizer, TextStream, TextStreamError};

/// How many tokens may be held back; more of them are not the beginning of a character any more.
const MOST_HELD: usize = 8;
/// The beginning of a character is at most three bytes, hence three tokens.
const UNFINISHED: usize = 3;

impl Tokenizer {
    /// A decoder for tokens that arrive one by one.
    pub fn stream(&self, skip_special_tokens: bool) -> StreamDecoder<'_> {
        StreamDecoder::new(self, skip_special_tokens)
    }
}

impl Detokenizer for Tokenizer {
    fn text_stream(&self, skip_special_tokens: bool) -> Box<dyn TextStream + '_> {
        Box::new(self.stream(skip_special_tokens))
    }
}

/// Turns the tokens of one text into pieces that never end inside a character. The cost of a token does not depend on the text's length.
#[derive(Debug, Clone)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// The tokens of the latest piece, for context, and those since.
    window: Vec<u32>,
    /// How many tokens of `window` are context.
    context: usize,
    /// The part of the window's text that was handed out.
    given: String,
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        StreamDecoder { tokenizer, skip_special_tokens, window: Vec::new(), context: 0, given: String::new() }
    }

    /// Takes a token and appends to `text` what is complete now.
    pub fn push(&mut self, id: u32, text: &mut String) -> Result<(), TextError> {
        if self.skip_special_tokens && self.tokenizer.is_special(id) {
            return Ok(());
        }
        self.window.push(id);
        let decoded = self.decode(&self.window)?;
        let grown = self.give(settled(&decoded), text);
        if grown && self.given == decoded {
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.given = self.decode(&self.window)?;
        } else if self.window.len() - self.context > MOST_HELD {
            self.let_go(text)?;
        }
        Ok(())
    }

    /// Appends what was held back, an unfinished character as U+FFFD. The decoder is as new afterwards.
    pub fn finish(&mut self, text: &mut String) -> Result<(), TextError> {
        let decoded = self.decode(&self.window)?;
        self.give(&decoded, text);
        self.window.clear();
        self.given.clear();
        self.context = 0;
        Ok(())
    }

    /// Hands out what stands before the newest tokens, finished or not, and forgets all but one token of it.
    fn let_go(&mut self, text: &mut String) -> Result<(), TextError> {
        let old = self.window.len() - UNFINISHED;
        let decoded = self.decode(&self.window[..old])?;
        self.give(&decoded, text);
        // What is not handed out yet ends the text of any window that holds it.
        let chars = |text: &str| text.chars().count();
        let pending = chars(&self.decode(&self.window)?).saturating_sub(chars(&self.given));
        self.window.drain(..old - 1);
        self.context = 1;
        self.given = self.decode(&self.window)?;
        for _ in 0..pending {
            self.given.pop();
        }
        Ok(())
    }

    /// Hands out what `decoded`, the text of the window or of its beginning, has beyond `given`. False where that is nothing.
    fn give(&mut self, decoded: &str, text: &mut String) -> bool {
        let new = decoded.strip_prefix(self.given.as_str()).unwrap_or_default();
        text.push_str(new);
        self.given.push_str(new);
        !new.is_empty()
    }

    fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.tokenizer.decode(ids, self.skip_special_tokens)
    }
}

/// `decoded` up to a character that may be unfinished.
fn settled(decoded: &str) -> &str {
    decoded.trim_end_matches(char::REPLACEMENT_CHARACTER)
}

impl TextStream for StreamDecoder<'_> {
    fn push(&mut self, id: u32, text: &mut String) -> Result<(), TextStreamError> {
        Ok(StreamDecoder::push(self, id, text)?)
    }

    fn finish(&mut self, text: &mut String) -> Result<(), TextStreamError> {
        Ok(StreamDecoder::finish(self, text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{EOS, byte, byte_level, fallback_byte, sentencepiece};
    use super::*;

    /// The pieces of `ids`; the last one is what `finish` gives.
    fn pieces(tokenizer: &Tokenizer, ids: &[u32], skip: bool) -> Vec<String> {
        let mut stream = tokenizer.stream(skip);
        let mut pieces: Vec<String> = Vec::new();
        for &id in ids {
            let mut piece = String::new();
            stream.push(id, &mut piece).unwrap();
            assert!(stream.window.len() <= 2 * (MOST_HELD + 1), "the window is bounded");
            pieces.push(piece);
        }
        let mut piece = String::new();
        stream.finish(&mut piece).unwrap();
        pieces.push(piece);
        pieces
    }

    fn bytes(bytes: &[u8]) -> Vec<u32> {
        bytes.iter().map(|&b| byte(b)).collect()
    }

    const TEXTS: [&str; 6] = [
        "Hello, world!",
        "  two  spaces\n\nnewlines\t tab",
        "日本語テスト 🙂 naïve café",
        "👨‍👩‍👧‍👦🇯🇵 é̂ \u{10FFFF}",
        "a\u{FFFD}b\u{FFFD}",
        "٣٤٥ ½ ² 🙂🙂🙂🙂🙂🙂🙂🙂日日日日日日日",
    ];

    #[test]
    fn byte_by_byte_each_character_comes_when_it_is_complete() {
        let tokenizer = byte_level();
        for text in TEXTS {
            let pieces = pieces(&tokenizer, &bytes(text.as_bytes()), false);
            assert_eq!(pieces.concat(), text);
            if !text.contains('\u{FFFD}') {
                assert!(!pieces.concat().contains('\u{FFFD}'));
                assert!(pieces.iter().all(|p| p.chars().count() <= 1), "{pieces:?}");
                assert_eq!(pieces.last().map(String::as_str), Some(""), "nothing was left to flush");
            }
        }
        assert_eq!(pieces(&tokenizer, &bytes("a🙂".as_bytes()), false), ["a", "", "", "", "🙂", ""]);
    }

    #[test]
    fn tokens_that_begin_and_end_inside_characters() {
        let tokenizer = byte_level();
        // 日 = E6 97 A5, again and again in tokens [E6 97] [A5 E6] [97 A5]: no token but every third ends a character.
        let token = |b: &[u8]| tokenizer.encode_bytes(b);
        let (a, b, c) = (token(&[0xE6, 0x97]), token(&[0xA5, 0xE6]), token(&[0x97, 0xA5]));
        assert_eq!(pieces(&tokenizer, &[a, b, c], false), ["", "日", "日", ""]);
        // Out of step for as long as it lasts: E6 97 | (A5 E6) 97 | (A5 E6) 97 | ... A5
        let mut ids = vec![a];
        ids.extend([b, byte(0x97)].repeat(40));
        ids.push(byte(0xA5));
        let out = pieces(&tokenizer, &ids, false);
        assert_eq!(out.concat(), "日".repeat(41));
        assert!(out.iter().all(|p| p.chars().count() <= 1));
    }

    #[test]
    fn every_prefix_streams_as_it_decodes() {
        let tokenizer = byte_level();
        for text in TEXTS {
            let ids = bytes(text.as_bytes());
            for end in 0..ids.len() {
                assert_eq!(
                    pieces(&tokenizer, &ids[..end], false).concat(),
                    tokenizer.decode(&ids[..end], false).unwrap()
                );
            }
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(pieces(&tokenizer, &ids, false).concat(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stream_as_they_decode() {
        let tokenizer = byte_level();
        let mut random = fastrand::Rng::with_seed(1);
        let mut cases = vec![vec![0x80; 40], vec![0xE6; 40], vec![0xF0, 0x9F, 0x99], [0xE6, 0x97].repeat(20)];
        cases.extend((0..200).map(|_| (0..60).map(|_| random.u8(..)).collect()));
        // Runs of continuation bytes with characters in between, which random bytes rarely have.
        cases.extend((0..200).map(|_| {
            (0..60)
                .flat_map(|_| random.choice([b"\x80" as &[u8], "日".as_bytes(), b"\xE6", "🙂".as_bytes()]).unwrap())
                .copied()
                .collect()
        }));
        for case in cases {
            let ids = bytes(&case);
            assert_eq!(pieces(&tokenizer, &ids, false).concat(), String::from_utf8_lossy(&case), "{case:x?}");
        }
    }

    #[test]
    fn special_tokens_leave_no_trace_or_their_text() {
        let tokenizer = byte_level();
        let mut ids = bytes("🙂".as_bytes());
        ids.splice(2..2, [EOS; 50]);
        ids.push(EOS);
        assert_eq!(pieces(&tokenizer, &ids, true).concat(), "🙂");
        assert_eq!(pieces(&tokenizer, &[byte(b'a'), EOS], false), ["a", "<|end|>", ""]);
    }

    #[test]
    fn a_leading_space_is_dropped_once_where_the_tokenizer_does_so() {
        let tokenizer = sentencepiece();
        for text in ["ab a b", "a  b", " ab", "   a", "日a🙂🙂 b日", "a\n b"] {
            let ids = tokenizer.encode(text, true).unwrap();
            let out = pieces(&tokenizer, &ids, true);
            assert_eq!(out.concat(), tokenizer.decode(&ids, true).unwrap(), "{text:?}");
            assert_eq!(out.concat(), text);
        }
    }

    #[test]
    fn byte_tokens_of_a_sentencepiece_model_join_to_characters() {
        let tokenizer = sentencepiece();
        let ids: Vec<u32> = "🙂日".bytes().map(fallback_byte).collect();
        assert_eq!(pieces(&tokenizer, &ids, true), ["", "", "", "🙂", "", "", "日", ""]);
        // Cut off: the sound character stays, where decoding at once gives five U+FFFD.
        assert_eq!(pieces(&tokenizer, &ids[..5], true), ["", "", "", "🙂", "", ""]);
        assert_eq!(pieces(&tokenizer, &ids[4..6], true).concat(), "\u{FFFD}\u{FFFD}");
        // Broken for long: bounded, and the text goes on behind it.
        let mut ids = vec![fallback_byte(0x80); 50];
        ids.extend(tokenizer.encode("ab", false).unwrap());
        let text = pieces(&tokenizer, &ids, true).concat();
        assert_eq!(text, format!("{} ab", "\u{FFFD}".repeat(50)));
    }
}
